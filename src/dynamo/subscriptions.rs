//! The table of subscriptions. Leaves retries to its callers, except those of transactions.

mod attributes;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{Delete, Put, ReturnConsumedCapacity, ReturnValue, TransactWriteItem, Update};
use dynamodb::values::{number, string, text, whole};
use dynamodb::{Item, applied, failed, incomplete, read_units, transact, within_timeout};
use webhooks::{Changed, DisabledReason, EndpointId};

use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::subscriptions::ports::{Bucket, Page, Subscriptions, Versions};
use crate::subscriptions::{Status, Subscription};
use attributes::{
    ACTIVE, BUCKET, BY_OWNER, DISABLED, FAILING_SINCE, ID, OWNER, REASON, REVISION, STATUS, UPDATED, VERSIONS,
    attributes, bucket, bucket_name, item, key, key_of_versions, subscription, version_name,
};

/// The table of subscriptions.
#[derive(Debug, Clone)]
pub struct SubscriptionTable {
    client: Client,
    table: String,
}

impl SubscriptionTable {
    pub fn new(client: Client, table: String) -> SubscriptionTable {
        SubscriptionTable { client, table }
    }

    async fn item(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity())?;
        Ok(answer.item)
    }

    /// Applies a change with one of the version of its bucket.
    async fn change(&self, id: &EndpointId, change: TransactWriteItem) -> Result<Changed, StoreError> {
        let version = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key_of_versions()))
            .update_expression("ADD #version :one")
            .expression_attribute_names("#version", version_name(bucket(id)))
            .expression_attribute_values(":one", number(1));
        let version = version.build().map_err(|error| incomplete(&error))?;
        let items = vec![change, TransactWriteItem::builder().update(version).build()];
        Box::pin(transact(&self.client, items)).await.map(Changed::of)
    }

    fn update(&self, id: &EndpointId) -> UpdateBuilder {
        Update::builder().table_name(&self.table).set_key(Some(key(id)))
    }

    /// Returns a page of the table, or of the index of an owner, after this key.
    async fn items(&self, owner: Option<&str>, after: Option<Item>) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let Some(owner) = owner else {
            let request = self
                .client
                .scan()
                .table_name(&self.table)
                .set_exclusive_start_key(after)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
            read_units(&answer, answer.consumed_capacity())?;
            return Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key));
        };
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(BY_OWNER)
            .key_condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", OWNER)
            .expression_attribute_values(":owner", text(owner))
            .set_exclusive_start_key(after)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity())?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }
}

impl Subscriptions for SubscriptionTable {
    async fn versions(&self) -> Result<Versions, StoreError> {
        let item = self.item(key_of_versions()).await?.unwrap_or_default();
        Ok(std::array::from_fn(|bucket| whole(&item, &version_name(bucket)).unwrap_or_default()))
    }

    async fn bucket(&self, bucket: usize) -> Result<Bucket, StoreError> {
        let mut found = Bucket::default();
        let mut after = None;
        loop {
            let request = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("#bucket = :bucket")
                .expression_attribute_names("#bucket", BUCKET)
                .expression_attribute_values(":bucket", text(bucket_name(bucket)))
                .consistent_read(true)
                .set_exclusive_start_key(after)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let answer = within_timeout(Box::pin(request.send())).await.map_err(|error| failed(&error))?;
            read_units(&answer, answer.consumed_capacity())?;
            sort(answer.items(), &mut found.subscriptions, &mut found.unreadable);
            match answer.last_evaluated_key {
                Some(key) => after = Some(key),
                None => return Ok(found),
            }
        }
    }

    async fn page(&self, owner: Option<&str>, after: Option<&EndpointId>) -> Result<Page, StoreError> {
        let mut page = Page::default();
        let mut from = after.map(|after| start(owner, after));
        loop {
            let (items, last) = self.items(owner, from).await?;
            sort(&items, &mut page.subscriptions, &mut page.unreadable);
            let Some(last) = last else { return Ok(page) };
            // A key that is not ours cannot be a position, so the page goes on.
            let id = string(&last, ID).and_then(|id| EndpointId::parse(id).ok());
            page.next = id.filter(|id| start(owner, id) == last);
            if page.next.is_some() {
                return Ok(page);
            }
            from = Some(last);
        }
    }

    async fn get(&self, id: &EndpointId) -> Result<Option<Subscription>, StoreError> {
        let Some(item) = self.item(key(id)).await? else { return Ok(None) };
        let unreadable = || StoreError {
            kind: StoreErrorKind::ForeignRow,
            detail: format!("this version cannot read the subscription {id}; update mini-scan, or remove it"),
        };
        subscription(&item).map(Some).ok_or_else(unreadable)
    }

