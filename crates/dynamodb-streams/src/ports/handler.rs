//! The handler of records.

use std::time::Duration;

use super::{BoxError, Gap};
use crate::record::{DeadRecord, Record};

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The effect of the record is durable. The checkpoint may pass it.
    Done,
    /// The record is handled again: after this delay, or after one that the reader chooses. Records of other keys
    /// go on. After the maximum number of attempts, or the maximum time, the record is dead.
    RetryLater { after: Option<Duration>, reason: String },
    /// A store that the handler needs is away. The record is handled again, and this attempt does not count: the record is
    /// never dead because of it.
    Unavailable { after: Option<Duration>, reason: String },
    /// The record cannot be handled. [`Handler::store_dead`] gets it next.
    Dead { reason: String },
}

/// Handles records at least once. Records of one key are handled one after the other, in order, by one owner of the lease.
///
/// A future of the handler is dropped when the lease is lost, so it may end at each of its awaits. It must not block its
/// thread, because the lease is renewed on the same one.
pub trait Handler<D>: Send + Sync + 'static {
    /// Handles a record. `attempt` starts at 1, and starts again when another instance takes the lease. A panic and an
    /// exceeded time limit are failed attempts.
    fn handle(&self, record: &Record<D>, attempt: u32) -> impl Future<Output = Outcome> + Send;

    /// Stores a record that was given up. After `Ok`, the checkpoint may pass it, so it must be durable. After an error
    /// this is tried again for as long as it takes.
    fn store_dead(&self, dead: DeadRecord<'_, D>) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Stores a gap, so that it can be repaired later. This is repeated until it succeeds, and the shard is read on only
    /// then. After a crash, the same gap may come again.
    fn store_gap(&self, _gap: &Gap) -> impl Future<Output = Result<(), BoxError>> + Send {
        async { Ok(()) }
    }
}
