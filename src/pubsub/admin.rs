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

/// What the consumer asks of a subscription that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Whether redeliveries are spaced.
    pub retry_policy: bool,
}

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

    /// The subscription of this full name.
    pub async fn subscription(&self, name: &str) -> Result<Found, Problem> {
        let result = self.subscriptions.get_subscription().set_subscription(name).send().await;
        let subscription = result.map_err(|error| Problem::from(&error))?;
        Ok(Found { retry_policy: subscription.retry_policy.is_some() })
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
