//! What the processor needs from outside, with the contract of each call.

use std::future::Future;
use std::time::Duration;

use crate::event::{Event, Invalid};

/// A message as the queue delivered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Names this receipt of the message.
    pub receipt: String,
    pub message_id: String,
    pub body: String,
    /// `SentTimestamp`, in Unix milliseconds.
    pub sent: u64,
    /// `ApproximateReceiveCount`, with this receipt.
    pub receives: u32,
    /// The attributes `event_id` and `event_time` of a redrive.
    pub moved: Option<(String, String)>,
    /// `AWSTraceHeader`, or the attribute `traceparent`.
    pub trace: Option<String>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may succeed later, and it may have been applied.
    #[error("{0}")]
    Unavailable(String),
    /// It fails for this message each time.
    #[error("{0}")]
    Refused(String),
}

/// The result of one entry of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Done,
    /// It may succeed later.
    Failed,
    /// The receipt is not valid any more.
    Gone,
}

/// The queue of events.
pub trait Queue: Send + Sync + 'static {
    /// Returns up to `max` messages, at most ten. Waits up to 20 s for the first one.
    fn receive(&self, max: usize) -> impl Future<Output = Result<Vec<Message>, Failure>> + Send;

    /// Deletes up to ten messages. Returns a result for each one.
    fn delete(&self, receipts: &[&str]) -> impl Future<Output = Result<Vec<Entry>, Failure>> + Send;

    /// Makes up to ten messages visible after this time. Returns a result for each one.
    fn set_visibility(
        &self,
        receipts: &[&str],
        after: Duration,
    ) -> impl Future<Output = Result<Vec<Entry>, Failure>> + Send;
}

/// What a put of an event found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// The table has this event.
    Duplicate,
    /// The table has another event with the same id.
    Conflict,
}

/// The table of events.
pub trait Events: Send + Sync + 'static {
    /// Stores an event unless its key exists.
    fn put(&self, event: &Event) -> impl Future<Output = Result<Put, Failure>> + Send;
}

/// The dead-letter queue of messages that are no events.
pub trait DeadLetters: Send + Sync + 'static {
    /// Sends the body as it is, with the reason as attributes.
    fn send(&self, message: &Message, invalid: &Invalid) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    Stored,
    Duplicate,
    /// It is in the dead-letter queue.
    DeadLettered(crate::event::Reason),
}

/// Is told what happens. The methods must not block.
pub trait Observer: Send + Sync + 'static {
    fn received(&self, messages: usize);

    /// `sent` is when the message was sent, in Unix milliseconds.
    fn settled(&self, outcome: Outcome, sent: u64);

    /// A message is deleted from the queue.
    fn deleted(&self);

    /// The visibility of a message ended before it was deleted, so it comes again.
    fn lost(&self);

    fn failed(&self, call: &'static str, failure: &Failure);
}

/// Ignores everything.
impl Observer for () {
    fn received(&self, _: usize) {}
    fn settled(&self, _: Outcome, _: u64) {}
    fn deleted(&self) {}
    fn lost(&self) {}
    fn failed(&self, _: &'static str, _: &Failure) {}
}
