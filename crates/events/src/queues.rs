//! SQS. [`Sqs`] finds and creates queues, and [`Queue`] has their settings and messages, as the tools use them.
//! [`EventQueue`] and [`DeadLetterQueue`] are the ports of the processor.

mod batch;
mod dead_letters;
mod events;
mod message;
mod settings;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::QueueAttributeName;
use dynamodb::NoSdkHeaders;

use crate::observe::USER_AGENT;

pub use batch::Rejected;
pub use dead_letters::DeadLetterQueue;
pub use events::EventQueue;
pub use message::{MAX_BATCH, MAX_BATCH_BYTES, Outgoing, Received};
pub use settings::{Counts, Redrive, Settings, Wanted};

/// The SDK itself waits forever for a response. A long poll takes up to 20 s.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Like the other commands of AWS, a tool repeats what was throttled.
const MAX_ATTEMPTS: u32 = 5;

/// Why a request to SQS failed, in a user's terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("no AWS region is set")]
    NoRegion,
    #[error("no AWS credentials: {0}")]
    NoCredentials(String),
    #[error("it does not exist")]
    NotFound,
    #[error("permission denied: {0}")]
    Refused(String),
    #[error("SQS does not answer: {0}")]
    Unreachable(String),
    #[error("{0}")]
    Other(String),
}

impl Problem {
    fn of<E>(error: &SdkError<E>) -> Problem
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        if error.code().is_some_and(|code| code.ends_with("NonExistentQueue") || code.ends_with("QueueDoesNotExist")) {
            return Problem::NotFound;
        }
        Problem::from(dynamodb::Problem::of(error))
    }
}

impl From<dynamodb::Problem> for Problem {
    fn from(problem: dynamodb::Problem) -> Problem {
        match problem {
            dynamodb::Problem::NoRegion => Problem::NoRegion,
            dynamodb::Problem::NoCredentials(detail) => Problem::NoCredentials(detail),
            dynamodb::Problem::NotFound => Problem::NotFound,
            dynamodb::Problem::Refused(detail) => Problem::Refused(detail),
            dynamodb::Problem::Unreachable(detail) => Problem::Unreachable(detail),
            dynamodb::Problem::DoesNotFit(detail) | dynamodb::Problem::Other(detail) => Problem::Other(detail),
        }
    }
}

/// The service.
#[derive(Debug, Clone)]
pub struct Sqs {
    client: Client,
}

/// A queue that exists. Clones share the client.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    pub name: String,
    url: String,
}

impl Sqs {
    /// Prepares a client for a tool, which repeats requests and bounds their time. Sends no request.
    pub async fn connect(endpoint: Option<&str>) -> Result<Sqs, Problem> {
        let config = config(endpoint).await?;
        let config = config
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(RESPONSE_TIMEOUT).build());
        Ok(Sqs { client: Client::from_conf(config.build()) })
    }

    /// Prepares a client that leaves both to its callers. Sends no request.
    pub async fn connect_without_retries(endpoint: Option<&str>) -> Result<Sqs, Problem> {
        Ok(Sqs { client: Client::from_conf(config(endpoint).await?.build()) })
    }

    pub async fn find(&self, name: &str) -> Result<Queue, Problem> {
        let found = self.client.get_queue_url().queue_name(name).send().await;
        self.queue(name, found.map_err(|error| Problem::of(&error))?.queue_url)
    }

    /// Creates a queue. It fails if the queue exists with other settings.
    pub async fn create(&self, name: &str, wanted: &Wanted) -> Result<Queue, Problem> {
        let create = self.client.create_queue().queue_name(name).set_attributes(Some(wanted.attributes()));
        self.queue(name, create.send().await.map_err(|error| Problem::of(&error))?.queue_url)
    }

    fn queue(&self, name: &str, url: Option<String>) -> Result<Queue, Problem> {
        let url = url.ok_or_else(|| Problem::Other("SQS returned no URL of it".to_owned()))?;
        Ok(Queue { client: self.client.clone(), name: name.to_owned(), url })
    }
}

async fn config(endpoint: Option<&str>) -> Result<Builder, Problem> {
    let config = dynamodb::sdk_config(endpoint).await?;
    Ok(Builder::from(&config).interceptor(NoSdkHeaders { user_agent: USER_AGENT }))
}

impl Queue {
    pub async fn settings(&self) -> Result<Settings, Problem> {
        let get = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(QueueAttributeName::All);
        let attributes = get.send().await.map_err(|error| Problem::of(&error))?.attributes.unwrap_or_default();
        Settings::parse(&attributes)
    }

    pub async fn set_redrive(&self, redrive: &Redrive) -> Result<(), Problem> {
        let attributes = HashMap::from([(QueueAttributeName::RedrivePolicy, redrive.to_json())]);
        let set = self.client.set_queue_attributes().queue_url(&self.url).set_attributes(Some(attributes));
        set.send().await.map(|_| ()).map_err(|error| Problem::of(&error))
    }
}
