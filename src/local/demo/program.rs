//! The interface between the demo and the program that it runs: setup, consume, counts of outcomes.

use crate::scan::Reason;
use dynamodb_local::thread::Running;

/// An error of the program.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The endpoints and names that the program works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The value of `PUBSUB_EMULATOR_HOST`.
    pub pubsub_host: String,
    /// The value of `AWS_ENDPOINT_URL_DYNAMODB`.
    pub dynamo_url: String,
    pub project: &'static str,
    pub topic: &'static str,
    pub subscription: &'static str,
    pub dead_letter_topic: &'static str,
    pub dead_letter_subscription: &'static str,
    pub table: &'static str,
}

impl Environment {
    pub(super) fn topic_name(&self) -> String {
        format!("projects/{}/topics/{}", self.project, self.topic)
    }

    pub(super) fn subscription_name(&self) -> String {
        format!("projects/{}/subscriptions/{}", self.project, self.subscription)
    }

    pub(super) fn dead_letter_topic_name(&self) -> String {
        format!("projects/{}/topics/{}", self.project, self.dead_letter_topic)
    }

    pub(super) fn dead_letter_subscription_name(&self) -> String {
        format!("projects/{}/subscriptions/{}", self.project, self.dead_letter_subscription)
    }
}

/// A program that the demo can run.
pub trait Program {
    type Consumer: Consumer;

    /// Creates the topics, the subscriptions and the table, like `mini-scan setup`.
    fn setup(&self, environment: &Environment) -> impl Future<Output = Result<(), BoxError>>;

    /// Serves the API of the records, like `mini-scan api`, until it is dropped. Returns `None` if the program has none.
    fn serve(&self, environment: &Environment) -> impl Future<Output = Result<Option<Running>, BoxError>>;

    /// Starts a consumer, like `mini-scan consumer`, on its own threads.
    fn consume(&self, environment: &Environment) -> impl Future<Output = Result<Self::Consumer, BoxError>>;
}

/// A running consumer.
pub trait Consumer {
    fn outcomes(&self) -> Outcomes;

    /// Drains the consumer and stops it.
    fn stop(self) -> impl Future<Output = Result<(), BoxError>>;
}

/// The outcomes of the messages so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub stored: u64,
    pub stale: u64,
    /// Dead letters by reason. Reasons without dead letters may be missing.
    pub rejections: Vec<(Reason, u64)>,
    /// Messages that the consumer gave up on and nacked.
    pub failed: u64,
}

impl Outcomes {
    pub fn rejected(&self) -> u64 {
        self.rejections.iter().map(|(_, count)| count).sum()
    }

    pub fn total(&self) -> u64 {
        self.stored + self.stale + self.rejected() + self.failed
    }
}
