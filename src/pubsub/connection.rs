//! Connects to Pub/Sub: to the service with this machine's credentials, or to a local server without any. Knows no
//! topic or subscription.

use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::{self, Credentials, anonymous};
use google_cloud_gax::retry_policy::{NeverRetry, RetryPolicyExt};
use google_cloud_pubsub::client::{Publisher, SchemaService, Subscriber, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::retry_policy::RetryableErrors;
use ops::cause;
use tokio::sync::OnceCell;

use super::Problem;

/// The client retries a publish request for at most this time.
const PUBLISH_RETRY_TIME: Duration = Duration::from_secs(5);

/// The service, or the local server that `PUBSUB_EMULATOR_HOST` names. Use it only on the runtime that used it first.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The URL of the local server.
    endpoint: Option<String>,
    /// All clients share the credentials, because these cache the access token.
    credentials: Arc<OnceCell<Credentials>>,
}

/// Builds a client with its own connection, on the current runtime.
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
    /// Takes the value of `PUBSUB_EMULATOR_HOST`: `host:port`, or a URL.
    pub fn new(emulator_host: Option<&str>) -> Connection {
        let endpoint = |host: &str| if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        Connection { endpoint: emulator_host.map(endpoint), credentials: Arc::default() }
    }

    pub(super) async fn subscriber(&self) -> Result<Subscriber, Problem> {
        client!(self, Subscriber::builder())
    }

    /// Returns a publisher that sends at most `batch` messages per request.
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
        let credentials = self.credentials.get_or_try_init(async || match &self.endpoint {
            Some(_) => Ok(anonymous::Builder::new().build()),
            None => credentials::Builder::default().build().map_err(|error| Problem::NoCredentials(cause(&error))),
        });
        credentials.await.cloned()
    }
}
