//! The server through the official Rust clients.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{DeadLetterPolicy, Message, RetryPolicy, Subscription};
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::{Counts, Event, Faults, Observer, Server};

const TOPIC: &str = "projects/p/topics/scan-topic";
const SUBSCRIPTION: &str = "projects/p/subscriptions/scan-sub";
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with one topic. It is shut down and awaited at the end of the test.
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
        let topics =
            TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(no_credentials()).build().await.unwrap();
        let subscriptions = SubscriptionAdmin::builder()
            .with_endpoint(&endpoint)
            .with_credentials(no_credentials())
            .build()
            .await
            .unwrap();
        topics.create_topic().set_name(TOPIC).send().await.unwrap();
        let harness = Harness { endpoint, faults, observer, topics, subscriptions };
        timeout(PATIENCE * 3, test(harness)).await.expect("the test should end");
        _ = stop.send(());
    };
    let (served, ()) = tokio::join!(serving, test);
    served.unwrap();
}

fn no_credentials() -> Credentials {
    anonymous::Builder::new().build()
}

impl Harness {
    async fn subscribe(&self, subscription: Subscription) {
        let subscription = subscription.set_name(SUBSCRIPTION).set_topic(TOPIC);
        self.subscriptions.create_subscription().with_request(subscription).send().await.unwrap();
    }

    async fn publish(&self, payloads: impl IntoIterator<Item = String>) {
        let publisher = Publisher::builder(TOPIC)
            .with_endpoint(&self.endpoint)
            .with_credentials(no_credentials())
            .build()
            .await
            .unwrap();
        let sent: Vec<_> =
            payloads.into_iter().map(|payload| publisher.publish(Message::new().set_data(payload))).collect();
        for id in sent {
            id.await.unwrap();
        }
    }

    async fn subscriber(&self) -> Subscriber {
        Subscriber::builder().with_endpoint(&self.endpoint).with_credentials(no_credentials()).build().await.unwrap()
    }

    fn counts(&self) -> Counts {
        self.observer.counts(SUBSCRIPTION).unwrap()
    }

    async fn stream(&self) -> MessageStream {
        self.subscriber().await.subscribe(SUBSCRIPTION).build()
    }

    /// Waits until the server's counts fulfil `condition`. Clients send acks in the background.
    async fn until(&self, condition: impl Fn(Counts) -> bool) {
        let waiting = async {
            while !condition(self.counts()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{:?}", self.counts()));
    }
}

async fn next(stream: &mut MessageStream) -> (Message, Handler) {
    timeout(PATIENCE, stream.next()).await.expect("a message should arrive").unwrap().unwrap()
}

#[tokio::test]
async fn published_messages_are_delivered_and_acknowledged() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        server.publish((0..1000).map(|n| n.to_string())).await;
        let mut stream = server.stream().await;
        let mut received = Vec::new();
        for _ in 0..1000 {
            let (message, handler) = next(&mut stream).await;
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
async fn a_client_sees_injected_faults() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        server.faults.deliver_twice(1.0);
        server.publish(["scan".to_owned()]).await;
        let mut stream = server.stream().await;
        let (first, handler) = next(&mut stream).await;
        handler.ack();
        let (second, handler) = next(&mut stream).await;
        handler.ack();
        assert_eq!(first, second);
        server.until(|counts| counts.acknowledged == 2 && counts.backlog() == 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_listener_hears_of_each_message_and_of_accepted_acknowledgements() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        server.observer.listen(move |event| {
            heard.lock().unwrap().push(match event {
                Event::Published { topic, message_id, data, .. } => {
                    format!("{topic} {message_id} {}", String::from_utf8_lossy(data))
                }
                Event::Acknowledged { subscription, message_id, leased_for } => {
                    assert!(*leased_for < PATIENCE);
                    format!("{subscription} {message_id}")
                }
            });
        });
        server.publish(["accepted".to_owned()]).await;
        let mut stream = server.stream().await;
        let (accepted, handler) = next(&mut stream).await;
        handler.ack();
        server.until(|counts| counts.acknowledged == 1).await;
        server.faults.lose_acks(1.0);
        server.publish(["lost".to_owned()]).await;
        let (lost, handler) = next(&mut stream).await;
        handler.ack();
        server.until(|counts| counts.lost_acks == 1).await;
        let (accepted, lost) = (accepted.message_id, lost.message_id);
        let expected = [
            format!("{TOPIC} {accepted} accepted"),
            format!("{SUBSCRIPTION} {accepted}"),
            format!("{TOPIC} {lost} lost"),
        ];
        assert_eq!(*events.lock().unwrap(), expected);
    })
    .await;
}

#[tokio::test]
async fn errors_have_the_documented_codes() {
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

#[tokio::test]
async fn a_nacked_message_is_redelivered_at_once_without_a_retry_policy() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        server.publish(["scan".to_owned()]).await;
        let mut stream = server.stream().await;
        let (first, handler) = next(&mut stream).await;
        assert_eq!(handler.delivery_attempt(), None);
        handler.nack();
        let (second, handler) = next(&mut stream).await;
        handler.ack();
        assert_eq!(first.message_id, second.message_id);
        server.until(|counts| (counts.nacked, counts.acknowledged, counts.backlog()) == (1, 1, 0)).await;
    })
    .await;
}

