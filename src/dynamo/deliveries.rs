//! The table of deliveries: those that wait for an attempt, dead ones, and a log of the others. Leaves retries to the
//! engine.

mod attributes;
mod dead;
mod due;
mod markers;

use dynamodb::values::{number, text};
use dynamodb::{answered, applied, failed, within_timeout};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValue};
use ops::RateLimitedLog;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::error;
use webhooks::{
    Changed, Clock, DeadReason, DeliveryStore, DueDelivery, EndpointId, StoreError as EngineError, StoredDelivery,
    Token, WebhookId,
};

use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::scan::to_unix_seconds;
use crate::subscriptions::dead::DeadDelivery;
use attributes::{DUE, ID, QUEUE, Queue, TOKEN, dead_item, last_attempt, millis, waiting, waiting_item};
pub use dead::{FoundDelivery, Replayed};
use due::Rests;
use markers::Markers;

/// A delivery that still waits then is of a paused endpoint: the schedule of attempts ends after three days.
const WAITING_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_WRITES: usize = 256;

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
#[derive(Clone)]
pub struct DeliveryTable {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    table: String,
    kept: DeliveriesKept,
    clock: Arc<dyn Clock>,
    markers: Markers,
    rests: Rests,
    writes: Semaphore,
    unreadable: RateLimitedLog,
}

impl fmt::Debug for DeliveryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryTable").field("table", &self.shared.table).finish_non_exhaustive()
    }
}

impl DeliveryTable {
    pub fn new(client: Client, table: String, kept: DeliveriesKept, clock: Arc<dyn Clock>) -> DeliveryTable {
        let shared = Shared {
            client,
            table,
            kept,
            clock,
            markers: Markers::default(),
            rests: Rests::default(),
            writes: Semaphore::new(MAX_WRITES),
            unreadable: RateLimitedLog::default(),
        };
        DeliveryTable { shared: Arc::new(shared) }
    }

    fn client(&self) -> &Client {
        &self.shared.client
    }

    fn table(&self) -> &str {
        &self.shared.table
    }

    fn now(&self) -> SystemTime {
        self.shared.clock.now()
    }

    /// Begins a query of a queue.
    fn query(&self, queue: impl Into<String>) -> QueryFluentBuilder {
        let query = self.client().query().table_name(self.table()).key_condition_expression("#queue = :queue");
        query
            .expression_attribute_names("#queue", QUEUE)
            .expression_attribute_values(":queue", text(queue))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    /// Returns the time at which a delivery that is stored now expires.
    fn waits_until(&self) -> u64 {
        to_unix_seconds(self.now()).saturating_add(WAITING_KEPT.as_secs())
    }

    /// Waits until a write may start. Without a limit, an outage of all endpoints would open thousands of connections.
    async fn permit(&self) -> SemaphorePermit<'_> {
        self.shared.writes.acquire().await.expect("the semaphore is never closed")
    }

    async fn store_waiting(&self, item: &StoredDelivery) -> Result<(), StoreError> {
        let endpoint = &item.delivery.endpoint;
        self.mark(endpoint).await?;
        let request = self
            .client()
            .put_item()
            .table_name(self.table())
            .set_item(Some(waiting_item(item, self.waits_until())))
            .condition_expression("attribute_not_exists(#id)")
            .expression_attribute_names("#id", ID);
        let result = {
            let _permit = self.permit().await;
            applied(within_timeout(Box::pin(request.send())).await).map(Changed::of)
        };
        if result.as_ref().is_err_and(|error| error.kind == StoreErrorKind::MissingTable) {
            // A new table has no marker.
            self.shared.markers.forget(endpoint);
        }
        result?;
        self.mark(endpoint).await?;
        self.shared.rests.stored(endpoint, item.due, self.now());
        Ok(())
    }

