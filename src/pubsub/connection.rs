//! How Pub/Sub is reached: the service with the machine's credentials, or a local server without any.

use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_gax::retry_policy::{NeverRetry, RetryPolicyExt};
use google_cloud_pubsub::client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::retry_policy::RetryableErrors;

use super::Problem;

/// How long the client tries again before a publish is given up.
const PUBLISH_RETRY_TIME: Duration = Duration::from_secs(5);

/// The service, or the local server that `PUBSUB_EMULATOR_HOST` names.
#[derive(Debug, Clone)]
pub struct Connection {
    local: Option<Local>,
}

#[derive(Debug, Clone)]
struct Local {
    endpoint: String,
    credentials: Credentials,
}

impl Connection {
    /// `emulator_host` is `host:port`, as the emulator's environment variable has it.
    pub fn new(emulator_host: Option<&str>) -> Connection {
        Connection {
            local: emulator_host.map(|host| Local {
                endpoint: if host.contains("://") { host.to_owned() } else { format!("http://{host}") },
                credentials: anonymous::Builder::new().build(),
            }),
        }
    }

    /// A client with a connection of its own, on the runtime that calls this.
    pub(super) async fn subscriber(&self) -> Result<Subscriber, Problem> {
        let mut builder = Subscriber::builder();
        if let Some(local) = &self.local {
            builder = builder.with_endpoint(&local.endpoint).with_credentials(local.credentials.clone());
        }
        builder.build().await.map_err(Problem::building)
    }

    /// A publisher that puts at most `batch` messages into a request.
    pub(super) async fn publisher(&self, topic: &str, batch: u32) -> Result<Publisher, Problem> {
        let mut builder = Publisher::builder(topic)
            .set_message_count_threshold(batch)
            .with_retry_policy(RetryableErrors.with_time_limit(PUBLISH_RETRY_TIME));
        if let Some(local) = &self.local {
            builder = builder.with_endpoint(&local.endpoint).with_credentials(local.credentials.clone());
        }
        builder.build().await.map_err(Problem::building)
    }

    pub(super) async fn topic_admin(&self) -> Result<TopicAdmin, Problem> {
        let mut builder = TopicAdmin::builder().with_retry_policy(NeverRetry);
        if let Some(local) = &self.local {
            builder = builder.with_endpoint(&local.endpoint).with_credentials(local.credentials.clone());
        }
        builder.build().await.map_err(Problem::building)
    }

    pub(super) async fn subscription_admin(&self) -> Result<SubscriptionAdmin, Problem> {
        let mut builder = SubscriptionAdmin::builder().with_retry_policy(NeverRetry);
        if let Some(local) = &self.local {
            builder = builder.with_endpoint(&local.endpoint).with_credentials(local.credentials.clone());
        }
        builder.build().await.map_err(Problem::building)
    }
}
