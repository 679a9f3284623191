//! The queue of events, as the processor uses it. Leaves retries to the processor.

use std::time::Duration;

use aws_sdk_sqs::types::{Message as SqsMessage, MessageSystemAttributeName};
use tokio::time::timeout;

use super::batch::seconds;
use super::{Problem, Queue, Rejected};
use crate::dead_letter::{EVENT_ID, EVENT_TIME, TRACEPARENT};
use crate::ports::{self, Entry, Failure, Message};
use crate::trace::traceparent;

/// The longest that SQS waits for the first message.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// The SDK itself waits for ever.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);

/// The queue of events.
#[derive(Debug, Clone)]
pub struct EventQueue {
    queue: Queue,
    visibility: Duration,
    wait: Duration,
}

impl EventQueue {
    /// `visibility` is how long received messages stay invisible, in whole seconds. Requests wait as long as SQS allows, because
    /// each one costs, but no longer than a stop may take.
    pub fn new(queue: Queue, visibility: Duration, shutdown_grace: Duration) -> EventQueue {
        let wait = shutdown_grace.clamp(Duration::from_secs(1), MAX_WAIT);
        EventQueue { queue, visibility, wait }
    }

    fn unavailable(&self, problem: &Problem) -> Failure {
        Failure::Unavailable(format!("the queue {}: {problem}", self.queue.name))
    }
}

impl ports::Queue for EventQueue {
    async fn receive(&self, max: usize) -> Result<Vec<Message>, Failure> {
        let request = self
            .queue
            .client
            .receive_message()
            .queue_url(&self.queue.url)
            .max_number_of_messages(i32::try_from(max).unwrap_or(i32::MAX))
            .wait_time_seconds(seconds(self.wait))
            .visibility_timeout(seconds(self.visibility))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .set_message_attribute_names(Some([EVENT_ID, EVENT_TIME, TRACEPARENT].map(str::to_owned).to_vec()));
        let late = |_| Failure::Unavailable(format!("no answer within {RECEIVE_TIMEOUT:?}"));
        let received = timeout(RECEIVE_TIMEOUT, request.send()).await.map_err(late)?;
        let messages = received.map_err(|error| self.unavailable(&Problem::of(&error)))?.messages.unwrap_or_default();
        let messages: Option<Vec<_>> = messages.into_iter().map(message).collect();
        messages.ok_or_else(|| Failure::Unavailable("SQS sent a message without its id, body or times".to_owned()))
    }

    async fn delete(&self, receipts: &[&str]) -> Result<Vec<Entry>, Failure> {
        let rejected = self.queue.delete(receipts).await.map_err(|problem| self.unavailable(&problem))?;
        Ok(entries(receipts.len(), &rejected))
    }

    async fn set_visibility(&self, receipts: &[&str], after: Duration) -> Result<Vec<Entry>, Failure> {
        let rejected = self.queue.set_visibility(receipts, after).await;
        Ok(entries(receipts.len(), &rejected.map_err(|problem| self.unavailable(&problem))?))
    }
}

fn entries(count: usize, rejected: &[Rejected]) -> Vec<Entry> {
    let mut entries = vec![Entry::Done; count];
    for entry in rejected {
        entries[entry.index] = if entry.is_transient { Entry::Failed } else { Entry::Gone };
    }
    entries
}

/// Returns `None` if something is missing that SQS always sends.
fn message(message: SqsMessage) -> Option<Message> {
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
