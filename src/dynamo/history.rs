//! The table of the history: summaries, entries, dead letters and gaps. Leaves retries to its callers.

mod attributes;
mod dead;
mod repairs;
mod replays;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure, Select,
};
use dynamodb::{Item, answered, failed, not_from_dynamodb, read_units};
use futures_util::future::BoxFuture;

use super::images::json_of_images;
use crate::changes::ports::{DeadLetter, Gap, History, Update, Updated};
use crate::changes::{Entries, Entry, EntryKey, EntryQuery, Event, Past, Summaries, Summary, entry_times, summarized};
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::hosts::{Error, ErrorKind, Read};
use crate::scan::Key;
use attributes::{
    CLOSED, ENTRY, FORMAT, IP, OPEN, VERSION, WITHOUT_BODIES, bytes, entry, entry_item, key_of_entry, key_of_summary,
    number, summary, text,
};

/// Only a later change of the service updates its summary.
const LATER: &str = "attribute_not_exists(#stream) OR #stream < :stream \
                     OR (#stream = :stream AND #last_sequence < :last_sequence)";

/// The partition keys of items that belong to no address.
const DEAD: &str = "dead";
const GAPS: &str = "gaps";
const META: &str = "meta";
/// Two images of the largest size do not fit one item.
const CHUNK_BYTES: usize = 300 << 10;

pub use dead::{DeadLetterPage, StoredDeadLetter};
pub use repairs::{HistoryKey, HistoryPage};

/// The table of the history.
#[derive(Debug, Clone)]
pub struct HistoryTable {
    client: Client,
    table: String,
}

impl HistoryTable {
    pub fn new(client: Client, table: String) -> HistoryTable {
        HistoryTable { client, table }
    }

    /// Returns the summaries of at most 100 services, in any order.
    pub async fn summaries(&self, services: &[Key], consistent: bool) -> Result<Read<Summaries>, Error> {
        let keys = services.iter().map(|service| Item::from(key_of_summary(service))).collect();
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(consistent).build();
        let keys = keys.map_err(|error| Error { kind: ErrorKind::Refused, detail: error.to_string() })?;
        let request = self.client.batch_get_item().request_items(&self.table, keys);
        let answer = request.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await;
        let answer = answer.map_err(|error| Error::from(failed(&error)))?;
        let units = read_units(&answer, answer.consumed_capacity().first())?;
        let items = answer.responses.into_iter().flatten().flat_map(|(_, items)| items);
        let unprocessed = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys);
        let service = |item: Item| summarized(item.get(IP)?.as_s().ok()?, item.get(ENTRY)?.as_s().ok()?);
        let value = Summaries {
            summaries: items.filter_map(|item| summary(&item)).collect(),
            unprocessed: unprocessed.filter_map(service).collect(),
        };
        Ok(Read { value, units })
    }

    /// Returns a page of the entries of an address.
    pub async fn entries(&self, query: &EntryQuery<'_>) -> Result<Read<Entries>, Error> {
        let Some((first, last)) = entry_times(query.start, query.end) else {
            return Ok(Read { value: Entries::default(), units: 0.0 });
        };
        let mut request = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#ip = :ip AND #entry BETWEEN :first AND :last")
            .expression_attribute_names("#ip", IP)
            .expression_attribute_names("#entry", ENTRY)
            .expression_attribute_values(":ip", text(query.ip.to_canonical().to_string()))
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(last))
            .scan_index_forward(!query.newest_first)
            .limit(i32::try_from(query.limit).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        if let Some(after) = query.after {
            request = request
                .exclusive_start_key(IP, text(query.ip.to_canonical().to_string()))
                .exclusive_start_key(ENTRY, text(after));
        }
        if !query.with_bodies {
            let names = WITHOUT_BODIES.map(|name| format!("#{name}"));
            request = request.projection_expression(names.join(", "));
            for (alias, name) in names.into_iter().zip(WITHOUT_BODIES) {
                request = request.expression_attribute_names(alias, name);
            }
        }
        let answer = request.send().await.map_err(|error| Error::from(failed(&error)))?;
        let units = read_units(&answer, answer.consumed_capacity())?;
        let next = answer.last_evaluated_key().and_then(|key| key.get(ENTRY)?.as_s().ok().cloned());
        let entries = answer.items().iter().filter_map(entry).collect();
        Ok(Read { value: Entries { entries, next }, units })
    }
}

