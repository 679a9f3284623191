//! Reads and creates topics and subscriptions. Does not know which ones the program needs.

use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::client::{SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{ExpirationPolicy, RetryPolicy, Subscription};
use google_cloud_wkt::Duration as WireDuration;

use super::{Connection, Problem};

/// The settings of a new subscription, which never expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSettings {
    pub ack_deadline: Duration,
    pub retention: Duration,
    /// Minimum and maximum backoff before a redelivery. `None` redelivers at once.
    pub retry: Option<(Duration, Duration)>,
}

/// An existing subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionDetails {
    /// Full name of its topic. `None` if the topic was deleted.
    pub topic: Option<String>,
    /// The minimum backoff of its retry policy. `None` without a retry policy.
    pub minimum_backoff: Option<Duration>,
    /// How clients get its messages.
    pub delivery: Delivery,
    /// Only messages that match are delivered. Empty without a filter.
    pub filter: String,
    /// Whether transforms change or drop messages before they are delivered.
    pub has_transforms: bool,
    pub is_ordered: bool,
    pub is_exactly_once: bool,
    /// Pub/Sub deletes the subscription after this time without a client. `None` if it never does.
    pub expires_after: Option<Duration>,
}

/// How clients get the messages of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// They pull, which includes streams.
    Pull,
    /// Pub/Sub sends the messages to this destination, and clients cannot pull.
    Export(String),
    /// It is detached from its topic: it has no messages, and gets none.
    Detached,
}

/// The name of a subscription's topic after that topic was deleted.
/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions>
const DELETED_TOPIC: &str = "_deleted-topic_";
/// <https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions#retrypolicy>
const DEFAULT_MINIMUM_BACKOFF: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Admin {
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
}

impl Admin {
    pub async fn connect(connection: &Connection) -> Result<Admin, Problem> {
        Ok(Admin { topics: connection.topic_admin().await?, subscriptions: connection.subscription_admin().await? })
    }

    /// Checks that the topic with this full name exists.
    pub async fn topic(&self, name: &str) -> Result<(), Problem> {
        let result = self.topics.get_topic().set_topic(name).send().await;
        result.map(drop).map_err(|error| Problem::from(&error))
    }

    /// Returns whether the topic of this full name has a subscription. Detached subscriptions do not count.
    pub async fn has_subscription(&self, topic: &str) -> Result<bool, Problem> {
        let mut token = String::new();
        loop {
            let request = self.topics.list_topic_subscriptions().set_topic(topic).set_page_token(token);
            let page = request.send().await.map_err(|error| Problem::from(&error))?;
            // A page can be empty although others follow.
            if !page.subscriptions.is_empty() || page.next_page_token.is_empty() {
                return Ok(!page.subscriptions.is_empty());
            }
            token = page.next_page_token;
        }
    }

    /// Returns the subscription with this full name.
    pub async fn subscription(&self, name: &str) -> Result<SubscriptionDetails, Problem> {
        let result = self.subscriptions.get_subscription().set_subscription(name).send().await;
        let subscription = result.map_err(|error| Problem::from(&error))?;
        let minimum_backoff = subscription.retry_policy.as_ref().map(|policy| {
            let seconds = policy.minimum_backoff.map(|backoff| u64::try_from(backoff.seconds()).unwrap_or(0));
            seconds.map_or(DEFAULT_MINIMUM_BACKOFF, Duration::from_secs)
        });
        let expiration = subscription.expiration_policy.as_ref().and_then(|policy| policy.ttl);
        Ok(SubscriptionDetails {
            delivery: delivery(&subscription),
            topic: Some(subscription.topic).filter(|topic| topic != DELETED_TOPIC),
            minimum_backoff,
            filter: subscription.filter,
            has_transforms: !subscription.message_transforms.is_empty(),
            is_ordered: subscription.enable_message_ordering,
            is_exactly_once: subscription.enable_exactly_once_delivery,
            expires_after: expiration.map(|ttl| Duration::from_secs(u64::try_from(ttl.seconds()).unwrap_or(0))),
        })
    }

    /// Creates a topic by its full name. Returns false if it existed already.
    pub async fn create_topic(&self, name: &str) -> Result<bool, Problem> {
        is_new(self.topics.create_topic().set_name(name).send().await)
    }

    /// Creates a subscription on a topic, both by their full names. Returns false if it existed already.
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
            // With a policy without a TTL, the subscription never expires.
            .set_expiration_policy(ExpirationPolicy::new());
        if let Some((minimum, maximum)) = settings.retry {
            let policy = RetryPolicy::new().set_minimum_backoff(wire(minimum)).set_maximum_backoff(wire(maximum));
            request = request.set_retry_policy(policy);
        }
        is_new(request.send().await)
    }
}

fn delivery(subscription: &Subscription) -> Delivery {
    let push = subscription.push_config.as_ref().map(|push| &push.push_endpoint).filter(|url| !url.is_empty());
    if subscription.detached {
        Delivery::Detached
    } else if let Some(url) = push {
        Delivery::Export(format!("the push endpoint {url}"))
    } else if let Some(config) = &subscription.bigquery_config {
        Delivery::Export(format!("the BigQuery table {}", config.table))
    } else if let Some(config) = &subscription.cloud_storage_config {
        Delivery::Export(format!("the Cloud Storage bucket {}", config.bucket))
    } else if let Some(config) = &subscription.bigtable_config {
        Delivery::Export(format!("the Bigtable table {}", config.table))
    } else {
        Delivery::Pull
    }
}

/// Returns whether the creation made a new resource, or false if it existed already.
fn is_new<T>(result: google_cloud_pubsub::Result<T>) -> Result<bool, Problem> {
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