#[tokio::test]
async fn a_nacked_message_waits_for_the_backoff_of_the_retry_policy() {
    with_server(|server| async move {
        let backoff = google_cloud_wkt::Duration::clamp(0, 300_000_000);
        server.subscribe(Subscription::new().set_retry_policy(RetryPolicy::new().set_minimum_backoff(backoff))).await;
        server.publish(["scan".to_owned()]).await;
        let mut stream = server.stream().await;
        next(&mut stream).await.1.nack();
        server.until(|counts| counts.delayed == 1).await;
        next(&mut stream).await.1.ack();
        server.until(|counts| counts.backlog() == 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_always_nacked_goes_to_the_dead_letter_topic() {
    const DEAD: &str = "projects/p/topics/scan-dead-letter";
    const DEAD_SUBSCRIPTION: &str = "projects/p/subscriptions/scan-dead-letter-sub";
    with_server(|server| async move {
        server.topics.create_topic().set_name(DEAD).send().await.unwrap();
        let dead = Subscription::new().set_name(DEAD_SUBSCRIPTION).set_topic(DEAD);
        server.subscriptions.create_subscription().with_request(dead).send().await.unwrap();
        let policy = DeadLetterPolicy::new().set_dead_letter_topic(DEAD).set_max_delivery_attempts(5);
        server.subscribe(Subscription::new().set_dead_letter_policy(policy)).await;
        server.publish(["poison".to_owned()]).await;
        let mut stream = server.stream().await;
        for attempt in 1..=5 {
            let (_, handler) = next(&mut stream).await;
            assert_eq!(handler.delivery_attempt(), Some(attempt));
            handler.nack();
        }
        let mut dead_letters = server.subscriber().await.subscribe(DEAD_SUBSCRIPTION).build();
        let (dead_letter, handler) = next(&mut dead_letters).await;
        handler.ack();
        assert_eq!(dead_letter.data, "poison");
        assert_eq!(dead_letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"], "5");
        assert_eq!(dead_letter.attributes["CloudPubSubDeadLetterSourceSubscription"], "scan-sub");
        server.until(|counts| (counts.dead_lettered, counts.backlog()) == (1, 0)).await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_ack_leaves_the_message_leased() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        server.faults.lose_acks(1.0);
        server.publish(["scan".to_owned()]).await;
        let mut stream = server.stream().await;
        next(&mut stream).await.1.ack();
        // The client regards it as settled. It would be redelivered after the stream's lease of 60 s.
        server.until(|counts| counts.lost_acks == 1).await;
        assert_eq!((server.counts().acknowledged, server.counts().outstanding), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn a_seek_to_a_time_redelivers_retained_messages_and_skips_older_ones() {
    with_server(|server| async move {
        server.subscribe(Subscription::new().set_retain_acked_messages(true)).await;
        let mut stream = server.stream().await;
        let mut times = Vec::new();
        for payload in ["first", "second"] {
            server.publish([payload.to_owned()]).await;
            let (message, handler) = next(&mut stream).await;
            times.push(message.publish_time.unwrap());
            handler.ack();
        }
        server.until(|counts| counts.acknowledged == 2).await;
        server.subscriptions.seek().set_subscription(SUBSCRIPTION).set_time(times[1]).send().await.unwrap();
        let (message, handler) = next(&mut stream).await;
        assert_eq!(message.data, "second");
        handler.ack();
        server.until(|counts| (counts.restored_by_seek, counts.acknowledged, counts.backlog()) == (1, 3, 0)).await;
    })
    .await;
}

#[tokio::test]
async fn unsupported_settings_and_targets_are_rejected_with_unimplemented() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        let create = || {
            let name = "projects/p/subscriptions/another";
            server.subscriptions.create_subscription().set_name(name).set_topic(TOPIC)
        };
        let month = google_cloud_wkt::Duration::clamp(31 * 86_400, 0);
        let topic = server.topics.create_topic().set_name("projects/p/topics/retaining");
        let seek = server.subscriptions.seek().set_subscription(SUBSCRIPTION);
        let rejected = [
            create().set_enable_exactly_once_delivery(true).send().await.map(drop),
            create().set_enable_message_ordering(true).send().await.map(drop),
            create().set_filter("attributes:a").send().await.map(drop),
            topic.set_message_retention_duration(month).send().await.map(drop),
            seek.set_snapshot("projects/p/snapshots/before").send().await.map(drop),
        ];
        for result in rejected {
            let code = result.as_ref().err().and_then(|error| error.status()).map(|status| status.code);
            assert_eq!(code, Some(Code::Unimplemented), "{result:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn streams_share_a_backlog() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(server.stream().await);
        }
        let received = watch::Sender::new(0);
        let taking = streams.iter_mut().map(|stream| async {
            let (mut taken, mut total) = (0, received.subscribe());
            loop {
                tokio::select! {
                    biased;
                    _ = total.wait_for(|total| *total == 2000) => return taken,
                    (_, handler) = next(stream) => handler.ack(),
                }
                taken += 1;
                received.send_modify(|total| *total += 1);
            }
        });
        let (taken, ()) = tokio::join!(futures_util::future::join_all(taking), async {
            server.until(|counts| counts.streams == 4).await;
            server.publish((0..2000).map(|n| n.to_string())).await;
        });
        assert_eq!(taken.iter().sum::<usize>(), 2000);
        assert!(taken.iter().all(|taken| *taken >= 100), "{taken:?}");
    })
    .await;
}

#[tokio::test]
async fn a_stream_gets_no_more_than_its_limit_until_messages_are_settled() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        server.publish((0..20).map(|n| n.to_string())).await;
        let mut stream = server.subscriber().await.subscribe(SUBSCRIPTION).set_max_outstanding_messages(5).build();
        let mut outstanding = Vec::new();
        for _ in 0..5 {
            outstanding.push(next(&mut stream).await.1);
        }
        assert_eq!((server.counts().outstanding, server.counts().ready), (5, 15));
        outstanding.into_iter().for_each(Handler::ack);
        for _ in 0..15 {
            next(&mut stream).await.1.ack();
        }
        server.until(|counts| counts.backlog() == 0).await;
    })
    .await;
}

#[tokio::test]
async fn the_admin_clients_can_get_list_update_and_delete() {
    with_server(|server| async move {
        server.subscribe(Subscription::new().set_ack_deadline_seconds(60)).await;
        let got = server.subscriptions.get_subscription().set_subscription(SUBSCRIPTION).send().await.unwrap();
        assert_eq!((got.topic.as_str(), got.ack_deadline_seconds), (TOPIC, 60));
        let topics = server.topics.list_topics().set_project("projects/p").send().await.unwrap();
        assert_eq!(topics.topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), [TOPIC]);
        let listed = server.subscriptions.list_subscriptions().set_project("projects/p").send().await.unwrap();
        assert_eq!(listed.subscriptions.first(), Some(&got));
        let of_topic = server.topics.list_topic_subscriptions().set_topic(TOPIC).send().await.unwrap();
        assert_eq!(of_topic.subscriptions, [SUBSCRIPTION]);

        let mask = google_cloud_wkt::FieldMask::default().set_paths(["ack_deadline_seconds"]);
        let changes = got.set_ack_deadline_seconds(30);
        let update = server.subscriptions.update_subscription().set_subscription(changes).set_update_mask(mask);
        assert_eq!(update.send().await.unwrap().ack_deadline_seconds, 30);

        server.topics.delete_topic().set_topic(TOPIC).send().await.unwrap();
        let got = server.subscriptions.get_subscription().set_subscription(SUBSCRIPTION).send().await.unwrap();
        assert_eq!(got.topic, "_deleted-topic_");
        server.subscriptions.delete_subscription().set_subscription(SUBSCRIPTION).send().await.unwrap();
        assert_eq!(server.observer.counts(SUBSCRIPTION), None);
    })
    .await;
}

#[tokio::test]
async fn deleting_a_subscription_ends_its_streams() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        let mut stream = server.stream().await;
        let deleting = async {
            server.until(|counts| counts.streams == 1).await;
            server.subscriptions.delete_subscription().set_subscription(SUBSCRIPTION).send().await.unwrap();
        };
        let (ended, ()) = tokio::join!(timeout(PATIENCE, stream.next()), deleting);
        let error = ended.unwrap().unwrap().unwrap_err();
        assert_eq!(error.status().map(|status| status.code), Some(Code::NotFound));
    })
    .await;
}

