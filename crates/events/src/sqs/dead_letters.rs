//! The dead-letter queue of the messages that are no events.

use std::collections::HashMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::MessageAttributeValue;

use super::detail;
use crate::dead_letter::attributes;
use crate::event::Invalid;
use crate::ports::{DeadLetters, Failure, Message};

/// The codes of messages that SQS never takes, without their prefixes and suffixes.
const REFUSALS: [&str; 3] = ["InvalidMessageContents", "InvalidParameterValue", "InvalidAttributeValue"];

/// The dead-letter queue of events.
#[derive(Debug, Clone)]
pub struct DeadLetterQueue {
    client: Client,
    url: String,
}

impl DeadLetterQueue {
    pub fn new(client: Client, url: String) -> DeadLetterQueue {
        DeadLetterQueue { client, url }
    }
}

impl DeadLetters for DeadLetterQueue {
    async fn send(&self, message: &Message, invalid: &Invalid) -> Result<(), Failure> {
        let mut described = HashMap::new();
        for (name, value) in attributes(invalid, message.body.len(), message.receives, message.trace.as_deref()) {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            described.insert(name.to_owned(), value.map_err(|error| Failure::Refused(error.to_string()))?);
        }
        let request = self.client.send_message().queue_url(&self.url).message_body(&message.body);
        let sent = request.set_message_attributes((!described.is_empty()).then_some(described)).send().await;
        match sent {
            Ok(answer) if answer.message_id.is_some() => Ok(()),
            Ok(_) => Err(Failure::Unavailable("something other than SQS answered".to_owned())),
            Err(error) => {
                let is_refused = |code: &str| REFUSALS.iter().any(|refusal| code.contains(refusal));
                let refused = error.code().is_some_and(is_refused);
                Err(if refused { Failure::Refused(detail(&error)) } else { Failure::Unavailable(detail(&error)) })
            }
        }
    }
}
