//! The dead-letter queue of deliveries.

use std::time::Duration;

use tokio::time::timeout;

use super::dead::DeadLetter;
use crate::queues::{Problem, Queue, Sqs};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(2_500);

/// The dead-letter queue of deliveries. Clones share its client.
#[derive(Debug, Clone)]
pub struct DeadLetterQueue(Queue);

impl DeadLetterQueue {
    /// Finds the queue.
    pub async fn connect(endpoint: Option<&str>, name: &str) -> Result<DeadLetterQueue, Problem> {
        let sqs = Sqs::connect_without_retries(endpoint).await?;
        let late = |_| Err(Problem::Unreachable("SQS did not answer".to_owned()));
        timeout(CONNECT_TIMEOUT, sqs.find(name)).await.unwrap_or_else(late).map(DeadLetterQueue)
    }

    /// Sends a dead letter. After `Ok`, it is durable. After an error it may have been sent.
    pub(super) async fn send(&self, letter: &DeadLetter) -> Result<(), String> {
        let send = self.0.send_one(&letter.body, &letter.attributes);
        match timeout(RESPONSE_TIMEOUT, send).await {
            Ok(sent) => sent.map_err(|failure| failure.to_string()),
            Err(_) => Err(format!("no answer within {} ms", RESPONSE_TIMEOUT.as_millis())),
        }
    }
}
