//! How Pub/Sub is reached: the service with the machine's credentials, or a local server without any.

use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::{self, Credentials, anonymous};
use google_cloud_gax::retry_policy::{NeverRetry, RetryPolicyExt};
use google_cloud_pubsub::client::{Publisher, SchemaService, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::retry_policy::RetryableErrors;
use tokio::sync::OnceCell;

use super::Problem;
use crate::consumer::cause;

/// How long the client tries again before a publish is given up.
const PUBLISH_RETRY_TIME: Duration = Duration::from_secs(5);

/// The service, or the local server that `PUBSUB_EMULATOR_HOST` names. Belongs to the runtime that first uses it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The local server's.
    endpoint: Option<String>,
    /// Shared by every client, because the token that is fetched with them is kept with them.
    credentials: Arc<OnceCell<Credentials>>,
}

/// A client of `builder`'s kind with a connection of its own, on the runtime that calls this.
macro_rules! client {
    ($connection:expr, $builder:expr) => {{
        let connection: &Connection = $connection;
        let mut builder = $builder.with_credentials(connection.credentials().await?);
        if let Some(endpoint) = &connection.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder.build().await.map_err(|error| Problem::Other(cause(&error)))
    }};
}

impl Connection {
    /// `emulator_host` is `host:port`, as the emulator's environment variable has it.
    pub fn new(emulator_host: Option<&str>) -> Connection {
        let endpoint = |host: &str| if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        Connection { endpoint: emulator_host.map(endpoint), credentials: Arc::default() }
    }

    pub(super) async fn subscriber(&self) -> Result<Subscriber, Problem> {
        client!(self, Subscriber::builder())
    }

    /// A publisher that puts at most `batch` messages into a request.
    pub(super) async fn publisher(&self, topic: &str, batch: u32) -> Result<Publisher, Problem> {
        let retry = RetryableErrors.with_time_limit(PUBLISH_RETRY_TIME);
        client!(self, Publisher::builder(topic).set_message_count_threshold(batch).with_retry_policy(retry))
    }

    pub(super) async fn topic_admin(&self) -> Result<TopicAdmin, Problem> {
        client!(self, TopicAdmin::builder().with_retry_policy(NeverRetry))
    }

    pub(super) async fn subscription_admin(&self) -> Result<SubscriptionAdmin, Problem> {
        client!(self, SubscriptionAdmin::builder().with_retry_policy(NeverRetry))
    }

    pub(super) async fn schema_service(&self) -> Result<SchemaService, Problem> {
        client!(self, SchemaService::builder().with_retry_policy(NeverRetry))
    }

    async fn credentials(&self) -> Result<Credentials, Problem> {
        let found = self.credentials.get_or_try_init(async || match &self.endpoint {
            Some(_) => Ok(anonymous::Builder::new().build()),
            None => credentials::Builder::default().build().map_err(|error| Problem::NoCredentials(cause(&error))),
        });
        found.await.cloned()
    }
}
