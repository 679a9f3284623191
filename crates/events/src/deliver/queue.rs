//! The dead-letter queue of deliveries.

use std::time::Duration;

use aws_sdk_sqs::Client;
use tokio::time::timeout;

use super::dead::DeadLetter;
use crate::queues::Problem;
use crate::sqs;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(2_500);

/// The dead-letter queue of deliveries. Clones share its client.
#[derive(Debug, Clone)]
pub struct DeadLetterQueue {
    client: Client,
    url: String,
}

impl DeadLetterQueue {
    /// Finds the queue.
    pub async fn connect(endpoint: Option<&str>, name: &str) -> Result<DeadLetterQueue, Problem> {
        let client = sqs::connect(endpoint).await?;
        let late = |_| Err(Problem::Unreachable("SQS did not answer".to_owned()));
        let url = timeout(CONNECT_TIMEOUT, sqs::queue_url(&client, name)).await.unwrap_or_else(late)?;
        Ok(DeadLetterQueue { client, url })
    }

    /// Sends a dead letter. After `Ok`, it is durable. After an error it may have been sent.
    pub(super) async fn send(&self, letter: &DeadLetter) -> Result<(), String> {
        let send = sqs::send(&self.client, &self.url, &letter.body, &letter.attributes);
        match timeout(RESPONSE_TIMEOUT, send).await {
            Ok(sent) => sent.map_err(|failure| failure.to_string()),
            Err(_) => Err(format!("no answer within {} ms", RESPONSE_TIMEOUT.as_millis())),
        }
    }
}
