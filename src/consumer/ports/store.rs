//! A table of scans: attempts to write, their answers and their errors.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::scan::{Rejection, Scan};

/// DynamoDB's limit of statements per call.
pub const MAX_STATEMENTS: usize = 25;

/// The table.
pub trait Store {
    /// Returns the size of the scan's record in bytes, as the store bills it. Rejects a scan that the store could never hold.
    /// Makes no call.
    fn measure(&self, scan: &Scan) -> Result<usize, Rejection>;

    /// Attempts to write the scan unless the record is newer. `Ok` proves that the record holds this scan or a newer one.
    fn put(&self, scan: &Scan) -> impl Future<Output = Attempt>;

    /// Executes these statements in one call: at most [`MAX_STATEMENTS`], each of another key. Returns their results in the
    /// same order. A result proves the same as that of [`Store::put`]. It is `None` if the statement wrote nothing because
    /// there is no record to update, or a record exists already. After an error, which concerns the whole call, any of them
    /// may still have been written.
    fn batch(&self, statements: &[Statement]) -> impl Future<Output = Result<Vec<Option<Attempt>>, StoreError>>;

    /// Compares the description of the table with the records of scans. A change of the table may not be visible at once.
    fn describe(&self) -> impl Future<Output = Result<Fit, StoreError>>;
}

/// Whether a table can hold the records of scans: its key, and the types of the keys of its indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    Fits,
    /// With the difference, for a person.
    DoesNotFit(String),
}

/// One write in a batch.
#[derive(Debug, Clone)]
pub struct Statement {
    pub scan: Arc<Scan>,
    pub verb: Verb,
}

/// What a statement does. No single statement both creates and replaces records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Replaces an older record.
    Update,
    /// Creates a record that does not exist.
    Insert,
}

/// The result of one attempt to write a scan.
pub type Attempt = Result<Answer, StoreError>;

/// The store's answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The record holds this scan now.
    Stored,
    /// The record was up to date already.
    Stale(Record),
}

/// The record that made a write stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// At least the timestamp of the scan.
    pub timestamp: u64,
    /// Whether it equals the record of the scan: a duplicate, or an earlier attempt whose answer was lost.
    pub is_same: bool,
    /// Its size as the store bills it.
    pub bytes: usize,
}

/// Why a scan was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    pub kind: StoreErrorKind,
    pub detail: String,
}

impl StoreError {
    /// Returns the error of an attempt without an answer within this time.
    pub(crate) fn no_answer(within: Duration) -> StoreError {
        StoreError { kind: StoreErrorKind::Unavailable, detail: format!("no answer within {} s", within.as_secs()) }
    }
}

/// The kind of a failure. [`crate::consumer::policy::policy`] decides what follows from each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// A timeout, a failed connection, or a fault of the service. The scan may have been written.
    Unavailable,
    /// No file descriptor is left for another connection.
    OpenFiles,
    /// The table or the account is throttled.
    Throttled,
    /// The key range of this key is throttled: the key is hot, or its partition is at its limit.
    HotKey,
    /// Another write of this record is in progress.
    Conflict,
    /// The credentials are missing, expired or unknown to the service.
    Credentials,
    /// The clocks of this machine and of the service differ too much.
    Clock,
    /// The identity may not write to the table, or may not use the key that encrypts it.
    Permission,
    /// The table does not exist.
    MissingTable,
    /// Another error that a person must fix, e.g. a wrong endpoint or an unknown answer.
    Misconfigured,
    /// The item was refused. One answer does not tell whether the item or the table is at fault.
    Refused,
    /// The row with this key was not written by us, and would make every scan of the key stale.
    ForeignRow,
}

impl StoreErrorKind {
    pub const ALL: [StoreErrorKind; 12] = [
        StoreErrorKind::Unavailable,
        StoreErrorKind::OpenFiles,
        StoreErrorKind::Throttled,
        StoreErrorKind::HotKey,
        StoreErrorKind::Conflict,
        StoreErrorKind::Credentials,
        StoreErrorKind::Clock,
        StoreErrorKind::Permission,
        StoreErrorKind::MissingTable,
        StoreErrorKind::Misconfigured,
        StoreErrorKind::Refused,
        StoreErrorKind::ForeignRow,
    ];

    /// Returns its name in metrics, logs and traces.
    pub fn name(self) -> &'static str {
        match self {
            StoreErrorKind::Unavailable => "Unavailable",
            StoreErrorKind::OpenFiles => "OpenFiles",
            StoreErrorKind::Throttled => "Throttled",
            StoreErrorKind::HotKey => "HotKey",
            StoreErrorKind::Conflict => "Conflict",
            StoreErrorKind::Credentials => "Credentials",
            StoreErrorKind::Clock => "Clock",
            StoreErrorKind::Permission => "Permission",
            StoreErrorKind::MissingTable => "MissingTable",
            StoreErrorKind::Misconfigured => "Misconfigured",
            StoreErrorKind::Refused => "Refused",
            StoreErrorKind::ForeignRow => "ForeignRow",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_the_kinds_in_the_order_of_their_numbers() {
        assert!(StoreErrorKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }
}
