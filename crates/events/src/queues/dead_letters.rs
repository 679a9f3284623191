//! Dead letters, one by one: those of the processor, and what the deliverer sends. Leaves retries to both.

use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::MessageAttributeValue;

use super::{Problem, Queue};
use crate::dead_letter::{Attributes, attributes};
use crate::event::Invalid;
use crate::ports::{DeadLetters, Failure, Message};

/// The codes of messages that SQS never takes, without their prefixes and suffixes.
const REFUSALS: [&str; 3] = ["InvalidMessageContents", "InvalidParameterValue", "InvalidAttributeValue"];

/// The dead-letter queue of the messages that are no events.
#[derive(Debug, Clone)]
pub struct DeadLetterQueue(Queue);

impl DeadLetterQueue {
    pub fn new(queue: Queue) -> DeadLetterQueue {
        DeadLetterQueue(queue)
    }
}

impl DeadLetters for DeadLetterQueue {
    async fn send(&self, message: &Message, invalid: &Invalid) -> Result<(), Failure> {
        let attributes = attributes(invalid, message.body.len(), message.receives, message.trace.as_deref());
        self.0.send_one(&message.body, &attributes).await
    }
}

impl Queue {
    /// Sends a message. After `Ok`, it is durable. After `Unavailable` it may have been sent.
    pub(crate) async fn send_one(&self, body: &str, attributes: &Attributes) -> Result<(), Failure> {
        let unavailable = |problem: Problem| Failure::Unavailable(format!("the queue {}: {problem}", self.name));
        let mut request = self.client.send_message().queue_url(&self.url).message_body(body);
        for (name, value) in attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            request = request.message_attributes(*name, value.map_err(|error| Failure::Refused(error.to_string()))?);
        }
        match request.send().await {
            // Only SQS answers with the id of the message.
            Ok(answer) if answer.message_id.is_some() => Ok(()),
            Ok(_) => Err(Failure::Unavailable("something other than SQS answered".to_owned())),
            Err(error) => {
                let is_refused = |code: &str| REFUSALS.iter().any(|refusal| code.contains(refusal));
                let problem = Problem::of(&error);
                Err(match error.code() {
                    Some(code) if is_refused(code) => Failure::Refused(problem.to_string()),
                    _ => unavailable(problem),
                })
            }
        }
    }
}
