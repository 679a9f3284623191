//! The dead-letter queue of the messages that are no events.

use aws_sdk_sqs::Client;

use super::send;
use crate::dead_letter::attributes;
use crate::event::Invalid;
use crate::ports::{DeadLetters, Failure, Message};

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
        let attributes = attributes(invalid, message.body.len(), message.receives, message.trace.as_deref());
        send(&self.client, &self.url, &message.body, &attributes).await
    }
}
