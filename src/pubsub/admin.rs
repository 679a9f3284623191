//! Topics and subscriptions: looking at them and creating them.

use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::client::{SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{ExpirationPolicy, RetryPolicy};
use google_cloud_wkt::Duration as WireDuration;

use super::{Connection, Problem};

/// What a subscription is created with. None expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSettings {
    pub ack_deadline: Duration,
    pub retention: Duration,
    /// Least and greatest delay before a redelivery; the server's own pace when absent.
    pub retry: Option<(Duration, Duration)>,
}

/// What is asked of a subscription that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Full name of its topic; absent when that was deleted.
    pub topic: Option<String>,
    /// The least delay before a redelivery, where redeliveries are spaced.
    pub least_delay: Option<Duration>,
}

/// What a subscription names as its topic once that was deleted.
/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions>
const DELETED_TOPIC: &str = "_deleted-topic_";
/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions#retrypolicy>
const DEFAULT_LEAST_DELAY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Admin {
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
}

impl Admin {
    pub async fn connect(connection: &Connection) -> Result<Admin, Problem> {
        Ok(Admin { topics: connection.topic_admin().await?, subscriptions: connection.subscription_admin().await? })
    }

    /// Whether the topic of this full name is there.
    pub async fn topic(&self, name: &str) -> Result<(), Problem> {
        let result = self.topics.get_topic().set_topic(name).send().await;
        result.map(drop).map_err(|error| Problem::from(&error))
    }

    /// Returns whether the topic of this full name has a subscription.
    pub async fn has_subscription(&self, topic: &str) -> Result<bool, Problem> {
        let result = self.topics.list_topic_subscriptions().set_topic(topic).send().await;
        let page = result.map_err(|error| Problem::from(&error))?;
        // A page can be empty although others follow.
        Ok(!page.subscriptions.is_empty() || !page.next_page_token.is_empty())
    }

    /// The subscription of this full name.
    pub async fn subscription(&self, name: &str) -> Result<Found, Problem> {
        let result = self.subscriptions.get_subscription().set_subscription(name).send().await;
        let subscription = result.map_err(|error| Problem::from(&error))?;
        let least_delay = subscription.retry_policy.map(|policy| {
            let seconds = policy.minimum_backoff.map(|least| u64::try_from(least.seconds()).unwrap_or(0));
            seconds.map_or(DEFAULT_LEAST_DELAY, Duration::from_secs)
        });
        Ok(Found { topic: Some(subscription.topic).filter(|topic| topic != DELETED_TOPIC), least_delay })
    }

    /// Creates a topic by its full name; false when it was there.
    pub async fn create_topic(&self, name: &str) -> Result<bool, Problem> {
        made(self.topics.create_topic().set_name(name).send().await)
    }

    /// Creates a subscription on a topic, both by their full names; false when it was there.
    pub async fn create_subscription(
        &self,
        name: &str,
        topic: &str,
        settings: &SubscriptionSettings,
    ) -> Result<bool, Problem> {
        let mut request = self
            .subscriptions
            .create_subscription()
            .set_name(name)
            .set_topic(topic)
            .set_ack_deadline_seconds(i32::try_from(settings.ack_deadline.as_secs()).unwrap_or(i32::MAX))
            .set_message_retention_duration(wire(settings.retention))
            // A policy without a ttl: the subscription never expires.
            .set_expiration_policy(ExpirationPolicy::new());
        if let Some((least, greatest)) = settings.retry {
            let policy = RetryPolicy::new().set_minimum_backoff(wire(least)).set_maximum_backoff(wire(greatest));
            request = request.set_retry_policy(policy);
        }
        made(request.send().await)
    }
}

/// Whether a creation made something new.
fn made<T>(result: google_cloud_pubsub::Result<T>) -> Result<bool, Problem> {
    match result {
        Ok(_) => Ok(true),
        Err(error)
            if error.status().is_some_and(|status| status.code == Code::AlreadyExists)
                || error.http_status_code() == Some(409) =>
        {
            Ok(false)
        }
        Err(error) => Err(Problem::from(&error)),
    }
}

fn wire(duration: Duration) -> WireDuration {
    WireDuration::clamp(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), 0)
}
