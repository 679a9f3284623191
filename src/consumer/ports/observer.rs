//! What the consumer reports while it works. Knows nothing of metrics, traces or logs.

use std::fmt;
use std::time::{Duration, SystemTime};

use tracing::Span;

use super::restart::Restart;
use super::source::Envelope;
use super::store::{Put, StoreErrorKind};
use crate::scan::Reason;

/// Receives what happens, on whichever thread it happens. Every method is on the path of messages: it must neither block
/// nor allocate, and nothing that it does changes what the consumer does.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A stream delivered a message.
    fn delivered(&self, envelope: &Envelope);

    /// Opens the span of a message that was delivered; a disabled one where the message is not traced.
    fn message_span(&self, envelope: &Envelope) -> Span;

    /// A receipt is about to be settled, once for each that was taken.
    fn settled(&self, message: &Settled<'_>);

    /// A delivery was nacked at drain without having been taken, so that it is not settled by [`Observer::settled`].
    fn released_unread(&self);

    /// A delivery was rejected, whether its dead letter can be published or not.
    fn rejected(&self, reason: Reason);

    /// A write is attempted again after an error of this kind.
    fn retried(&self, kind: StoreErrorKind);

    /// An attempt was answered with throttling: of the table, or of its key alone.
    fn throttled(&self, kind: StoreErrorKind);

    /// A record of this size was sent; with what the store answered, if it answered for it.
    fn sent(&self, record_bytes: usize, answer: Option<&Put>);

    /// A record of this size was sent in a statement whose verb did not fit, so that nothing was written.
    fn sent_with_other_verb(&self, record_bytes: usize);

    /// One call of the store ended after this time. A failed condition is no failure, nor is one statement of a batch.
    fn called(&self, operation: Operation, took: Duration, failure: Option<StoreErrorKind>);

    /// Opens the span of one attempt of a message; a disabled one where the message is not traced.
    fn attempt_span(&self, message: &Span, operation: Operation) -> Span;

    /// The attempt of this span failed.
    fn attempt_failed(&self, attempt: &Span, kind: StoreErrorKind);

    /// The stream of this worker is being opened.
    fn stream_opened(&self, worker: usize);

    /// The stream of this worker is read no more.
    fn stream_ended(&self, worker: usize);

    /// A stream was replaced by another.
    fn stream_replaced(&self, cause: Restart);

    /// The client could not deliver the last acks and nacks of a replaced stream: what they settle may be redelivered.
    fn stream_unflushed(&self);
}

/// A delivery whose receipt is about to be settled.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    pub end: End,
    /// The time since its arrival.
    pub took: Duration,
    pub publish_time: SystemTime,
    /// The size of the record of its scan, as the store bills it; 0 where it was not decoded.
    pub record_bytes: usize,
    pub span: &'a Span,
}

/// What the store is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Put,
    Batch,
}

impl Operation {
    pub const ALL: [Operation; 2] = [Operation::Put, Operation::Batch];

    /// Returns DynamoDB's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "PutItem",
            Operation::Batch => "BatchExecuteStatement",
        }
    }
}

/// How a delivery ended: its receipt is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Stored,
    /// The store answered that the record is up to date.
    Stale,
    /// Stale, because the write of a newer scan of its key settled it, too.
    Superseded,
    /// Stale, because the record was known to be up to date.
    Known,
    Expired,
    DeadLettered(Reason),
    /// Rejected, and no dead letter could be published.
    DeadLetterFailed(Reason),
    /// Nacked after `--max-retry-time`, or to free a parking permit.
    GivenUp,
    /// Nacked without a result, e.g. at drain.
    Released,
}

impl End {
    /// Returns its outcome in metrics, traces and logs.
    pub fn name(self) -> &'static str {
        match self {
            End::Stored => "stored",
            End::Stale | End::Superseded | End::Known => "stale",
            End::Expired => "expired",
            End::DeadLettered(_) => "rejected",
            End::DeadLetterFailed(_) => "dead_letter_failed",
            End::GivenUp => "given_up",
            End::Released => "released",
        }
    }

    /// Returns what kept it from being stored or stale.
    pub fn error(self) -> Option<&'static str> {
        match self {
            End::Stored | End::Stale | End::Superseded | End::Known | End::Expired => None,
            End::DeadLettered(reason) | End::DeadLetterFailed(reason) => Some(reason.as_str()),
            End::GivenUp | End::Released => Some(self.name()),
        }
    }

    pub(crate) fn is_acked(self) -> bool {
        match self {
            End::Stored | End::Stale | End::Superseded | End::Known | End::Expired | End::DeadLettered(_) => true,
            End::DeadLetterFailed(_) | End::GivenUp | End::Released => false,
        }
    }
}