    async fn claim_due(
        &self,
        endpoint: &EndpointId,
        due: &DueDelivery,
        token: Token,
        until: SystemTime,
    ) -> Result<Option<StoredDelivery>, StoreError> {
        let request = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(Queue::Waiting.key(endpoint, &due.id)))
            // The index may be late: another attempt may have moved the due time since, which keeps the token.
            .condition_expression("#token = :token AND #due <= :now")
            .update_expression("SET #token = :next, #due = :until")
            .expression_attribute_names("#token", TOKEN)
            .expression_attribute_names("#due", DUE)
            .expression_attribute_values(":token", number(due.token.0))
            .expression_attribute_values(":next", number(token.0))
            .expression_attribute_values(":now", number(millis(self.now())))
            .expression_attribute_values(":until", number(millis(until)))
            .return_values(ReturnValue::AllNew);
        let _permit = self.permit().await;
        let result = within_timeout(Box::pin(request.send())).await;
        let item = result.as_ref().ok().and_then(|answer| answer.attributes.clone());
        if !applied(result)? {
            return Ok(None);
        }
        let claimed = item.as_ref().and_then(waiting);
        if claimed.is_none()
            && let Some(suppressed) = self.shared.unreadable.due()
        {
            let table = self.table();
            error!(table, %endpoint, id = %due.id, suppressed, "this version cannot read a delivery, so it waits");
        }
        Ok(claimed)
    }

    async fn move_due(&self, item: &StoredDelivery) -> Result<Changed, StoreError> {
        let mut request = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(Queue::Waiting.key(&item.delivery.endpoint, &item.delivery.id)))
            .condition_expression("#token = :token")
            .expression_attribute_names("#token", TOKEN)
            .expression_attribute_names("#due", DUE)
            .expression_attribute_values(":token", number(item.token.0))
            .expression_attribute_values(":due", number(millis(item.due)))
            .expression_attribute_values(":attempts", number(item.attempts.into()));
        let (mut set, mut remove) = (vec!["#due = :due".to_owned(), "attempts = :attempts".to_owned()], Vec::new());
        for (name, value) in last_attempt(item.last.as_ref()) {
            match value {
                Some(value) => {
                    set.push(format!("{name} = :{name}"));
                    request = request.expression_attribute_values(format!(":{name}"), value);
                }
                None => remove.push(name),
            }
        }
        let remove = if remove.is_empty() { String::new() } else { format!(" REMOVE {}", remove.join(", ")) };
        let request = request.update_expression(format!("SET {}{remove}", set.join(", ")));
        let result = {
            let _permit = self.permit().await;
            applied(within_timeout(Box::pin(request.send())).await).map(Changed::of)?
        };
        self.shared.rests.stored(&item.delivery.endpoint, item.due, self.now());
        Ok(result)
    }

    /// Deletes a delivery that waits, if its token is unchanged.
    async fn delete_waiting(&self, item: &StoredDelivery) -> Result<Changed, StoreError> {
        let request = self
            .client()
            .delete_item()
            .table_name(self.table())
            .set_key(Some(Queue::Waiting.key(&item.delivery.endpoint, &item.delivery.id)))
            .condition_expression("#token = :token")
            .expression_attribute_names("#token", TOKEN)
            .expression_attribute_values(":token", number(item.token.0));
        let _permit = self.permit().await;
        applied(within_timeout(Box::pin(request.send())).await).map(Changed::of)
    }

    async fn bury(&self, item: &StoredDelivery, reason: DeadReason) -> Result<(), StoreError> {
        // Nobody owns the deliveries of an endpoint that was removed.
        if reason != DeadReason::Missing {
            let dead = DeadDelivery { item: item.clone(), reason, died: self.now() };
            let expires_at = to_unix_seconds(dead.died).saturating_add(self.shared.kept.dead.as_secs());
            let request =
                self.client().put_item().table_name(self.table()).set_item(Some(dead_item(&dead, expires_at)));
            let _permit = self.permit().await;
            let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
            answered(&answer)?;
        }
        self.delete_waiting(item).await.map(|_| ())
    }
}

fn to_engine(error: StoreError) -> EngineError {
    EngineError(Box::new(error))
}

impl DeliveryStore for DeliveryTable {
    async fn insert(&self, item: &StoredDelivery) -> Result<(), EngineError> {
        Box::pin(self.store_waiting(item)).await.map_err(to_engine)
    }

    async fn endpoints_with_backlog(&self) -> Result<Vec<EndpointId>, EngineError> {
        Box::pin(self.marked()).await.map_err(to_engine)
    }

    async fn due(&self, endpoint: &EndpointId, now: SystemTime, limit: usize) -> Result<Vec<DueDelivery>, EngineError> {
        Box::pin(self.find_due(endpoint, now, limit)).await.map_err(to_engine)
    }

    async fn claim(
        &self,
        endpoint: &EndpointId,
        due: &DueDelivery,
        token: Token,
        until: SystemTime,
    ) -> Result<Option<StoredDelivery>, EngineError> {
        Box::pin(self.claim_due(endpoint, due, token, until)).await.map_err(to_engine)
    }

    async fn reschedule(&self, item: &StoredDelivery) -> Result<Changed, EngineError> {
        Box::pin(self.move_due(item)).await.map_err(to_engine)
    }

    async fn delete(&self, item: &StoredDelivery) -> Result<Changed, EngineError> {
        Box::pin(self.delete_waiting(item)).await.map_err(to_engine)
    }

    async fn store_dead(&self, item: &StoredDelivery, reason: DeadReason) -> Result<(), EngineError> {
        Box::pin(self.bury(item, reason)).await.map_err(to_engine)
    }
}
