//! What subscriptions need from outside, with the contract of each call.

use std::future::Future;

use webhooks::{Changed, DisabledReason, EndpointId};

use super::subscription::Subscription;
use crate::consumer::ports::StoreError;

/// A page of subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub subscriptions: Vec<Subscription>,
    /// Continues after this one.
    pub next: Option<EndpointId>,
}

/// The table of subscriptions. Each change also increases its version, except those of `failing_since`.
pub trait Subscriptions: Send + Sync + 'static {
    /// Returns the version of the table. It is read consistently.
    fn version(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Returns some subscriptions, read consistently and in no order.
    fn page(&self, after: Option<&EndpointId>) -> impl Future<Output = Result<Page, StoreError>> + Send;

    fn get(&self, id: &EndpointId) -> impl Future<Output = Result<Option<Subscription>, StoreError>> + Send;

    /// Stores a subscription unless its id exists.
    fn create(&self, subscription: &Subscription) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Replaces a subscription whose revision is the one before. Keeps `failing_since`, unless it becomes active.
    fn replace(&self, subscription: &Subscription) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Removes a subscription if it exists.
    fn remove(&self, id: &EndpointId) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Stores since when it has been failing, unless a time is stored. Returns the stored one, or `None` if it is gone.
    fn mark_failing(&self, id: &EndpointId, since: u64)
    -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    fn clear_failing(&self, id: &EndpointId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Disables an active subscription, if it still has been failing since this time.
    fn disable(
        &self,
        id: &EndpointId,
        reason: DisabledReason,
        failing_since: Option<u64>,
        now: u64,
    ) -> impl Future<Output = Result<Changed, StoreError>> + Send;
}
