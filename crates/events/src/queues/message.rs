//! Messages of a queue, as the tools send and receive them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, SendMessageBatchRequestEntry,
    SendMessageBatchResultEntry,
};

use super::batch::{rejected, seconds, unbuilt};
use super::{Problem, Queue, Rejected};

/// The most messages in one request.
pub const MAX_BATCH: usize = 10;
/// The most bytes of one message, and of all messages in one request.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// A message to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    pub body: String,
    pub attributes: BTreeMap<String, String>,
    /// `MessageGroupId`, by which SQS shares the queue fairly.
    pub group: Option<String>,
}

/// A message as the queue delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub id: String,
    /// Names this receipt of the message.
    pub receipt: String,
    pub body: String,
    /// `SentTimestamp`, in Unix milliseconds.
    pub sent: u64,
    /// With this receipt.
    pub receives: u32,
    pub group: Option<String>,
    /// The attributes of text and numbers.
    pub attributes: BTreeMap<String, String>,
}

impl Outgoing {
    /// Returns what counts towards [`MAX_BATCH_BYTES`].
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len() + "String".len());
        self.body.len() + attributes.sum::<usize>()
    }
}

impl Queue {
    /// Sends up to ten messages. Returns those that SQS did not take.
    pub async fn send(&self, messages: &[Outgoing]) -> Result<Vec<Rejected>, Problem> {
        let mut entries = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let mut attributes = HashMap::new();
            for (name, value) in &message.attributes {
                let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
                attributes.insert(name.clone(), value.map_err(unbuilt)?);
            }
            let entry = SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(&message.body)
                .set_message_group_id(message.group.clone())
                .set_message_attributes((!attributes.is_empty()).then_some(attributes));
            entries.push(entry.build().map_err(unbuilt)?);
        }
        let send = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let sent = send.send().await.map_err(|error| Problem::of(&error))?;
        let successful = sent.successful.iter().map(SendMessageBatchResultEntry::id);
        Ok(rejected(messages.len(), successful, &sent.failed))
    }

    /// Receives up to ten messages for the time of `visibility`. Waits for the first one.
    pub async fn receive(&self, max: usize, visibility: Duration, wait: Duration) -> Result<Vec<Received>, Problem> {
        let receive = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max.min(MAX_BATCH)).unwrap_or(i32::MAX))
            .visibility_timeout(seconds(visibility))
            .wait_time_seconds(seconds(wait))
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All);
        let received = receive.send().await.map_err(|error| Problem::of(&error))?;
        Ok(received.messages.unwrap_or_default().into_iter().filter_map(message).collect())
    }
}

/// Returns `None` for a message without a receipt, which SQS never sends.
fn message(message: Message) -> Option<Received> {
    let system = |name: MessageSystemAttributeName| message.attributes()?.get(&name).cloned();
    let number = |name: MessageSystemAttributeName| system(name)?.parse::<u64>().ok();
    let text = |(name, value): (&String, &MessageAttributeValue)| {
        value.string_value().map(|value| (name.clone(), value.to_owned()))
    };
    let attributes = message.message_attributes().into_iter().flatten().filter_map(text).collect();
    Some(Received {
        sent: number(MessageSystemAttributeName::SentTimestamp).unwrap_or_default(),
        receives: number(MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or_default(),
        group: system(MessageSystemAttributeName::MessageGroupId),
        attributes,
        id: message.message_id.clone()?,
        receipt: message.receipt_handle.clone()?,
        body: message.body.unwrap_or_default(),
    })
}
