//! The table of records for readers: queries of its indexes, reads by key, and the writes of single records. Leaves retries
//! to `hosts`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
};
use dynamodb::values::text;
use dynamodb::{CallError, Item, failed, not_from_dynamodb, read_units};

use super::item::{KEY, TIMESTAMP, record};
use super::scans::Scans;
use crate::changes::backfill::Found;
use crate::consumer::ports::{Attempt, Store, StoreError, StoreErrorKind};
use crate::hosts::{Batch, Deletion, Error, ErrorKind, Index, Keys, Read, Record, Records};
use crate::scan::{Key, Rejection, Scan};

/// The table of records with its indexes.
#[derive(Debug, Clone)]
pub struct HostTable {
    client: Client,
    table: String,
    scans: Scans,
}

impl HostTable {
    /// `ttl` is that of the consumer that writes to the same table.
    pub fn new(client: Client, table: String, ttl: Option<Duration>) -> HostTable {
        HostTable { scans: Scans::new(client.clone(), table.clone(), ttl), client, table }
    }

    fn query(&self, index: Index, limit: usize) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .index_name(index.name())
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }
}

impl HostTable {
    /// Returns what the row of a key is now.
    pub async fn get_consistent(&self, key: &Key) -> Result<Read<Found>, StoreError> {
        let Read { value, units } = self.get_item(key, true).await?;
        let value = match value {
            None => Found::Absent,
            Some(item) => record(item).map_or(Found::Unreadable, Found::Record),
        };
        Ok(Read { value, units })
    }

    /// Returns which of these keys have a row, also one that is no record, and which ones DynamoDB did not process.
    pub async fn rows(&self, keys: &[Key]) -> Result<Read<(Vec<Key>, Vec<Key>)>, Error> {
        let Read { value: (items, unprocessed), units } = self.get_items(keys).await?;
        Ok(Read { value: (items.iter().filter_map(key).collect(), unprocessed), units })
    }

    async fn get_item(&self, key: &Key, consistent: bool) -> Result<Read<Option<Item>>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(KEY, text(key.as_str()))
            .consistent_read(consistent)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = request.send().await.map_err(|error| failed(&error))?;
        let units = read_units(&answer, answer.consumed_capacity())?;
        Ok(Read { value: answer.item, units })
    }

    /// Returns the items of at most [`crate::hosts::MAX_BATCH`] keys, and the keys that DynamoDB did not process.
    async fn get_items(&self, keys: &[Key]) -> Result<Read<(Vec<Item>, Vec<Key>)>, Error> {
        let keys = keys.iter().map(|key| position(key, &[])).collect();
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .build()
            .map_err(|error| Error { kind: ErrorKind::Refused, detail: error.to_string() })?;
        let request = self
            .client
            .batch_get_item()
            .request_items(&self.table, keys)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = request.send().await.map_err(|error| Error::from(failed(&error)))?;
        let units = read_units(&answer, answer.consumed_capacity().first())?;
        let items = answer.responses.into_iter().flatten().flat_map(|(_, items)| items).collect();
        let unprocessed = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys);
        Ok(Read { value: (items, unprocessed.filter_map(|item| key(&item)).collect()), units })
    }
}

