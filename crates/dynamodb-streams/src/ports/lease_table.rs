//! The lease table. All changes of a row that has an owner are conditional.

use super::BoxError;
use crate::lease::{Checkpoint, Lease, Owner};
use crate::shard::ShardId;

/// A table of leases. Each method makes one request. The reader retries, so an implementation should not retry for long: a
/// write that is applied after its caller gave up is harmless, but a slow answer may cost the lease.
pub trait LeaseTable: Send + Sync + 'static {
    /// Returns all rows of which the key starts with `prefix`, without a snapshot of all rows at one time.
    fn scan(&self, prefix: &str) -> impl Future<Output = Result<Vec<Lease>, LeaseError>> + Send;

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    Applied(Lease),
    /// The condition was false. Contains the row, or None if there is no row.
    Refused(Option<Lease>),
}

/// A request without an answer. It is unknown whether the table applied it.
#[derive(Debug, thiserror::Error)]
#[error("the lease table did not answer: {0}")]
pub struct LeaseError(#[source] pub BoxError);
