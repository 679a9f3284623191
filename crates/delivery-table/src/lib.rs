//! The deliveries of webhooks that wait for an attempt, in a DynamoDB table. A program implements
//! [`webhooks::DeliveryStore`] with [`WaitingDeliveries`] and decides where dead deliveries go. Leaves retries to the engine.

mod due;
mod items;
mod markers;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{KeyType, ReturnConsumedCapacity, ReturnValue, ScalarAttributeType};
use dynamodb::values::{number, text};
use dynamodb::{
    Client, IndexSpec, Permission, StoreError, StoreErrorKind, TableSpec, answered, applied, failed, hash, range,
    within_timeout,
};
use ops::RateLimitedLog;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::error;
use webhooks::{Changed, Clock, Delivery, DueDelivery, EndpointId, StoredDelivery, Token};

use due::Rests;
pub use items::{
    BUCKETS, FORMAT, ID, QUEUE, Queue, TOKEN, VERSION, delivery, delivery_item, millis, time, waiting, waiting_item,
};
use items::{DUE, last_attempt};
use markers::Markers;

/// The table.
pub static SPEC: TableSpec =
    TableSpec { keys: &[hash(QUEUE), range(ID)], index: Some(&BY_DUE), expires: true, stream: None };
/// Only items of deliveries that wait are in the index.
static BY_DUE: IndexSpec = IndexSpec {
    name: "by-due",
    keys: &[hash(QUEUE), (DUE, KeyType::Range, ScalarAttributeType::N)],
    includes: Some(&[TOKEN]),
};
/// What an instance that delivers needs on the table.
pub const PERMISSIONS: &[Permission] =
    &[Permission::Put, Permission::Update, Permission::Delete, Permission::Query, Permission::QueryIndex];

const MAX_WRITES: usize = 256;

/// The deliveries that wait. Clones share what this instance knows of them.
#[derive(Clone)]
pub struct WaitingDeliveries {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    table: String,
    kept: Option<Duration>,
    clock: Arc<dyn Clock>,
    markers: Markers,
    rests: Rests,
    writes: Semaphore,
    unreadable: RateLimitedLog,
}

impl fmt::Debug for WaitingDeliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingDeliveries").field("table", &self.shared.table).finish_non_exhaustive()
    }
}

impl WaitingDeliveries {
    /// A delivery expires when it has been waiting for as long as `kept`, or never.
    pub fn new(client: Client, table: String, kept: Option<Duration>, clock: Arc<dyn Clock>) -> WaitingDeliveries {
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
        WaitingDeliveries { shared: Arc::new(shared) }
    }

    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    pub fn table(&self) -> &str {
        &self.shared.table
    }

    pub fn now(&self) -> SystemTime {
        self.shared.clock.now()
    }

    /// Begins a query of the items with a partition key.
    pub fn query(&self, queue: impl Into<String>) -> QueryFluentBuilder {
        let query = self.client().query().table_name(self.table()).key_condition_expression("#queue = :queue");
        query
            .expression_attribute_names("#queue", QUEUE)
            .expression_attribute_values(":queue", text(queue))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    /// Returns when a delivery that is stored now expires, in Unix seconds.
    pub fn expires_at(&self) -> Option<u64> {
        Some(unix_seconds(self.now()).saturating_add(self.shared.kept?.as_secs()))
    }

    /// Waits until a write may start. Without a limit, an outage of all endpoints would open thousands of connections.
    pub async fn permit(&self) -> SemaphorePermit<'_> {
        self.shared.writes.acquire().await.expect("the semaphore is never closed")
    }

    /// Runs a write that makes a delivery wait. Before and after it, the endpoint gets a marker, so that all instances find
    /// the delivery.
    pub async fn with_marker<T>(
        &self,
        item: &StoredDelivery,
        write: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let endpoint = &item.delivery.endpoint;
        self.mark(endpoint).await?;
        let result = {
            let _permit = self.permit().await;
            write.await
        };
        if result.as_ref().is_err_and(|error| error.kind == StoreErrorKind::MissingTable) {
            // A new table has no marker.
            self.shared.markers.forget(endpoint);
        }
        let written = result?;
        self.mark(endpoint).await?;
        self.shared.rests.stored(endpoint, item.due, self.now());
        Ok(written)
    }

    /// Stores a delivery, unless it waits already.
    pub async fn insert(&self, item: &StoredDelivery) -> Result<(), StoreError> {
        let request = self
            .client()
            .put_item()
            .table_name(self.table())
            .set_item(Some(waiting_item(item, self.expires_at())))
            .condition_expression("attribute_not_exists(#id)")
            .expression_attribute_names("#id", ID);
        let write = async { applied(within_timeout(Box::pin(request.send())).await) };
        self.with_marker(item, write).await.map(|_| ())
    }

    /// Makes a delivery wait, due now, whether or not it waits already. Returns whether it did. An instance that has claimed it
    /// loses its claim, so the delivery stays.
    pub async fn put_due(&self, delivery: Delivery) -> Result<bool, StoreError> {
        let item = self.new_due(delivery);
        let request = self
            .client()
            .put_item()
            .table_name(self.table())
            .set_item(Some(waiting_item(&item, self.expires_at())))
            .return_values(ReturnValue::AllOld);
        let write = async {
            let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
            answered(&answer)?;
            Ok(answer.attributes.is_some())
        };
        self.with_marker(&item, write).await
    }

    /// Returns the item of a delivery without an attempt that is due now.
    pub fn new_due(&self, delivery: Delivery) -> StoredDelivery {
        let now = self.now();
        self.due_now(StoredDelivery { delivery, created: now, attempts: 0, due: now, token: Token(0), last: None })
    }

    /// Returns a delivery that is due now, with a new token.
    pub fn due_now(&self, item: StoredDelivery) -> StoredDelivery {
        StoredDelivery { due: self.now(), token: Token(rand::random()), ..item }
    }

    /// Claims a delivery until a time, if its token is that of `due`, and if it is due.
    pub async fn claim(
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
            .set_key(Some(Queue::WAITING.key(endpoint, &due.id)))
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

    /// Stores the attempts, the due time and the last attempt of a delivery, if its token is unchanged.
    pub async fn reschedule(&self, item: &StoredDelivery) -> Result<Changed, StoreError> {
        let mut request = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(Queue::WAITING.key(&item.delivery.endpoint, &item.delivery.id)))
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
            applied(within_timeout(Box::pin(request.send())).await)?
        };
        self.shared.rests.stored(&item.delivery.endpoint, item.due, self.now());
        Ok(Changed::of(result))
    }

    /// Deletes a delivery, if its token is unchanged.
    pub async fn delete(&self, item: &StoredDelivery) -> Result<Changed, StoreError> {
        let request = self
            .client()
            .delete_item()
            .table_name(self.table())
            .set_key(Some(Queue::WAITING.key(&item.delivery.endpoint, &item.delivery.id)))
            .condition_expression("#token = :token")
            .expression_attribute_names("#token", TOKEN)
            .expression_attribute_values(":token", number(item.token.0));
        let _permit = self.permit().await;
        applied(within_timeout(Box::pin(request.send())).await).map(Changed::of)
    }
}

/// Returns the error of a store in the engine's terms.
pub fn to_engine(error: StoreError) -> webhooks::StoreError {
    webhooks::StoreError(Box::new(error))
}

/// Returns a time in whole Unix seconds. Times before 1970 are 0.
fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