impl Records for HostTable {
    async fn by_ip(
        &self,
        ip: IpAddr,
        port: Option<u16>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Read<Keys>, Error> {
        let query = self.query(Index::ByIp, limit).expression_attribute_values(":ip", text(ip.to_string()));
        let query = match port {
            None => query.key_condition_expression("ip = :ip"),
            Some(port) => query
                .key_condition_expression("ip = :ip AND port = :port")
                .expression_attribute_values(":port", AttributeValue::N(port.to_string())),
        };
        keys(query, Index::ByIp, after.map(|key| position(key, &["ip", "port"]))).await
    }

    async fn by_service(
        &self,
        port: u16,
        service: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Read<Keys>, Error> {
        let query = self
            .query(Index::ByService, limit)
            .key_condition_expression("port = :port AND service = :service")
            .expression_attribute_values(":port", AttributeValue::N(port.to_string()))
            .expression_attribute_values(":service", text(service));
        keys(query, Index::ByService, after.map(|key| position(key, &["port", "service", "ip"]))).await
    }

    async fn get(&self, keys: &[Key]) -> Result<Read<Batch>, Error> {
        let Read { value: (items, unprocessed), units } = self.get_items(keys).await?;
        Ok(Read { value: Batch { records: items.into_iter().filter_map(record).collect(), unprocessed }, units })
    }

    async fn get_one(&self, key: &Key) -> Result<Read<Option<Record>>, Error> {
        let Read { value, units } = self.get_item(key, false).await?;
        Ok(Read { value: value.and_then(record), units })
    }

    fn measure(&self, scan: &Scan) -> Result<(), Rejection> {
        self.scans.measure(scan).map(|_| ())
    }

    async fn put(&self, scan: &Scan) -> Attempt {
        self.scans.put(scan).await
    }

    async fn delete(&self, key: &Key, timestamp: u64) -> Result<Deletion, Error> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key(KEY, text(key.as_str()))
            .condition_expression("#ts = :ts")
            .expression_attribute_names("#ts", TIMESTAMP)
            .expression_attribute_values(":ts", AttributeValue::N(timestamp.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(answer) if answer.request_id().is_some() => Ok(Deletion::Deleted),
            Ok(_) => Err(not_from_dynamodb().into()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(failed)) if failed.item().is_some() => {
                    Ok(Deletion::Changed)
                }
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(Deletion::Missing),
                _ => Err(failed(&error).into()),
            },
        }
    }
}

/// Returns the keys of a page. Rows of the table that are no records are left out, so pages without a record are skipped:
/// no key could continue after them.
async fn keys(query: QueryFluentBuilder, index: Index, after: Option<Item>) -> Result<Read<Keys>, Error> {
    let (mut after, mut consumed) = (after, 0.0);
    loop {
        let request = query.clone().set_exclusive_start_key(after);
        let answer = request.send().await.map_err(|error| of_query(&error, index))?;
        consumed += read_units(&answer, answer.consumed_capacity())?;
        let found: Vec<Key> = answer.items().iter().filter_map(key).collect();
        after = answer.last_evaluated_key;
        if !found.is_empty() || after.is_none() {
            return Ok(Read { value: Keys { keys: found, has_more: after.is_some() }, units: consumed });
        }
    }
}

/// Returns the attributes that continue after this key: its own, and those of the index.
fn position(key: &Key, of_index: &[&str]) -> Item {
    let attribute = |name: &&str| {
        let value = match *name {
            "ip" => text(key.ip()),
            "port" => AttributeValue::N(key.port().to_owned()),
            _ => text(key.service()),
        };
        ((*name).to_owned(), value)
    };
    let own = (KEY.to_owned(), text(key.as_str()));
    [own].into_iter().chain(of_index.iter().map(attribute)).collect::<HashMap<_, _>>()
}

fn key(item: &Item) -> Option<Key> {
    Key::parse(item.get(KEY)?.as_s().ok()?)
}

/// DynamoDB reports a missing index as an invalid request.
fn of_query<E: CallError>(error: &SdkError<E>, index: Index) -> Error {
    let StoreError { kind, detail } = failed(error);
    let message = error.message().unwrap_or_default();
    match kind {
        StoreErrorKind::Refused if message.contains("does not have the specified index") => {
            Error { kind: ErrorKind::MissingIndex(index), detail }
        }
        StoreErrorKind::Refused if message.contains("backfilling") => {
            Error { kind: ErrorKind::UnfinishedIndex(index), detail }
        }
        _ => StoreError { kind, detail }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::{Hosts, Query};

    /// Fails to compile if a server could not run these on any of its threads.
    #[expect(dead_code, reason = "it only has to compile")]
    fn can_be_sent(hosts: &Hosts<HostTable>, of: &Query, key: &Key) -> impl Send {
        (hosts.records(of, Some(key), 1), hosts.keys(of, None, 1), hosts.forget(key, 1), hosts.record(key))
    }

    #[test]
    fn a_position_has_the_key_and_the_attributes_of_the_index() {
        let key = Key::new("1.1.1.7".parse().unwrap(), 80, "HTTP");
        let mut names: Vec<_> = position(&key, &["ip", "port"]).into_keys().collect();
        names.sort();
        assert_eq!(names, ["ip", "pk", "port"]);
    }
}
