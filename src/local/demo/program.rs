//! What the demo needs of the program that it shows: that it sets up, consumes, and counts what it does.

use crate::scan::Reason;

/// Why the program could not do it, in its own words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the program finds what it works with, as its flags and environment would say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `PUBSUB_EMULATOR_HOST`
    pub pubsub_host: String,
    /// `AWS_ENDPOINT_URL_DYNAMODB`
    pub dynamo_url: String,
    pub project: &'static str,
    pub topic: &'static str,
    pub subscription: &'static str,
    pub dead_letter_topic: &'static str,
    pub dead_letter_subscription: &'static str,
    pub table: &'static str,
}

impl Place {
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

/// The program.
pub trait Program {
    type Consumer: Consumer;

    /// Creates topics, subscriptions and table, as `mini-scan setup` does.
    fn setup(&self, place: &Place) -> impl Future<Output = Result<(), Failure>>;

    /// Starts to consume, as `mini-scan consumer` does, on threads of its own.
    fn consume(&self, place: &Place) -> impl Future<Output = Result<Self::Consumer, Failure>>;
}

/// A consumer that runs.
pub trait Consumer {
    fn outcomes(&self) -> Outcomes;

    /// Drains and ends it.
    fn stop(self) -> impl Future<Output = Result<(), Failure>>;
}

/// What a consumer did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub stored: u64,
    pub stale: u64,
    /// Dead letters by reason; reasons without any may be left out.
    pub rejections: Vec<(Reason, u64)>,
    /// Given back to the subscription for good.
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
