//! Pub/Sub as a test wants it: a topic, a subscription, messages in, messages out, through the official clients.

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_pubsub::builder::publisher::PublisherBuilder;
use google_cloud_pubsub::builder::subscriber::Subscribe;
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model::{Message, Subscription};
use pubsub_local::{Counts, Faults, Observer};

use super::inbox::Inbox;
use super::servers::{Embedded, PubsubServer};
use super::{LOOKING, QUIET, test_name, unique, within_patience};

/// The chosen server and clients of it.
pub(crate) struct Pubsub {
    pub(crate) server: PubsubServer,
    /// `host:port`, as `PUBSUB_EMULATOR_HOST` has it.
    pub(crate) address: String,
    pub(crate) project: String,
    pub(crate) topics: TopicAdmin,
    pub(crate) subscriptions: SubscriptionAdmin,
    subscriber: Subscriber,
    observer: Option<Observer>,
    _own: Option<Embedded>,
}

impl Pubsub {
    /// The server that the environment chooses, which the tests share.
    pub(crate) async fn connect() -> Pubsub {
        let (server, address, observer) = PubsubServer::choose();
        println!("{}: against {}", test_name(), server.name());
        Pubsub::at(server, address, observer, None).await
    }

    /// An embedded server of this test's own, and the knobs that make it misbehave.
    pub(crate) async fn own() -> (Pubsub, Faults) {
        let (own, faults, observer) = Embedded::pubsub();
        let address = own.address.to_string();
        (Pubsub::at(PubsubServer::Embedded, address, Some(observer), Some(own)).await, faults)
    }

    async fn at(server: PubsubServer, address: String, observer: Option<Observer>, own: Option<Embedded>) -> Pubsub {
        let endpoint = format!("http://{address}");
        let topics = TopicAdmin::builder().with_endpoint(&endpoint).with_credentials(nobody());
        let subscriptions = SubscriptionAdmin::builder().with_endpoint(&endpoint).with_credentials(nobody());
        let subscriber = Subscriber::builder().with_endpoint(&endpoint).with_credentials(nobody());
        Pubsub {
            server,
            address,
            project: "test-project".to_owned(),
            topics: topics.build().await.expect("a topic client"),
            subscriptions: subscriptions.build().await.expect("a subscription client"),
            subscriber: subscriber.build().await.expect("a subscriber"),
            observer,
            _own: own,
        }
    }

    /// Whether `assertion` is left out, aloud, because `server` is known to differ from Google's documentation in it.
    pub(crate) fn excuses(&self, server: PubsubServer, assertion: &str) -> bool {
        let excused = self.server == server;
        if excused {
            println!("{}: SKIPPED against {}: {assertion}", test_name(), server.name());
        }
        excused
    }

    pub(crate) fn topic_name(&self, id: &str) -> String {
        format!("projects/{}/topics/{id}", self.project)
    }

    pub(crate) fn subscription_name(&self, id: &str) -> String {
        format!("projects/{}/subscriptions/{id}", self.project)
    }

    /// A new topic, by full name.
    pub(crate) async fn topic(&self) -> String {
        let name = self.topic_name(&unique("topic"));
        self.topics.create_topic().set_name(&name).send().await.expect("the topic is created");
        name
    }

    /// A new subscription on `topic` with an ack deadline of 10 s and no policies, by full name.
    pub(crate) async fn subscription(&self, topic: &str) -> String {
        self.subscription_with(topic, |subscription| subscription).await
    }

    /// A new subscription on `topic` with what `settings` adds.
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

    /// A new topic with one plain subscription.
    pub(crate) async fn pair(&self) -> (String, String) {
        let topic = self.topic().await;
        let subscription = self.subscription(&topic).await;
        (topic, subscription)
    }

    /// A publisher whose first refusal is its answer.
    pub(crate) fn publisher(&self, topic: &str) -> PublisherBuilder {
        Publisher::builder(topic)
            .with_endpoint(format!("http://{}", self.address))
            .with_credentials(nobody())
            .with_retry_policy(NeverRetry)
    }

    /// Publishes `messages`, batched as the client sees fit, and gives each one's id or refusal.
    pub(crate) async fn try_publish(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = Message>,
    ) -> Vec<Result<String, PublishError>> {
        let publisher = self.publisher(topic).build().await.expect("a publisher");
        let published: Vec<_> = messages.into_iter().map(|message| publisher.publish(message)).collect();
        within_patience("a flush of the publisher", publisher.flush()).await;
        let mut answers = Vec::with_capacity(published.len());
        for answer in published {
            answers.push(within_patience("an answer to a publish", answer).await);
        }
        answers
    }

    /// Publishes payloads without attributes, which must be accepted, and gives their message ids.
    pub(crate) async fn publish<P: Into<bytes::Bytes>>(
        &self,
        topic: &str,
        payloads: impl IntoIterator<Item = P>,
    ) -> Vec<String> {
        let messages = payloads.into_iter().map(|payload| Message::new().set_data(payload));
        let answers = self.try_publish(topic, messages).await;
        answers.into_iter().map(|answer| answer.expect("the message is accepted")).collect()
    }

    /// A stream on `subscription`, still to be set up. Its lease extensions are the shortest, so that tests are.
    pub(crate) fn subscribe(&self, subscription: &str) -> Subscribe {
        self.subscriber.subscribe(subscription).set_max_lease_extension(std::time::Duration::from_secs(10))
    }

    pub(crate) fn open(&self, subscription: &str) -> Inbox {
        Inbox::open(self.subscribe(subscription))
    }

    /// What the embedded server has counted on `subscription`.
    pub(crate) fn counts(&self, subscription: &str) -> Counts {
        let observer = self.observer.as_ref().expect("only the embedded server tells");
        observer.counts(subscription).expect("the subscription is there")
    }

    /// Waits until every message of `subscription` is settled for good.
    ///
    /// Google's emulator does not tell; there, what is neither settled nor leased to a client must be nothing.
    pub(crate) async fn drained(&self, subscription: &str) {
        let Some(observer) = &self.observer else {
            let mut inbox = self.open(subscription);
            assert!(inbox.next_within(QUIET).await.is_none(), "a message is left on {subscription}");
            return inbox.close().await;
        };
        let empty = async {
            loop {
                let counts = observer.counts(subscription).expect("the subscription is there");
                if counts.ready + counts.delayed + counts.outstanding == 0 {
                    return;
                }
                tokio::time::sleep(LOOKING).await;
            }
        };
        within_patience("an empty subscription", empty).await;
    }

    /// One call of the REST interface: `POST /v1/{resource}:{verb}`; the status and the JSON answer.
    pub(crate) async fn rest(&self, resource: &str, verb: &str, body: serde_json::Value) -> (u16, serde_json::Value) {
        let url = format!("http://{}/v1/{resource}:{verb}", self.address);
        let call = async {
            let answer = reqwest::Client::new().post(url).json(&body).send().await.expect("the server answers");
            (answer.status().as_u16(), answer.json().await.expect("the answer is JSON"))
        };
        within_patience("an answer over REST", call).await
    }
}

/// Local servers ask for no credentials.
fn nobody() -> Credentials {
    anonymous::Builder::new().build()
}

/// The code with which a call was refused.
pub(crate) fn code(error: &google_cloud_pubsub::Error) -> Option<Code> {
    error.status().map(|status| status.code)
}

/// The code with which a message was refused.
pub(crate) fn publish_code(answer: &Result<String, PublishError>) -> Option<Code> {
    match answer {
        Err(PublishError::Rpc(error)) => code(error),
        _ => None,
    }
}