    async fn create(&self, subscription: &Subscription) -> Result<Changed, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item(subscription)))
            .condition_expression("attribute_not_exists(#id)")
            .expression_attribute_names("#id", ID);
        let put = put.build().map_err(|error| incomplete(&error))?;
        self.change(&subscription.id, TransactWriteItem::builder().put(put).build()).await
    }

    async fn replace(&self, subscription: &Subscription) -> Result<Changed, StoreError> {
        let Some(before) = self.get(&subscription.id).await? else { return Ok(Changed::Refused) };
        if before.revision.checked_add(1) != Some(subscription.revision) {
            return Ok(Changed::Refused);
        }
        // Because of the revision, the update applies to what was read, except for `failing_since`: the engine may change it
        // at any time, so the update either leaves or removes it.
        let becomes_active = subscription.status == Status::Active && before.status != Status::Active;
        let starts_anew = becomes_active || subscription.url != before.url;
        let mut update = self.update(&subscription.id).condition_expression("#revision = :before");
        update = update.expression_attribute_values(":before", number(before.revision));
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        let failing_since = starts_anew.then_some((FAILING_SINCE, None));
        for (name, value) in attributes(subscription).into_iter().chain(failing_since) {
            update = update.expression_attribute_names(format!("#{name}"), name);
            match value {
                Some(value) => {
                    set.push(format!("#{name} = :{name}"));
                    update = update.expression_attribute_values(format!(":{name}"), value);
                }
                None => remove.push(format!("#{name}")),
            }
        }
        let remove = if remove.is_empty() { String::new() } else { format!(" REMOVE {}", remove.join(", ")) };
        let update = update.update_expression(format!("SET {}{remove}", set.join(", ")));
        let update = update.build().map_err(|error| incomplete(&error))?;
        self.change(&subscription.id, TransactWriteItem::builder().update(update).build()).await
    }

    async fn remove(&self, id: &EndpointId) -> Result<Changed, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .condition_expression("attribute_exists(#id)")
            .expression_attribute_names("#id", ID);
        let delete = delete.build().map_err(|error| incomplete(&error))?;
        self.change(id, TransactWriteItem::builder().delete(delete).build()).await
    }

    async fn mark_failing(&self, id: &EndpointId, since: u64) -> Result<Option<u64>, StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .condition_expression("attribute_exists(#id)")
            .update_expression("SET #failing_since = if_not_exists(#failing_since, :since)")
            .expression_attribute_names("#id", ID)
            .expression_attribute_names("#failing_since", FAILING_SINCE)
            .expression_attribute_values(":since", number(since))
            .return_values(ReturnValue::AllNew);
        let result = within_timeout(Box::pin(request.send())).await;
        let stored = result.as_ref().ok().and_then(|answer| whole(answer.attributes()?, FAILING_SINCE));
        Ok(applied(result)?.then(|| stored.unwrap_or(since)))
    }

    async fn clear_failing(&self, id: &EndpointId) -> Result<(), StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            // Without a condition, it would create an item.
            .condition_expression("attribute_exists(#failing_since)")
            .update_expression("REMOVE #failing_since")
            .expression_attribute_names("#failing_since", FAILING_SINCE);
        applied(within_timeout(Box::pin(request.send())).await).map(Changed::of).map(|_| ())
    }

    async fn disable(
        &self,
        id: &EndpointId,
        reason: DisabledReason,
        failing_since: Option<u64>,
        now: u64,
    ) -> Result<Changed, StoreError> {
        let mut update = self
            .update(id)
            .update_expression("SET #status = :disabled, #reason = :reason, #updated = :now ADD #revision :one")
            .expression_attribute_names("#status", STATUS)
            .expression_attribute_names("#reason", REASON)
            .expression_attribute_names("#updated", UPDATED)
            .expression_attribute_names("#revision", REVISION)
            .expression_attribute_values(":active", text(ACTIVE))
            .expression_attribute_values(":disabled", text(DISABLED))
            .expression_attribute_values(":reason", text(reason.as_str()))
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":one", number(1));
        let mut condition = "#status = :active".to_owned();
        if let Some(since) = failing_since {
            condition.push_str(" AND #failing_since = :since");
            update = update.expression_attribute_names("#failing_since", FAILING_SINCE);
            update = update.expression_attribute_values(":since", number(since));
        }
        let update = update.condition_expression(condition).build().map_err(|error| incomplete(&error))?;
        self.change(id, TransactWriteItem::builder().update(update).build()).await
    }
}

/// Returns the key after which a page continues.
fn start(owner: Option<&str>, after: &EndpointId) -> Item {
    let mut start = key(after);
    start.extend(owner.map(|owner| (OWNER.to_owned(), text(owner))));
    start
}

/// Sorts items into subscriptions and the ids of those that this version cannot read.
fn sort(items: &[Item], subscriptions: &mut Vec<Subscription>, unreadable: &mut Vec<String>) {
    for item in items.iter().filter(|item| string(item, BUCKET) != Some(VERSIONS)) {
        match subscription(item) {
            Some(subscription) => subscriptions.push(subscription),
            None => unreadable.push(string(item, ID).unwrap_or_default().to_owned()),
        }
    }
}
