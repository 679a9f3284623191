//! What the history needs from outside, with the contract of each call.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::compare::Images;
use super::entry::{Entry, Event};
use super::key::{EntryKey, Sequence};
use super::summary::{Hashes, Position, Summary};
use crate::consumer::ports::StoreError;
use crate::scan::Key;

/// What a record of the stream changes in the summary of its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub service: Key,
    pub position: Position,
    pub event: Event,
    /// The time of the entry.
    pub time: u64,
    pub created: u64,
    /// The timestamp of the scan that the service was seen by: of the new record, or of the old one.
    pub seen_at: u64,
    /// Of the new response, with the id of the masks.
    pub hashes: Option<(Hashes, String)>,
}

/// The answer to an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updated {
    /// The summary after the update.
    Applied(Summary),
    /// The summary has this update, or a later one.
    Refused(Summary),
}

/// A record of the stream that cannot be handled.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    pub shard: &'a str,
    pub sequence: Sequence,
    /// The label of the stream.
    pub stream: &'a str,
    pub images: &'a Images,
    pub attempts: u32,
    pub reason: &'a str,
}

/// Changes that the stream deleted before anyone read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// When it was noticed, in Unix seconds. All missing changes are older.
    pub noticed: u64,
    /// The label of the stream.
    pub stream: String,
    /// `all` if no shard could be read.
    pub shard: String,
    /// The last position before the gap.
    pub after: String,
    /// When the last record before the gap was created, if that is known.
    pub last_created: Option<u64>,
    pub cause: &'static str,
}

/// The table of the history. No call retries, and each may be applied although it returns an error.
pub trait History: Send + Sync + 'static {
    /// Updates a summary if its last change is before this one. Counts the change.
    fn update(&self, update: &Update) -> impl Future<Output = Result<Updated, StoreError>> + Send;

    /// Lowers the time of the first scan, if it is later than this.
    fn lower_first_seen(&self, service: &Key, time: u64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores an entry unless it exists. Leaves out what does not fit an item.
    fn put(&self, entry: &Entry) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes an entry if it exists.
    fn delete(&self, key: &EntryKey) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores a dead letter. Safe to repeat.
    fn put_dead(&self, letter: &DeadLetter<'_>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores a gap. Safe to repeat.
    fn put_gap(&self, gap: &Gap) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Tells others of changes.
pub trait Notifier: Send + Sync + 'static {
    /// Tells of an entry that is stored. `Ok` proves that everyone whom it concerns was told, or will be. The same entry comes
    /// again after an error, and after a crash. `read_at` is when its record was read. The future does not keep the response.
    fn notify(&self, entry: Entry, read_at: Instant) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Tells nobody.
impl Notifier for () {
    fn notify(&self, _: Entry, _: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// What became of a record of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handled {
    /// An entry is stored.
    Recorded(Event),
    /// Its entry may have been stored before.
    Replayed,
    /// A later change of its service is recorded.
    Skipped,
    /// A change that the table made earlier is recorded. Its entry has no number.
    Disordered,
    /// The responses are equal after masks.
    Unchanged,
    /// The item is no record of a scan.
    Foreign,
    /// A dead letter is stored.
    Dead,
}

impl Handled {
    pub const ALL: [Handled; 9] = [
        Handled::Recorded(Event::Opened),
        Handled::Recorded(Event::Changed),
        Handled::Recorded(Event::Closed),
        Handled::Replayed,
        Handled::Skipped,
        Handled::Disordered,
        Handled::Unchanged,
        Handled::Foreign,
        Handled::Dead,
    ];

    /// Returns its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Handled::Recorded(event) => event.name(),
            Handled::Replayed => "replayed",
            Handled::Skipped => "skipped",
            Handled::Disordered => "disordered",
            Handled::Unchanged => "unchanged",
            Handled::Foreign => "foreign",
            Handled::Dead => "dead",
        }
    }
}

/// Is told what becomes of the records, and what the calls of the history take. The methods must not block.
pub trait Observer: Send + Sync + 'static {
    fn handled(&self, handled: Handled);

    /// One call of the history has ended.
    fn called(&self, operation: &'static str, took: Duration, failure: Option<&StoreError>);

    /// A gap is stored.
    fn gap_stored(&self);
}

/// Ignores everything.
impl Observer for () {
    fn handled(&self, _: Handled) {}
    fn called(&self, _: &'static str, _: Duration, _: Option<&StoreError>) {}
    fn gap_stored(&self) {}
}
