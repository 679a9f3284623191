//! What commands do with deliveries: list, redrive and purge dead ones, replay, and look one up.

use aws_sdk_dynamodb::types::{Delete, Put, ReturnConsumedCapacity, TransactWriteItem};
use delivery_table::{BUCKETS, ID, QUEUE, Queue, TOKEN, waiting, waiting_item};
use dynamodb::values::{number, string, text};
use dynamodb::{Item, answered, applied, failed, incomplete, read_units, transact, within_timeout};
use tokio::try_join;
use webhooks::{Changed, Delivery, EndpointId, StoredDelivery, WebhookId};

use super::items::{DEAD, DELIVERED, dead, delivered, delivered_item};
use super::{Delivered, DeliveryTable};
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::scan::to_unix_seconds;
use crate::subscriptions::dead::{DeadDelivery, DeadPage, DeadPosition};
use crate::subscriptions::ports::DeadDeliveries;

/// What the table knows of one delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundDelivery {
    pub waiting: Option<StoredDelivery>,
    pub dead: Option<DeadDelivery>,
    /// Only if successful deliveries are logged.
    pub delivered: Option<Delivered>,
}

/// What a replay did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    Stored,
    /// The delivery was waiting already. Now it is due.
    WasWaiting,
}

impl DeliveryTable {
    async fn list_dead(
        &self,
        endpoint: &EndpointId,
        from: Option<&DeadPosition>,
        limit: usize,
    ) -> Result<DeadPage, StoreError> {
        let mut page = DeadPage { deliveries: Vec::new(), unreadable: 0, next: None };
        let mut position = from.cloned().unwrap_or(DeadPosition { bucket: 0, after: None });
        while position.bucket < BUCKETS {
            let room = limit.saturating_sub(page.deliveries.len());
            if room == 0 {
                page.next = Some(position);
                return Ok(page);
            }
            let (items, last) = self.dead_of(endpoint, &position, room).await?;
            let found = items.len();
            page.deliveries.extend(items.iter().filter_map(dead));
            page.unreadable += found - (page.deliveries.len() - (limit - room));
            position = match last {
                Some(after) => DeadPosition { after: Some(after), ..position },
                None => DeadPosition { bucket: position.bucket + 1, after: None },
            };
        }
        Ok(page)
    }

    async fn dead_of(
        &self,
        endpoint: &EndpointId,
        position: &DeadPosition,
        limit: usize,
    ) -> Result<(Vec<Item>, Option<String>), StoreError> {
        let queue = DEAD.of(endpoint, position.bucket);
        let after = position.after.as_ref();
        let after = after.map(|after| Item::from([(QUEUE.to_owned(), text(&queue)), (ID.to_owned(), text(after))]));
        let request = self
            .waiting
            .query(&queue)
            .set_exclusive_start_key(after)
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity())?;
        let last = answer.last_evaluated_key().and_then(|key| string(key, ID)).map(str::to_owned);
        Ok((answer.items.unwrap_or_default(), last))
    }

    /// Looks for a delivery, read consistently.
    pub async fn find(&self, endpoint: &EndpointId, id: &WebhookId) -> Result<FoundDelivery, StoreError> {
        let get = |queue: Queue| Box::pin(self.get(queue.key(endpoint, id)));
        let (waits, died, succeeded) = try_join!(get(Queue::WAITING), get(DEAD), get(DELIVERED))?;
        Ok(FoundDelivery {
            waiting: read(waits, waiting)?,
            dead: read(died, dead)?,
            delivered: read(succeeded, delivered)?,
        })
    }

    async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let request = self
            .waiting
            .client()
            .get_item()
            .table_name(self.waiting.table())
            .set_key(Some(key))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity())?;
        Ok(answer.item)
    }

    async fn redrive_dead(&self, dead: &DeadDelivery) -> Result<Changed, StoreError> {
        let delivery = &dead.item.delivery;
        let item = self.waiting.due_now(StoredDelivery { attempts: 0, ..dead.item.clone() });
        // The delivery may still wait, because the engine removes it after it has stored the dead one. With a new token it
        // stays.
        let put = Put::builder()
            .table_name(self.waiting.table())
            .set_item(Some(waiting_item(&item, self.waiting.expires_at())));
        let delete = Delete::builder()
            .table_name(self.waiting.table())
            .set_key(Some(DEAD.key(&delivery.endpoint, &delivery.id)))
            .condition_expression("#token = :token")
            .expression_attribute_names("#token", TOKEN)
            .expression_attribute_values(":token", number(dead.item.token.0));
        let items = vec![
            TransactWriteItem::builder().put(put.build().map_err(|error| incomplete(&error))?).build(),
            TransactWriteItem::builder().delete(delete.build().map_err(|error| incomplete(&error))?).build(),
        ];
        self.waiting.with_marker(&item, transact(self.waiting.client(), items)).await.map(Changed::of)
    }

    async fn purge_dead(&self, dead: &DeadDelivery) -> Result<Changed, StoreError> {
        let delivery = &dead.item.delivery;
        let request = self
            .waiting
            .client()
            .delete_item()
            .table_name(self.waiting.table())
            .set_key(Some(DEAD.key(&delivery.endpoint, &delivery.id)))
            .condition_expression("#token = :token")
            .expression_attribute_names("#token", TOKEN)
            .expression_attribute_values(":token", number(dead.item.token.0));
        let _permit = self.waiting.permit().await;
        applied(within_timeout(Box::pin(request.send())).await).map(Changed::of)
    }

    /// Makes a delivery wait, due now, whether or not it waits already.
    pub async fn replay(&self, delivery: Delivery) -> Result<Replayed, StoreError> {
        let was_waiting = self.waiting.put_due(delivery).await?;
        Ok(if was_waiting { Replayed::WasWaiting } else { Replayed::Stored })
    }

    /// Logs a delivery that succeeded.
    pub async fn log_delivered(&self, entry: &Delivered) -> Result<(), StoreError> {
        let expires_at = to_unix_seconds(self.waiting.now()).saturating_add(self.kept.delivered.as_secs());
        let request = self
            .waiting
            .client()
            .put_item()
            .table_name(self.waiting.table())
            .set_item(Some(delivered_item(entry, expires_at)));
        let _permit = self.waiting.permit().await;
        let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
        answered(&answer)
    }
}

impl DeadDeliveries for DeliveryTable {
    async fn dead(
        &self,
        endpoint: &EndpointId,
        from: Option<&DeadPosition>,
        limit: usize,
    ) -> Result<DeadPage, StoreError> {
        Box::pin(self.list_dead(endpoint, from, limit)).await
    }

    async fn redrive(&self, dead: &DeadDelivery) -> Result<Changed, StoreError> {
        Box::pin(self.redrive_dead(dead)).await
    }

    async fn purge(&self, dead: &DeadDelivery) -> Result<Changed, StoreError> {
        Box::pin(self.purge_dead(dead)).await
    }
}

/// Reads an item, if there is one.
fn read<T>(item: Option<Item>, read: impl FnOnce(&Item) -> Option<T>) -> Result<Option<T>, StoreError> {
    let Some(item) = item else { return Ok(None) };
    let unreadable = || StoreError {
        kind: StoreErrorKind::ForeignRow,
        detail: "the table has an item with this key that this version cannot read; update mini-scan, or delete it"
            .to_owned(),
    };
    read(&item).map(Some).ok_or_else(unreadable)
}
