//! The events that the consumer reports. Knows nothing of metrics and traces.

use std::fmt;
use std::time::{Duration, SystemTime};

use tracing::Span;

use super::restart::Restart;
use super::source::Envelope;
use super::store::{Answer, StoreErrorKind};
use crate::scan::Reason;

/// Receives the events of all workers, on their threads. The methods are called for every message, so they must not block,
/// and should not allocate. They do not influence the consumer.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A stream delivered a message.
    fn delivered(&self, envelope: &Envelope);

    /// Opens the span of a delivered message; a disabled span if the message is not traced.
    fn message_span(&self, envelope: &Envelope) -> Span;

    /// A message is about to be acked or nacked. Called exactly once per message that was not released unread.
    fn settled(&self, message: &Settled<'_>);

    /// A delivery was nacked unread during drain. [`Observer::settled`] is not called for it.
    fn released_unread(&self);

    /// A message was rejected. Whether its dead letter can be published is not known yet.
    fn rejected(&self, reason: Reason);

    /// A write is retried after an error of this kind.
    fn retried(&self, kind: StoreErrorKind);

    /// An attempt was throttled.
    fn throttled(&self, throttle: Throttle);

    /// A record of this size was sent, with the store's answer unless the attempt failed.
    fn sent(&self, record_bytes: usize, answer: Option<&Answer>);

    /// A record of this size was sent in a statement with the wrong verb, so that nothing was written.
    fn sent_with_other_verb(&self, record_bytes: usize);

    /// A call of the store ended. A failed condition is not a failure, nor is a failed statement of a batch.
    fn called(&self, operation: Operation, took: Duration, failure: Option<StoreErrorKind>);

    /// Opens the span of an attempt to write; a disabled span if the message is not traced.
    fn attempt_span(&self, message: &Span, operation: Operation) -> Span;

    /// The attempt of this span failed.
    fn attempt_failed(&self, attempt: &Span, kind: StoreErrorKind);

    /// A worker opens a stream.
    fn stream_opened(&self, worker: usize);

    /// A worker stopped reading its stream.
    fn stream_ended(&self, worker: usize);

    /// A worker replaced its stream.
    fn stream_replaced(&self, cause: Restart);

    /// The last acks and nacks of a replaced stream were not sent: their messages may be redelivered.
    fn stream_unflushed(&self);
}

/// A message that is about to be acked or nacked.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    pub end: End,
    /// The time since its arrival.
    pub took: Duration,
    pub publish_time: SystemTime,
    /// The size of its scan's record, as the store bills it; 0 if the message was not decoded.
    pub record_bytes: usize,
    pub span: &'a Span,
}

/// A call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Put,
    Batch,
}

impl Operation {
    pub const ALL: [Operation; 2] = [Operation::Put, Operation::Batch];

    /// Returns its name in DynamoDB.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "PutItem",
            Operation::Batch => "BatchExecuteStatement",
        }
    }
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Stored,
    /// The store answered that the record is up to date.
    Stale,
    /// Stale: the write of a newer scan of its key settled it as well.
    Superseded,
    /// Stale: the record was known to be up to date.
    Known,
    Expired,
    DeadLettered(Reason),
    /// Rejected without a published dead letter.
    DeadLetterFailed(Reason),
    /// Nacked after `--max-retry-time`, or to free a parking permit.
    GivenUp,
    /// Nacked without a result, e.g. during drain.
    Released,
}

impl End {
    /// Returns its outcome in metrics and traces.
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

/// What was throttled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// The table or the account.
    Table,
    /// One key.
    Key,
    /// A partition of the table: several keys within a second.
    Partition,
}

impl Throttle {
    pub const ALL: [Throttle; 3] = [Throttle::Table, Throttle::Key, Throttle::Partition];

    /// Returns its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Throttle::Table => "table",
            Throttle::Key => "key",
            Throttle::Partition => "partition",
        }
    }

    /// Returns whether the writes of other keys must slow down as well.
    pub fn lowers_limit(self) -> bool {
        self != Throttle::Key
    }
}
