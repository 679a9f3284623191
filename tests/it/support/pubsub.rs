//! Pub/Sub clients for tests: they create topics and subscriptions, and publish and receive messages.

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_pubsub::builder::publisher::PublisherBuilder;
use google_cloud_pubsub::builder::subscriber::Subscribe;
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model::{Message, Subscription};
use pubsub_local::{Counts, Event, Faults, Observer};

use super::inbox::Inbox;
use super::servers::{Embedded, PubsubServer};
use super::{POLL_INTERVAL, QUIET_PERIOD, test_name, unique, with_progress, with_timeout};

/// The chosen server and clients for it.
pub(crate) struct Pubsub {
    pub(crate) server: PubsubServer,
    /// `host:port`, the value for `PUBSUB_EMULATOR_HOST`.
    pub(crate) address: String,
    pub(crate) project: String,
    pub(crate) topics: TopicAdmin,
    pub(crate) subscriptions: SubscriptionAdmin,
    subscriber: Subscriber,
    observer: Option<Observer>,
    _dedicated: Option<Embedded>,
}

impl Pubsub {
    /// Connects to the server that the environment chooses. The tests share it.
    pub(crate) async fn connect() -> Pubsub {
        let (server, address, observer) = PubsubServer::choose();
        println!("{}: against {}", test_name(), server.name());
        Pubsub::at(server, address, observer, None).await
    }

    /// Starts an embedded server for this test alone, and returns it with the handle that injects faults.
    pub(crate) async fn dedicated() -> (Pubsub, Faults) {
        let (server, faults, observer) = Embedded::pubsub();
        let address = server.address.to_string();
        (Pubsub::at(PubsubServer::Embedded, address, Some(observer), Some(server)).await, faults)
    }

    async fn at(
        server: PubsubServer,
        address: String,
        observer: Option<Observer>,
        dedicated: Option<Embedded>,
    ) -> Pubsub {
        let endpoint = format!("http://{address}");
        let topics = TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(no_credentials());
        let subscriptions = SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(no_credentials());
        let subscriber = Subscriber::builder().with_endpoint(&endpoint).with_credentials(no_credentials());
        Pubsub {
            server,
            address,
            project: "test-project".to_owned(),
            topics: topics.build().await.expect("a topic client"),
            subscriptions: subscriptions.build().await.expect("a subscription client"),
            subscriber: subscriber.build().await.expect("a subscriber"),
            observer,
            _dedicated: dedicated,
        }
    }

    /// Returns whether to skip `assertion`, because `server` is known to differ from Google's documentation there.
    /// Prints what is skipped.
    pub(crate) fn skips(&self, server: PubsubServer, assertion: &str) -> bool {
        let skipped = self.server == server;
        if skipped {
            println!("{}: SKIPPED against {}: {assertion}", test_name(), server.name());
        }
        skipped
    }

    pub(crate) fn topic_name(&self, id: &str) -> String {
        format!("projects/{}/topics/{id}", self.project)
    }

    pub(crate) fn subscription_name(&self, id: &str) -> String {
        format!("projects/{}/subscriptions/{id}", self.project)
    }

    /// Creates a topic and returns its full name.
    pub(crate) async fn topic(&self) -> String {
        let name = self.topic_name(&unique("topic"));
        self.topics.create_topic().set_name(&name).send().await.expect("the topic is created");
        name
    }

    /// Creates a subscription to `topic` with an ack deadline of 10 s and no policies, and returns its full name.
    pub(crate) async fn subscription(&self, topic: &str) -> String {
        self.subscription_with(topic, |subscription| subscription).await
    }

    /// Creates a subscription to `topic` with additional `settings`, and returns its full name.
    pub(crate) async fn subscription_with(
        &self,
        topic: &str,
        settings: impl FnOnce(Subscription) -> Subscription,
    ) -> String {
        let name = self.subscription_name(&unique("sub"));
        let plain = Subscription::new().set_name(&name).set_topic(topic).set_ack_deadline_seconds(10);
        let create = self.subscriptions.create_subscription().with_request(settings(plain));
        create.send().await.expect("the subscription is created");
        name
    }

    /// Creates a topic with one plain subscription, and returns both full names.
    pub(crate) async fn topic_with_subscription(&self) -> (String, String) {
        let topic = self.topic().await;
        let subscription = self.subscription(&topic).await;
        (topic, subscription)
    }

    /// Returns a publisher that never retries.
    pub(crate) fn publisher(&self, topic: &str) -> PublisherBuilder {
        Publisher::builder(topic)
            .with_endpoint(format!("http://{}", self.address))
            .with_credentials(no_credentials())
            .with_retry_policy(NeverRetry)
    }

