//! A table of scans: attempts to write, their answers and their errors.

use std::future::Future;
use std::sync::Arc;

pub use dynamodb::{StoreError, StoreErrorKind};

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