impl History for HistoryTable {
    async fn update(&self, update: &Update) -> Result<Updated, StoreError> {
        let (expression, values) = expression(update);
        let mut request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_of_summary(&update.service).into()))
            .condition_expression(LATER)
            .update_expression(expression)
            .expression_attribute_names("#changes", "changes")
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for (name, value) in values {
            request = request.expression_attribute_names(format!("#{name}"), name);
            request = match value {
                Some(value) => request.expression_attribute_values(format!(":{name}"), value),
                None => request,
            };
        }
        match Box::pin(request.send()).await {
            Ok(answer) => of_summary(answer.attributes.as_ref()).map(Updated::Applied),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    of_summary(failed.item()).map(Updated::Refused)
                }
                _ => Err(failed(&error)),
            },
        }
    }

    async fn lower_first_seen(&self, service: &Key, time: u64) -> Result<(), StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_of_summary(service).into()))
            .condition_expression("#first_seen > :time")
            .update_expression("SET #first_seen = :time")
            .expression_attribute_names("#first_seen", "first_seen")
            .expression_attribute_values(":time", number(time));
        match Box::pin(request.send()).await {
            Ok(answer) => answered(&answer),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(failed(&error)),
            },
        }
    }

    async fn put(&self, entry: &Entry) -> Result<(), StoreError> {
        self.put_if_absent(entry_item(entry)).await.map(|_| ())
    }

    async fn delete(&self, key: &EntryKey) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.table).set_key(Some(key_of_entry(key).into()));
        match Box::pin(request.send()).await {
            Ok(answer) => answered(&answer),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn put_dead(&self, letter: &DeadLetter<'_>) -> Result<(), StoreError> {
        let json = json_of_images(letter.images);
        let chunks = chunks(&json);
        let chunk = |number: usize| {
            let mut item = Item::from(key_of_dead(letter.shard, &letter.sequence.to_string(), number as u64));
            item.insert("images".to_owned(), text(chunks[number]));
            item
        };
        for number in (1..chunks.len()).rev() {
            self.put_if_absent(chunk(number)).await?;
        }
        // Its first chunk comes last, so that one with a reason is complete.
        let mut item = chunk(0);
        item.insert("chunks".to_owned(), number(chunks.len() as u64));
        item.insert("reason".to_owned(), text(letter.reason.chars().take(1000).collect::<String>()));
        item.insert("stream".to_owned(), text(letter.stream));
        item.insert("attempts".to_owned(), number(letter.attempts.into()));
        item.extend(letter.images.service.as_ref().map(|key| ("pk".to_owned(), text(key.as_str()))));
        item.extend(letter.images.created.map(|created| ("created".to_owned(), number(created))));
        self.put_if_absent(item).await.map(|_| ())
    }

    async fn put_gap(&self, gap: &Gap) -> Result<(), StoreError> {
        let mut item = Item::from([
            (IP.to_owned(), text(GAPS)),
            (ENTRY.to_owned(), text(format!("{:020}#{}#{}", gap.noticed, gap.shard, gap.after))),
            ("stream".to_owned(), text(&gap.stream)),
            ("after".to_owned(), text(&gap.after)),
            ("cause".to_owned(), text(gap.cause)),
        ]);
        item.extend(gap.last_created.map(|created| ("last_created".to_owned(), number(created))));
        self.put_if_absent(item).await.map(|_| ())
    }
}

impl Past for HistoryTable {
    fn summaries<'a>(&'a self, services: &'a [Key]) -> BoxFuture<'a, Result<Read<Summaries>, Error>> {
        Box::pin(HistoryTable::summaries(self, services, false))
    }

    fn entries<'a>(&'a self, query: &'a EntryQuery<'a>) -> BoxFuture<'a, Result<Read<Entries>, Error>> {
        Box::pin(HistoryTable::entries(self, query))
    }
}

impl HistoryTable {
    /// Makes this the history of a table of scans. Returns the name of the table of which it is the history.
    pub async fn claim(&self, scans: &str) -> Result<String, StoreError> {
        let meta = self.meta(scans).await?;
        let name = meta.get("table").and_then(|name| name.as_s().ok());
        name.cloned().ok_or_else(not_from_dynamodb)
    }

    /// Returns the label of the last stream that was read.
    pub async fn last_stream(&self, scans: &str) -> Result<Option<String>, StoreError> {
        let meta = self.meta(scans).await?;
        Ok(meta.get("stream").and_then(|label| label.as_s().ok()).cloned())
    }

