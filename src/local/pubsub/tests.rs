//! The server as the official Rust clients meet it.

use std::future::Future;
use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{Message, Subscription};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Counts, Faults, Observer, Server};

const TOPIC: &str = "projects/p/topics/scan-topic";
const SUBSCRIPTION: &str = "projects/p/subscriptions/scan-sub";
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with one topic and one subscription, stopped and awaited when the test is done.
struct Harness {
    endpoint: String,
    faults: Faults,
    observer: Observer,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
}

async fn with_server<F: Future<Output = ()>>(test: impl FnOnce(Harness) -> F) {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let endpoint = format!("http://{}", server.address());
    let (faults, observer) = (server.faults(), server.observer());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server.serve(async { _ = stopped.await });
    let test = async {
        let topics = TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(nobody()).build().await.unwrap();
        let subscriptions =
            SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(nobody()).build().await.unwrap();
        topics.create_topic().set_name(TOPIC).send().await.unwrap();
        let harness = Harness { endpoint, faults, observer, topics, subscriptions };
        timeout(PATIENCE * 3, test(harness)).await.expect("the test hangs");
        _ = stop.send(());
    };
    let (served, ()) = tokio::join!(serving, test);
    served.unwrap();
}

fn nobody() -> Credentials {
    anonymous::Builder::new().build()
}

impl Harness {
    async fn subscribe(&self, subscription: Subscription) {
        let subscription = subscription.set_name(SUBSCRIPTION).set_topic(TOPIC);
        self.subscriptions.create_subscription().with_request(subscription).send().await.unwrap();
    }

    async fn publish(&self, payloads: impl IntoIterator<Item = String>) {
        let publisher =
            Publisher::builder(TOPIC).with_endpoint(&self.endpoint).with_credentials(nobody()).build().await.unwrap();
        let sent: Vec<_> =
            payloads.into_iter().map(|payload| publisher.publish(Message::new().set_data(payload))).collect();
        for id in sent {
            id.await.unwrap();
        }
    }

    async fn subscriber(&self) -> Subscriber {
        Subscriber::builder().with_endpoint(&self.endpoint).with_credentials(nobody()).build().await.unwrap()
    }

    fn counts(&self) -> Counts {
        self.observer.counts(SUBSCRIPTION).unwrap()
    }

    /// Acks travel on their own: waits until the server has them.
    async fn until(&self, condition: impl Fn(Counts) -> bool) {
        let waiting = async {
            while !condition(self.counts()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{:?}", self.counts()));
    }
}

#[tokio::test]
async fn what_is_published_is_delivered_and_acknowledged() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        server.publish((0..1000).map(|n| n.to_string())).await;
        let mut stream = server.subscriber().await.subscribe(SUBSCRIPTION).build();
        let mut received = Vec::new();
        for _ in 0..1000 {
            let (message, handler) = stream.next().await.unwrap().unwrap();
            assert!(message.publish_time.is_some());
            received.push(String::from_utf8(message.data.to_vec()).unwrap().parse::<usize>().unwrap());
            handler.ack();
        }
        received.sort_unstable();
        assert_eq!(received, (0..1000).collect::<Vec<_>>());
        server.until(|counts| counts.acknowledged == 1000 && counts.backlog() == 0).await;
    })
    .await;
}

#[tokio::test]
async fn the_faults_show_in_what_a_client_receives() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        server.faults.deliver_twice(1.0);
        server.publish(["scan".to_owned()]).await;
        let mut stream = server.subscriber().await.subscribe(SUBSCRIPTION).build();
        let (first, handler) = stream.next().await.unwrap().unwrap();
        handler.ack();
        let (second, handler) = stream.next().await.unwrap().unwrap();
        handler.ack();
        assert_eq!(first, second);
        server.until(|counts| counts.acknowledged == 2 && counts.backlog() == 0).await;
    })
    .await;
}

#[tokio::test]
async fn creating_twice_and_getting_what_is_missing_have_their_codes() {
    use google_cloud_gax::error::rpc::Code;
    with_server(|server| async move {
        let code = |error: google_cloud_pubsub::Error| error.status().map(|status| status.code);
        let again = server.topics.create_topic().set_name(TOPIC).send().await.unwrap_err();
        assert_eq!((again.http_status_code(), code(again)), (Some(409), Some(Code::AlreadyExists)));
        let missing = server.topics.get_topic().set_topic("projects/p/topics/none").send().await.unwrap_err();
        assert_eq!((missing.http_status_code(), code(missing)), (Some(404), Some(Code::NotFound)));
        let get = server.subscriptions.get_subscription().set_subscription("projects/p/subscriptions/none");
        assert_eq!(code(get.send().await.unwrap_err()), Some(Code::NotFound));
        let malformed = server.topics.create_topic().set_name("projects/p/topics/1").send().await.unwrap_err();
        assert_eq!(code(malformed), Some(Code::InvalidArgument));
        let mut stream = server.subscriber().await.subscribe("projects/p/subscriptions/none").build();
        assert_eq!(code(stream.next().await.unwrap().unwrap_err()), Some(Code::NotFound));
    })
    .await;
}
