//! The topic that the scanner publishes to, through the official client, and its error messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::client::Publisher;
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::retry_policy::RetryableErrors;

/// How long the client retries a message.
const RETRY_TIME: Duration = Duration::from_secs(10);
/// The maximum number of messages in a publish request.
const BATCH: u32 = 1_000;

/// A topic to publish to.
#[derive(Debug, Clone)]
pub struct Topic {
    name: Arc<str>,
    host: Option<Arc<str>>,
    publisher: Publisher,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the topic {topic} does not exist: create it with `mini-scan setup pubsub`, or choose another with --topic"
    )]
    Missing { topic: Arc<str> },
    #[error("cannot publish to the topic {topic}: permission denied ({detail}); grant roles/pubsub.publisher on it")]
    PermissionDenied { topic: Arc<str>, detail: String },
    #[error(
        "cannot publish to the topic {topic} because no server answers at {host}: start one with `mini-scan local \
         pubsub`, or unset PUBSUB_EMULATOR_HOST"
    )]
    NoServer { topic: Arc<str>, host: Arc<str> },
    #[error("cannot publish to the topic {topic}: {detail}")]
    Other { topic: Arc<str>, detail: String },
}

impl Topic {
    /// Creates a client for the topic with this full name. The first publish tells whether the topic exists. `host` is
    /// the address of a local server; `None` is Google.
    pub async fn connect(name: &str, host: Option<&str>) -> Result<Topic, Error> {
        let name = Arc::<str>::from(name);
        let mut builder = Publisher::builder(name.to_string())
            .set_message_count_threshold(BATCH)
            .with_retry_policy(RetryableErrors.with_time_limit(RETRY_TIME));
        if let Some(host) = host {
            builder =
                builder.with_endpoint(format!("http://{host}")).with_credentials(anonymous::Builder::new().build());
        }
        let built = builder.build().await;
        let publisher = built.map_err(|error| Error::Other { topic: name.clone(), detail: error.to_string() })?;
        Ok(Topic { name, host: host.map(Arc::from), publisher })
    }

    /// Sends the message at once. The future completes when the topic has confirmed it.
    pub fn publish(&self, payload: Bytes) -> impl Future<Output = Result<(), Error>> + use<> {
        let sent = self.publisher.publish(Message::new().set_data(payload));
        let topic = self.clone();
        async move { sent.await.map(drop).map_err(|error| topic.explain(error)) }
    }

    fn explain(&self, error: PublishError) -> Error {
        let topic = self.name.clone();
        let PublishError::Rpc(error) = error else {
            return Error::Other { topic, detail: error.to_string() };
        };
        let code = error.status().map(|status| status.code);
        let detail = error.status().map_or_else(|| error.to_string(), |status| status.message.clone());
        match (code, &self.host) {
            (Some(Code::NotFound), _) => Error::Missing { topic },
            (Some(Code::PermissionDenied | Code::Unauthenticated), _) => Error::PermissionDenied { topic, detail },
            (Some(Code::Unavailable | Code::DeadlineExceeded) | None, Some(host)) => {
                Error::NoServer { topic, host: host.clone() }
            }
            _ => Error::Other { topic, detail },
        }
    }
}