    /// Publishes `messages` in batches of the client's choice, and returns each message's id or error.
    pub(crate) async fn try_publish(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = Message>,
    ) -> Vec<Result<String, PublishError>> {
        let publisher = self.publisher(topic).build().await.expect("a publisher");
        let published: Vec<_> = messages.into_iter().map(|message| publisher.publish(message)).collect();
        with_timeout("a flush of the publisher", publisher.flush()).await;
        let mut results = Vec::with_capacity(published.len());
        for result in published {
            results.push(with_timeout("the result of a publish", result).await);
        }
        results
    }

    /// Publishes payloads without attributes, and returns their message ids. Panics if one is not accepted.
    pub(crate) async fn publish<P: Into<bytes::Bytes>>(
        &self,
        topic: &str,
        payloads: impl IntoIterator<Item = P>,
    ) -> Vec<String> {
        let messages = payloads.into_iter().map(|payload| Message::new().set_data(payload));
        let results = self.try_publish(topic, messages).await;
        results.into_iter().map(|result| result.expect("the message is accepted")).collect()
    }

    /// Returns the builder of a stream on `subscription`. It has the shortest lease extension, to keep tests short.
    pub(crate) fn subscribe(&self, subscription: &str) -> Subscribe {
        self.subscriber.subscribe(subscription).set_max_lease_extension(std::time::Duration::from_secs(10))
    }

    pub(crate) fn open(&self, subscription: &str) -> Inbox {
        Inbox::open(self.subscribe(subscription))
    }

    /// Returns the embedded server's counts of `subscription`.
    pub(crate) fn counts(&self, subscription: &str) -> Counts {
        let observer = self.observer.as_ref().expect("only the embedded server has counts");
        observer.counts(subscription).expect("the subscription exists")
    }

    /// Calls `listener` for every event of the embedded server from now on.
    pub(crate) fn listen(&self, listener: impl Fn(&Event<'_>) + Send + Sync + 'static) {
        self.observer.as_ref().expect("only the embedded server has events").listen(listener);
    }

    /// Waits until a stream on `subscription` is open. On Google's emulator, which has no counts, it waits for a while.
    pub(crate) async fn wait_for_stream(&self, subscription: &str) {
        if self.observer.is_none() {
            return tokio::time::sleep(QUIET_PERIOD).await;
        }
        self.wait_for_streams(subscription, "an open stream", |streams| streams > 0).await;
    }

    /// Waits until the embedded server has no stream on `subscription`.
    pub(crate) async fn wait_for_no_stream(&self, subscription: &str) {
        self.wait_for_streams(subscription, "the end of the streams", |streams| streams == 0).await;
    }

    async fn wait_for_streams(&self, subscription: &str, what: &str, is_reached: impl Fn(usize) -> bool) {
        let reached = async {
            while !is_reached(self.counts(subscription).streams) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(what, reached).await;
    }

    /// Waits until no message of `subscription` is left.
    ///
    /// Google's emulator has no counts. There, a stream must receive nothing, so leased messages are not noticed.
    pub(crate) async fn drained(&self, subscription: &str) {
        let Some(observer) = &self.observer else {
            let mut inbox = self.open(subscription);
            assert!(inbox.next_within(QUIET_PERIOD).await.is_none(), "a message is left on {subscription}");
            return inbox.close().await;
        };
        let is_empty = async || match observer.counts(subscription).expect("the subscription exists").backlog() {
            0 => Ok(()),
            left => Err(left),
        };
        with_progress("an empty subscription", is_empty).await;
    }

    /// Calls `POST /v1/{resource}:{verb}`, and returns the status and the JSON body of the response.
    pub(crate) async fn rest(&self, resource: &str, verb: &str, body: serde_json::Value) -> (u16, serde_json::Value) {
        let url = format!("http://{}/v1/{resource}:{verb}", self.address);
        let call = async {
            let response = reqwest::Client::new().post(url).json(&body).send().await.expect("the server responds");
            (response.status().as_u16(), response.json().await.expect("the response is JSON"))
        };
        with_timeout("a response over REST", call).await
    }
}

/// Local servers ask for no credentials.
fn no_credentials() -> Credentials {
    anonymous::Builder::new().build()
}

/// Returns the code of a failed call.
pub(crate) fn code(error: &google_cloud_pubsub::Error) -> Option<Code> {
    error.status().map(|status| status.code)
}

/// Returns the code of a failed publish.
pub(crate) fn publish_code(result: &Result<String, PublishError>) -> Option<Code> {
    match result {
        Err(PublishError::Rpc(error)) => code(error),
        _ => None,
    }
}