    /// Keeps the label of the stream that is read from now on.
    pub async fn set_last_stream(&self, scans: &str, label: &str) -> Result<(), StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(IP, text(META))
            .key(ENTRY, text("table"))
            .update_expression("SET #stream = :stream, #table = if_not_exists(#table, :table)")
            .expression_attribute_names("#stream", "stream")
            .expression_attribute_names("#table", "table")
            .expression_attribute_values(":stream", text(label))
            .expression_attribute_values(":table", text(scans));
        match Box::pin(request.send()).await {
            Ok(answer) => answered(&answer),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Returns the item of the table's owner. Puts it if it is missing.
    async fn meta(&self, scans: &str) -> Result<Item, StoreError> {
        let meta = [(IP, META), (ENTRY, "table"), ("table", scans)];
        let item = Item::from(meta.map(|(name, value)| (name.to_owned(), text(value))));
        Ok(self.put_if_absent(item.clone()).await?.unwrap_or(item))
    }

    /// Returns the number of gaps that are not repaired.
    pub async fn open_gaps(&self) -> Result<u64, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#ip = :gaps")
            .filter_expression("attribute_not_exists(repaired_at)")
            .expression_attribute_names("#ip", IP)
            .expression_attribute_values(":gaps", text(GAPS))
            .select(Select::Count)
            .into_paginator()
            .send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed(&error))?;
            answered(&page)?;
            count += u64::try_from(page.count()).unwrap_or_default();
        }
        Ok(count)
    }

    /// Puts an item, and returns the one that exists with its key.
    async fn put_if_absent(&self, item: Item) -> Result<Option<Item>, StoreError> {
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#ip)")
            .expression_attribute_names("#ip", IP)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match Box::pin(request.send()).await {
            Ok(answer) => answered(&answer).map(|()| None),
            Err(error) => existing(&error).map(Some),
        }
    }
}

/// Returns the update expression of a summary, and the names in it with their values.
fn expression(update: &Update) -> (String, Vec<(&'static str, Option<AttributeValue>)>) {
    let (state, at, seen) = match update.event {
        Event::Opened => (OPEN, "opened_at", "first_seen"),
        Event::Changed => (OPEN, "changed_at", "seen_by"),
        Event::Closed => (CLOSED, "closed_at", "seen_by"),
    };
    let mut set = vec![
        (VERSION, number(FORMAT)),
        ("state", text(state)),
        ("stream", text(&update.position.stream)),
        ("last_sequence", text(update.position.sequence.as_str())),
        ("last_time", number(update.time)),
        ("last_created", number(update.created)),
        (at, number(update.time)),
    ];
    if let Some((hashes, masks)) = &update.hashes {
        set.push(("hash_raw", bytes(&hashes.raw)));
        set.push(("hash_bytes", bytes(&hashes.bytes)));
        set.push(("hash_text", bytes(&hashes.text)));
        set.push(("data_version", number(hashes.data_version)));
        set.push(("masks", text(masks)));
    }
    let assignments: Vec<_> = set.iter().map(|(name, _)| format!("#{name} = :{name}")).collect();
    // The right-hand sides read the item as it was before.
    let expression = format!(
        "SET #previous_time = if_not_exists(#last_time, :last_time), #{seen} = if_not_exists(#{seen}, :{seen}), {} \
         ADD #changes :one",
        assignments.join(", ")
    );
    let mut values: Vec<_> = set.into_iter().map(|(name, value)| (name, Some(value))).collect();
    values.push((seen, Some(number(update.seen_at))));
    values.push(("previous_time", None));
    (expression, values)
}

fn of_summary(item: Option<&Item>) -> Result<Summary, StoreError> {
    let item = item.ok_or_else(not_from_dynamodb)?;
    summary(item).ok_or_else(|| StoreError {
        kind: StoreErrorKind::ForeignRow,
        detail: "the history table has a row with the key of a summary that is none; fix or delete the row".to_owned(),
    })
}

/// Cuts a text into at least one part.
fn key_of_dead(shard: &str, sequence: &str, chunk: u64) -> [(String, AttributeValue); 2] {
    [(IP.to_owned(), text(DEAD)), (ENTRY.to_owned(), text(format!("{shard}#{sequence}#{chunk:03}")))]
}

fn chunks(mut text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    while text.len() > CHUNK_BYTES {
        let (chunk, rest) = text.split_at(text.floor_char_boundary(CHUNK_BYTES));
        chunks.push(chunk);
        text = rest;
    }
    chunks.push(text);
    chunks
}

fn existing(error: &SdkError<PutItemError>) -> Result<Item, StoreError> {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => Ok(failed.item().cloned().unwrap_or_default()),
        _ => Err(failed(error)),
    }
}
