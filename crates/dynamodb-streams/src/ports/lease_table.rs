//! The lease table. All changes of a row that has an owner are conditional.

use std::fmt;

use super::BoxError;
use crate::lease::{Checkpoint, Lease, Owner};
use crate::shard::ShardId;

/// A table of leases. Each method makes one request. The reader retries, so an implementation should not retry for long: a
/// write that is applied after its caller gave up is harmless, but a slow answer may cost the lease.
pub trait LeaseTable: Send + Sync + 'static {
    /// Returns the next page of the rows of which the key starts with `prefix`. Rows that are not valid are left out.
    fn scan(
        &self,
        prefix: &str,
        after: Option<&ScanPosition>,
    ) -> impl Future<Output = Result<LeasePage, LeaseError>> + Send;

    /// Creates a row if there is none with its key. Otherwise the answer is [`Updated::Refused`] with that row.
    fn create(&self, lease: &Lease) -> impl Future<Output = Result<Updated, LeaseError>> + Send;

    /// Changes a row if it is as expected. The answer contains the row after the change, or the row that is not as
    /// expected. Other attributes stay.
    fn update(
        &self,
        key: &str,
        expected: &Expected,
        update: &LeaseUpdate,
    ) -> impl Future<Output = Result<Updated, LeaseError>> + Send;

    /// Deletes a row if it is as expected.
    fn delete(&self, key: &str, expected: &Expected) -> impl Future<Output = Result<Updated, LeaseError>> + Send;
}

/// Where the next page of a scan starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPosition(pub String);

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeasePage {
    pub leases: Vec<Lease>,
    /// None after the last page.
    pub next: Option<ScanPosition>,
}

/// The condition of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The owner of the row; None if the row has none.
    pub owner: Option<Owner>,
    /// None only for a request to the owner, which is no change of the lease.
    pub counter: Option<u64>,
}

/// The attributes that a change sets. None leaves an attribute as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseUpdate {
    /// `Some(None)` removes the owner.
    pub owner: Option<Option<Owner>>,
    pub counter: Option<u64>,
    pub owner_switches: Option<u64>,
    pub checkpoint: Option<Checkpoint>,
    pub children: Option<Vec<ShardId>>,
    /// `Some(None)` removes the request.
    pub handover_to: Option<Option<Owner>>,
}

/// The answer to a change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    Applied(Lease),
    /// The condition was false. Contains the row, or None if there is no row.
    Refused(Option<Lease>),
}

/// What an error of the lease table means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseErrorKind {
    Throttled,
    /// The credentials do not permit the request.
    Denied,
    /// The table does not exist.
    Missing,
    /// A row was not written by this crate or by KCL.
    InvalidRow,
    /// Everything else, such as network errors.
    Unavailable,
}

/// A request without an answer. It is unknown whether the table applied it.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {source}")]
pub struct LeaseError {
    pub kind: LeaseErrorKind,
    pub source: BoxError,
}

impl LeaseError {
    pub fn new(kind: LeaseErrorKind, source: impl Into<BoxError>) -> LeaseError {
        LeaseError { kind, source: source.into() }
    }
}

impl fmt::Display for LeaseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeaseErrorKind::Throttled => "the lease table throttles the request",
            LeaseErrorKind::Denied => "the lease table denies access",
            LeaseErrorKind::Missing => "the lease table does not exist",
            LeaseErrorKind::InvalidRow => "a row of the lease table is not valid",
            LeaseErrorKind::Unavailable => "the lease table did not answer",
        })
    }
}
