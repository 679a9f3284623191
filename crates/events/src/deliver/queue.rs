//! The dead-letter queue of deliveries.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::MessageAttributeValue;
use dynamodb::Problem;
use ops::cause;
use tokio::time::timeout;

use super::dead::DeadLetter;
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
        let mut send = self.client.send_message().queue_url(&self.url).message_body(&letter.body);
        for (name, value) in &letter.attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            send = send.message_attributes(*name, value.map_err(|error| cause(&error))?);
        }
        match timeout(RESPONSE_TIMEOUT, send.send()).await {
            // Only SQS answers with the id of the message.
            Ok(Ok(sent)) if sent.message_id.is_some() => Ok(()),
            Ok(Ok(_)) => Err("something other than SQS answered".to_owned()),
            Ok(Err(error)) => Err(cause(&error)),
            Err(_) => Err(format!("no answer within {} ms", RESPONSE_TIMEOUT.as_millis())),
        }
    }
}