#[tokio::test]
async fn the_largest_message_is_accepted_and_a_larger_one_is_rejected() {
    with_server(|server| async move {
        server.subscribe(Subscription::new()).await;
        server.publish(["x".repeat(10_000_000)]).await;
        let (message, handler) = next(&mut server.stream().await).await;
        handler.ack();
        assert_eq!(message.data.len(), 10_000_000);

        let publisher = Publisher::builder(TOPIC)
            .with_endpoint(&server.endpoint)
            .with_credentials(no_credentials())
            .build()
            .await
            .unwrap();
        let error = publisher.publish(Message::new().set_data(vec![0; 10_485_760])).await.unwrap_err();
        assert!(format!("{error:?}").contains("InvalidArgument"), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_server_shuts_down_while_streams_are_open() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (endpoint, observer) = (format!("http://{}", server.address()), server.observer());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server.serve(async { _ = stopped.await });
    let client = async {
        let topics =
            TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(no_credentials()).build().await.unwrap();
        topics.create_topic().set_name(TOPIC).send().await.unwrap();
        let admin = SubscriptionAdmin::builder()
            .with_endpoint(&endpoint)
            .with_credentials(no_credentials())
            .build()
            .await
            .unwrap();
        admin.create_subscription().set_name(SUBSCRIPTION).set_topic(TOPIC).send().await.unwrap();
        let subscriber =
            Subscriber::builder().with_endpoint(&endpoint).with_credentials(no_credentials()).build().await.unwrap();
        let mut stream = subscriber.subscribe(SUBSCRIPTION).build();
        let stopping = async {
            while observer.counts(SUBSCRIPTION).unwrap().streams == 0 {
                tokio::task::yield_now().await;
            }
            _ = stop.send(());
        };
        // The client reopens the stream for as long as it is polled, so this future must be dropped.
        tokio::join!(stream.next(), stopping)
    };
    tokio::select! {
        served = timeout(PATIENCE, serving) => served.unwrap().unwrap(),
        _ = client => panic!("the stream ended before the server"),
    }
}
