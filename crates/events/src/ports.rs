//! What the processor needs from outside, with the contract of each call.

use std::future::Future;
use std::time::Duration;

use tracing::Span;

use crate::event::{Event, Invalid, Reason};
use crate::schema::Schemas;

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
    /// The trace that the message belongs to, as a W3C `traceparent`.
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
    /// The table has this event. `is_direct` is that of its put, so a direct event is dispatched again: the first attempt
    /// may have ended before.
    Duplicate {
        is_direct: bool,
    },
    /// The table has another event with the same id.
    Conflict,
}

/// The table of events.
pub trait Events: Send + Sync + 'static {
    /// Stores an event unless its key exists. The reader of the table's stream does not deliver a direct event.
    fn put(&self, event: &Event, is_direct: bool) -> impl Future<Output = Result<Put, Failure>> + Send;
}

/// Delivers direct events, without the stream of the table.
pub trait Dispatch: Send + Sync + 'static {
    /// Delivers an event to the targets of its client. `Ok` means that each target has accepted it, or that its delivery or
    /// its dead letter is durable. An event may be dispatched several times. The call bounds its own time.
    fn dispatch(&self, event: &Event) -> impl Future<Output = Result<(), Failure>> + Send;
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
    DeadLettered(Reason),
    /// The dead-letter queue refuses it, so it stays in the queue, which moves it after some receipts.
    Left(Reason),
}

/// A message that is durable, or left to the queue.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    pub outcome: Outcome,
    /// `None` if the body is no event.
    pub client: Option<&'a str>,
    /// `None` if the body has no type.
    pub event_type: Option<&'a str>,
    /// When the message was sent, in Unix milliseconds.
    pub sent: u64,
    pub span: &'a Span,
}

/// Is told what happens. The methods must not block.
pub trait Observer: Send + Sync + 'static {
    /// A request for messages ended. There may be none.
    fn received(&self, messages: &[Message]);

    /// Opens the span of a received message, until it is deleted; a disabled span if the message is not traced.
    fn message_span(&self, message: &Message) -> Span;

    /// Returns the `traceparent` that continues a span, or `None` if the span is disabled.
    fn context(&self, span: &Span) -> Option<String>;

    /// Opens the span of a call that makes a message durable; a disabled span if the message is not traced.
    fn call_span(&self, message: &Span, call: Call) -> Span;

    /// The call of this span failed.
    fn call_failed(&self, span: &Span, failure: &Failure);

    fn settled(&self, settled: &Settled<'_>);

    /// Messages are deleted from the queue.
    fn deleted(&self, messages: usize);

    /// The visibility of a message ended before it was deleted, so it comes again.
    fn lost(&self);

    /// Messages were made visible again at a stop.
    fn returned(&self, messages: usize);

    /// A call succeeded.
    fn succeeded(&self, call: Call);

    /// A call failed. It is repeated, unless it is refused.
    fn failed(&self, call: Call, failure: &Failure);

    /// Messages are validated by these schemas from now on, beside the default one.
    fn schemas_loaded(&self, schemas: &Schemas);

    /// Changed schemas are wrong, so the earlier ones count.
    fn schemas_refused(&self);

    /// What is in memory changed.
    fn in_memory(&self, messages: usize, bytes: usize);
}

/// A call of the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Receive,
    Delete,
    SetVisibility,
    Put,
    SendDeadLetter,
    Dispatch,
}

impl Call {
    pub const ALL: [Call; 6] =
        [Call::Receive, Call::Delete, Call::SetVisibility, Call::Put, Call::SendDeadLetter, Call::Dispatch];

    pub fn name(self) -> &'static str {
        match self {
            Call::Receive => "receive",
            Call::Delete => "delete",
            Call::SetVisibility => "set_visibility",
            Call::Put => "put",
            Call::SendDeadLetter => "send_dead_letter",
            Call::Dispatch => "dispatch",
        }
    }
}

/// Ignores everything.
impl Observer for () {
    fn received(&self, _: &[Message]) {}
    fn message_span(&self, _: &Message) -> Span {
        Span::none()
    }
    fn context(&self, _: &Span) -> Option<String> {
        None
    }
    fn call_span(&self, _: &Span, _: Call) -> Span {
        Span::none()
    }
    fn call_failed(&self, _: &Span, _: &Failure) {}
    fn settled(&self, _: &Settled<'_>) {}
    fn deleted(&self, _: usize) {}
    fn lost(&self) {}
    fn returned(&self, _: usize) {}
    fn succeeded(&self, _: Call) {}
    fn failed(&self, _: Call, _: &Failure) {}
    fn schemas_loaded(&self, _: &Schemas) {}
    fn schemas_refused(&self) {}
    fn in_memory(&self, _: usize, _: usize) {}
}
