//! What subscriptions need from outside, with the contract of each call.

use std::future::Future;
use std::time::{Duration, SystemTime};

use webhooks::{Changed, DisabledReason, EndpointId};

use super::dead::{DeadDelivery, DeadPage, DeadPosition};
use super::directory::Counts;
use super::subscription::Subscription;
use crate::consumer::ports::StoreError;

/// The number of buckets of the table. Each subscription is in the one of its id.
pub const BUCKETS: usize = 64;

/// A version per bucket. It increases with each change of a subscription in the bucket.
pub type Versions = [u64; BUCKETS];

/// The subscriptions of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    pub subscriptions: Vec<Subscription>,
    /// The ids of items that this version cannot read, e.g. of a newer one. Nothing may be delivered by them.
    pub unreadable: Vec<String>,
}

/// A page of subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub subscriptions: Vec<Subscription>,
    /// As in [`Bucket`].
    pub unreadable: Vec<String>,
    /// Continues after this one.
    pub next: Option<EndpointId>,
}

/// The table of subscriptions. Each change also increases the version of its bucket, except those of `failing_since`.
pub trait Subscriptions: Send + Sync + 'static {
    /// Returns the versions, read consistently.
    fn versions(&self) -> impl Future<Output = Result<Versions, StoreError>> + Send;

    /// Returns all subscriptions of a bucket, read consistently. A change is in it if its version was read before.
    fn bucket(&self, bucket: usize) -> impl Future<Output = Result<Bucket, StoreError>> + Send;

    /// Returns some subscriptions in no order, of one owner or of all. A change may be missing for seconds.
    fn page(
        &self,
        owner: Option<&str>,
        after: Option<&EndpointId>,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Returns a subscription, read consistently. One that this version cannot read is an error.
    fn get(&self, id: &EndpointId) -> impl Future<Output = Result<Option<Subscription>, StoreError>> + Send;

    /// Stores a subscription unless its id exists.
    fn create(&self, subscription: &Subscription) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Replaces a subscription whose revision is the one before. Keeps `failing_since`, unless it becomes active or its URL
    /// changes.
    fn replace(&self, subscription: &Subscription) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Removes a subscription if it exists.
    fn remove(&self, id: &EndpointId) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Stores since when it has been failing, unless a time is stored. Returns the stored one, or `None` if it is gone.
    fn mark_failing(&self, id: &EndpointId, since: u64)
    -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    fn clear_failing(&self, id: &EndpointId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Disables an active subscription. With a time, only if it still has been failing since then.
    fn disable(
        &self,
        id: &EndpointId,
        reason: DisabledReason,
        failing_since: Option<u64>,
        now: u64,
    ) -> impl Future<Output = Result<Changed, StoreError>> + Send;
}

/// Is told what becomes of webhooks. The methods must not block.
pub trait Observer: webhooks::Observer {
    /// A first attempt succeeded, this long after the record of the change was read.
    fn received(&self, after: Duration);

    /// The subscriptions were read again. `is_active` tells whether deliveries to an endpoint are attempted.
    fn reloaded(&self, counts: Counts, is_active: &dyn Fn(&EndpointId) -> bool);

    /// The delivery that is due for the longest time, if any is known.
    fn oldest_due(&self, due: Option<SystemTime>);

    /// An entry of the log of deliveries was dropped, because the table is slow or away.
    fn log_dropped(&self);
}

/// Ignores everything.
impl Observer for () {
    fn received(&self, _: Duration) {}
    fn reloaded(&self, _: Counts, _: &dyn Fn(&EndpointId) -> bool) {}
    fn oldest_due(&self, _: Option<SystemTime>) {}
    fn log_dropped(&self) {}
}

/// The dead deliveries of the table of deliveries. No call retries, and each is safe to repeat.
pub trait DeadDeliveries: Send + Sync + 'static {
    /// Returns up to this many dead deliveries of an endpoint, in no order.
    fn dead(
        &self,
        endpoint: &EndpointId,
        from: Option<&DeadPosition>,
        limit: usize,
    ) -> impl Future<Output = Result<DeadPage, StoreError>> + Send;

    /// Makes a dead delivery wait again, due now and with no attempts. Refused if it is not dead any more.
    fn redrive(&self, dead: &DeadDelivery) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Deletes a dead delivery. Refused if it is not dead any more, or has died again.
    fn purge(&self, dead: &DeadDelivery) -> impl Future<Output = Result<Changed, StoreError>> + Send;
}
