//! The dead-letter queue of deliveries.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::MessageAttributeValue;
use dynamodb::{NoSdkHeaders, Problem};
use ops::cause;
use tokio::time::timeout;

use super::dead::DeadLetter;
use crate::observe::USER_AGENT;

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
        let config = aws_sdk_sqs::Config::from(&dynamodb::sdk_config(endpoint).await?);
        let headers = NoSdkHeaders { user_agent: USER_AGENT };
        let client = Client::from_conf(config.to_builder().interceptor(headers).build());
        let found = timeout(CONNECT_TIMEOUT, client.get_queue_url().queue_name(name).send()).await;
        let url = match found {
            Ok(Ok(found)) => found.queue_url,
            Ok(Err(error)) if error.code().is_some_and(|code| code.contains("NonExistentQueue")) => {
                return Err(Problem::NotFound);
            }
            Ok(Err(error)) => return Err(Problem::of(&error)),
            Err(_) => None,
        };
        let url = url.ok_or_else(|| Problem::Unreachable("SQS returned no URL of the queue".to_owned()))?;
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
