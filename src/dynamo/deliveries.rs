//! The table of deliveries: those that wait for an attempt, dead ones, and a log of the others. Leaves retries to the
//! engine.

mod dead;
mod items;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use delivery_table::{WaitingDeliveries, to_engine};
use dynamodb::{answered, failed, within_timeout};
use webhooks::{
    Changed, Clock, DeadReason, DeliveryStore, DueDelivery, EndpointId, StoreError as EngineError, StoredDelivery,
    Token, WebhookId,
};

use super::Client;
use crate::consumer::ports::StoreError;
use crate::scan::to_unix_seconds;
use crate::subscriptions::dead::DeadDelivery;
pub use dead::{FoundDelivery, Replayed};
use items::dead_item;

/// A delivery that still waits then is of a paused endpoint: the schedule of attempts ends after three days.
const WAITING_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long items are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveriesKept {
    pub dead: Duration,
    /// Entries of the log of successful deliveries.
    pub delivered: Duration,
}

/// A delivery that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub endpoint: EndpointId,
    pub id: WebhookId,
    pub at: SystemTime,
    /// Counts the successful one.
    pub attempts: u32,
    pub took: Duration,
}

/// The table of deliveries. Clones share what this instance knows of it.
#[derive(Debug, Clone)]
pub struct DeliveryTable {
    waiting: WaitingDeliveries,
    kept: DeliveriesKept,
}

impl DeliveryTable {
    pub fn new(client: Client, table: String, kept: DeliveriesKept, clock: Arc<dyn Clock>) -> DeliveryTable {
        DeliveryTable { waiting: WaitingDeliveries::new(client, table, Some(WAITING_KEPT), clock), kept }
    }

    /// Returns the due time of the longest due delivery that this instance knows of, among the endpoints that count.
    pub fn oldest_due(&self, counts: impl Fn(&EndpointId) -> bool) -> Option<SystemTime> {
        self.waiting.oldest_due(counts)
    }

    async fn bury(&self, item: &StoredDelivery, reason: DeadReason) -> Result<(), StoreError> {
        // Nobody owns the deliveries of an endpoint that was removed.
        if reason != DeadReason::Missing {
            let dead = DeadDelivery { item: item.clone(), reason, died: self.waiting.now() };
            let expires_at = to_unix_seconds(dead.died).saturating_add(self.kept.dead.as_secs());
            let put = self.waiting.client().put_item().table_name(self.waiting.table());
            let request = put.set_item(Some(dead_item(&dead, expires_at)));
            let _permit = self.waiting.permit().await;
            let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
            answered(&answer)?;
        }
        self.waiting.delete(item).await.map(|_| ())
    }
}

impl DeliveryStore for DeliveryTable {
    async fn insert(&self, item: &StoredDelivery) -> Result<(), EngineError> {
        Box::pin(self.waiting.insert(item)).await.map_err(to_engine)
    }

    async fn endpoints_with_backlog(&self) -> Result<Vec<EndpointId>, EngineError> {
        Box::pin(self.waiting.endpoints_with_backlog()).await.map_err(to_engine)
    }

    async fn due(&self, endpoint: &EndpointId, now: SystemTime, limit: usize) -> Result<Vec<DueDelivery>, EngineError> {
        Box::pin(self.waiting.due(endpoint, now, limit)).await.map_err(to_engine)
    }

    async fn claim(
        &self,
        endpoint: &EndpointId,
        due: &DueDelivery,
        token: Token,
        until: SystemTime,
    ) -> Result<Option<StoredDelivery>, EngineError> {
        Box::pin(self.waiting.claim(endpoint, due, token, until)).await.map_err(to_engine)
    }

    async fn reschedule(&self, item: &StoredDelivery) -> Result<Changed, EngineError> {
        Box::pin(self.waiting.reschedule(item)).await.map_err(to_engine)
    }

    async fn delete(&self, item: &StoredDelivery) -> Result<Changed, EngineError> {
        Box::pin(self.waiting.delete(item)).await.map_err(to_engine)
    }

    async fn store_dead(&self, item: &StoredDelivery, reason: DeadReason) -> Result<(), EngineError> {
        Box::pin(self.bury(item, reason)).await.map_err(to_engine)
    }
}
