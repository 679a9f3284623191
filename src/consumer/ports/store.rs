//! A table of scans: one attempt to write, and how it can fail.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::scan::{Rejection, Scan};

/// DynamoDB's bound on the statements of one call.
pub const MAX_STATEMENTS: usize = 25;

/// The table.
pub trait Store {
    /// The bytes of the record that the scan would be, as the store bills them. Refuses, before any call, a scan that
    /// the store could never hold.
    fn measure(&self, scan: &Scan) -> Result<usize, Rejection>;

    /// One attempt to make the record hold this scan or a newer one. `Ok` proves that it does.
    fn put(&self, scan: &Scan) -> impl Future<Output = Result<Put, StoreError>>;

    /// One call with these statements, at most [`MAX_STATEMENTS`] and of as many keys: an answer for each,
    /// in their order. An error is the call's as a whole; any of them may have been written all the same.
    fn batch(&self, statements: &[Statement]) -> impl Future<Output = Result<Vec<Answer>, StoreError>>;
}

/// One attempt among others in a call.
#[derive(Debug, Clone)]
pub struct Statement {
    pub scan: Arc<Scan>,
    pub verb: Verb,
}

/// What a statement does; no one statement makes a record whether or not there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Replaces a record that is older.
    Update,
    /// Makes a record where there is none.
    Insert,
}

/// What the store made of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As for [`Store::put`], and as good a proof.
    Put(Put),
    /// Nothing was written: there is no record to update, or there is one where one was to be made.
    OtherVerb,
    Failed(StoreError),
}

/// What the store made of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The record is ours now.
    Stored,
    /// The record was already as new.
    Stale(Stored),
}

/// The record that made a write stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// At or above that of the scan.
    pub timestamp: u64,
    /// It is the very record that the scan would have made: a duplicate, or an earlier attempt whose answer was lost.
    pub is_same: bool,
    /// Its size, as the store bills it.
    pub bytes: usize,
}

/// Why the store did not answer for a scan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    pub kind: StoreErrorKind,
    pub detail: String,
}

impl StoreError {
    /// An attempt that was not answered within this time.
    pub(crate) fn no_answer(within: Duration) -> StoreError {
        StoreError { kind: StoreErrorKind::Unavailable, detail: format!("no answer within {} s", within.as_secs()) }
    }
}

/// What kind of failure it was; [`crate::consumer::policy::policy`] says what follows from each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No answer: a timeout, a connection that failed, or a fault of the service. It may have been written.
    Unavailable,
    /// This process has no file descriptor left for one more connection.
    OpenFiles,
    /// Too many writes for the table or the account.
    Throttled,
    /// Too many writes for this key alone.
    HotKey,
    /// Another write of this record is under way.
    Conflict,
    /// Credentials are missing, expired or unknown to the service.
    Credentials,
    /// This machine's clock and the service's differ too much.
    Clock,
    /// The identity may not write to the table, or not use the key that encrypts it.
    Permission,
    /// There is no such table.
    MissingTable,
    /// Whatever else a person must mend: a wrong endpoint, an answer that is not known here.
    Misconfigured,
    /// The item was refused. Its own fault or the table's: one answer does not tell.
    Refused,
    /// The record under this key is not one of ours and would swallow every scan of it.
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

    /// As it is called where it is counted and logged.
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
    fn every_kind_of_failure_is_counted_in_a_place_of_its_own() {
        assert!(StoreErrorKind::ALL.iter().enumerate().all(|(place, kind)| *kind as usize == place));
    }
}
