//! The queue of events: long polls, and batches of deletions and of changes of visibility.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, ChangeMessageVisibilityBatchResultEntry, DeleteMessageBatchRequestEntry,
    DeleteMessageBatchResultEntry, MessageSystemAttributeName,
};
use tokio::time::timeout;

use super::{entries, unavailable};
use crate::dead_letter::{EVENT_ID, EVENT_TIME, TRACEPARENT};
use crate::ports::{Entry, Failure, Message, Queue};
use crate::trace::traceparent;

/// The longest that SQS waits for the first message.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// The SDK itself waits for ever.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);

/// The queue of events.
#[derive(Debug, Clone)]
pub struct EventQueue {
    client: Client,
    url: String,
    visibility: Duration,
    wait: Duration,
}

impl EventQueue {
    /// `visibility` is how long received messages stay invisible, in whole seconds. Requests wait as long as SQS allows, because
    /// each one costs, but no longer than a stop may take.
    pub fn new(client: Client, url: String, visibility: Duration, shutdown_grace: Duration) -> EventQueue {
        let wait = shutdown_grace.clamp(Duration::from_secs(1), MAX_WAIT);
        EventQueue { client, url, visibility, wait }
    }
}

impl Queue for EventQueue {
    async fn receive(&self, max: usize) -> Result<Vec<Message>, Failure> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max).unwrap_or(i32::MAX))
            .wait_time_seconds(seconds(self.wait))
            .visibility_timeout(seconds(self.visibility))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .set_message_attribute_names(Some([EVENT_ID, EVENT_TIME, TRACEPARENT].map(str::to_owned).to_vec()));
        let late = |_| Failure::Unavailable(format!("no answer within {RECEIVE_TIMEOUT:?}"));
        let received = timeout(RECEIVE_TIMEOUT, request.send()).await.map_err(late)?;
        let messages = received.map_err(|error| unavailable(&error))?.messages.unwrap_or_default();
        let messages: Option<Vec<_>> = messages.into_iter().map(message).collect();
        messages.ok_or_else(|| Failure::Unavailable("SQS sent a message without its id, body or times".to_owned()))
    }

    async fn delete(&self, receipts: &[&str]) -> Result<Vec<Entry>, Failure> {
        let entry = |(index, receipt): (usize, &&str)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(*receipt);
            entry.build().map_err(|error| Failure::Refused(error.to_string()))
        };
        let batch = receipts.iter().enumerate().map(entry).collect::<Result<_, _>>()?;
        let request = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(batch));
        let answer = request.send().await.map_err(|error| unavailable(&error))?;
        let successful = answer.successful.iter().map(DeleteMessageBatchResultEntry::id);
        Ok(entries(receipts.len(), successful, &answer.failed))
    }

    async fn set_visibility(&self, receipts: &[&str], after: Duration) -> Result<Vec<Entry>, Failure> {
        let entry = |(index, receipt): (usize, &&str)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(*receipt)
                .visibility_timeout(seconds(after));
            entry.build().map_err(|error| Failure::Refused(error.to_string()))
        };
        let batch = receipts.iter().enumerate().map(entry).collect::<Result<_, _>>()?;
        let request = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(batch));
        let answer = request.send().await.map_err(|error| unavailable(&error))?;
        let successful = answer.successful.iter().map(ChangeMessageVisibilityBatchResultEntry::id);
        Ok(entries(receipts.len(), successful, &answer.failed))
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// Returns `None` if something is missing that SQS always sends.
fn message(message: aws_sdk_sqs::types::Message) -> Option<Message> {
    let system = |name| message.attributes.as_ref()?.get(&name).map(String::as_str);
    let attribute = |name| message.message_attributes.as_ref()?.get(name)?.string_value();
    let names = message.message_attributes.as_ref();
    // One that lacks the other, or that is no text, makes the message invalid.
    let is_moved = names.is_some_and(|names| [EVENT_ID, EVENT_TIME].iter().any(|name| names.contains_key(*name)));
    let moved =
        is_moved.then(|| [EVENT_ID, EVENT_TIME].map(|name| attribute(name).unwrap_or_default().to_owned()).into());
    let trace = traceparent(attribute(TRACEPARENT), system(MessageSystemAttributeName::AwsTraceHeader));
    Some(Message {
        sent: system(MessageSystemAttributeName::SentTimestamp)?.parse().ok()?,
        receives: system(MessageSystemAttributeName::ApproximateReceiveCount)?.parse().ok()?,
        moved,
        trace,
        receipt: message.receipt_handle?,
        message_id: message.message_id?,
        body: message.body?,
    })
}
