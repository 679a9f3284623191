//! What a backfill reads and writes of the history: pages of open summaries, new summaries, corrections and gaps.

use std::time::Duration;

use aws_sdk_dynamodb::operation::RequestId;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, Put, ReturnConsumedCapacity, TransactWriteItem, Update,
};
use dynamodb::{Item, answered, cancelled, failed, incomplete, read_units};
use tokio::time::timeout;

use super::attributes::{
    CLOSED, ENTRY, FORMAT, IP, OPEN, VERSION, bytes, entry_item, key_of_summary, number, string, summary, text,
};
use super::{GAPS, HistoryTable};
use crate::changes::{Correction, Event, Hashes, SUMMARY, Summary};
use crate::consumer::ports::{StoreError, StoreErrorKind};

const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The key of an item of the history: address and sort key.
pub type HistoryKey = (String, String);

/// A page of the history table.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage<T> {
    /// The items that were asked for.
    pub items: Vec<T>,
    /// The items that DynamoDB has read, of any kind.
    pub scanned: u64,
    pub read_units: f64,
    /// The key after which the segment continues. `None` at its end.
    pub last: Option<HistoryKey>,
}

impl HistoryTable {
    /// Reads the open summaries of a page of a segment after this key, of at most `limit` items.
    pub async fn open_summaries(
        &self,
        (segment, segments): (u32, u32),
        after: Option<&HistoryKey>,
        limit: Option<i32>,
    ) -> Result<HistoryPage<Summary>, StoreError> {
        let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let request = self
            .client
            .scan()
            .table_name(&self.table)
            .segment(whole(segment))
            .total_segments(whole(segments))
            .set_limit(limit)
            .set_exclusive_start_key(after.map(key))
            .filter_expression("begins_with(#entry, :summary) AND #state = :open")
            .expression_attribute_names("#entry", ENTRY)
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":summary", text(SUMMARY))
            .expression_attribute_values(":open", text(OPEN))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = timeout(PAGE_TIMEOUT, Box::pin(request.send())).await.map_err(|_| no_answer())?;
        let answer = answer.map_err(|error| failed(&error))?;
        let (scanned, last) = (answer.scanned_count(), answer.last_evaluated_key());
        page(&answer, answer.consumed_capacity(), answer.items(), summary, (scanned, last))
    }

    /// Puts a summary unless the service has one. Returns whether it did.
    pub async fn create_summary(&self, summary: &Summary) -> Result<bool, StoreError> {
        let mut item = Item::from(key_of_summary(&summary.service));
        item.insert(VERSION.to_owned(), number(FORMAT));
        item.insert("state".to_owned(), text(if summary.is_open { OPEN } else { CLOSED }));
        item.insert("changes".to_owned(), number(summary.changes));
        item.extend(summary.seen_by.map(|time| ("seen_by".to_owned(), number(time))));
        if let (Some(hashes), Some(masks)) = (&summary.hashes, &summary.masks) {
            item.extend(of_hashes(hashes, masks).map(|(name, value)| (name.to_owned(), value)));
        }
        Ok(self.put_if_absent(item).await?.is_none())
    }

    /// Corrects a summary and puts the entry of the repair, both or neither. Returns whether the summary was as it was read.
    pub async fn correct(&self, correction: &Correction) -> Result<bool, StoreError> {
        let mut items = vec![TransactWriteItem::builder().update(self.correction(correction)?).build()];
        if let Some((_, entry)) = &correction.repair {
            // Without a condition: an earlier repair of the same change put the same entry.
            let put = Put::builder().table_name(&self.table).set_item(Some(entry_item(entry))).build();
            items.push(TransactWriteItem::builder().put(put.map_err(|error| incomplete(&error))?).build());
        }
        let request = self.client.transact_write_items().set_transact_items(Some(items));
        match Box::pin(request.send()).await {
            Ok(answer) => answered(&answer).map(|()| true),
            Err(error) => cancelled(&error).map(|_| false),
        }
    }

    /// Returns the conditional update of the summary.
    fn correction(&self, correction: &Correction) -> Result<Update, StoreError> {
        let Correction { before, hashes, repair } = correction;
        let (mut set, mut remove, mut is_as_read) = (Vec::new(), "", Vec::new());
        if let Some((hashes, masks)) = hashes {
            set.extend(of_hashes(hashes, masks));
        }
        if let Some((repair, _)) = repair {
            let (state, at) = match repair.event {
                Event::Opened => (OPEN, "opened_at"),
                Event::Changed => (OPEN, "changed_at"),
                Event::Closed => (CLOSED, "closed_at"),
            };
            set.extend([("state", text(state)), (at, number(repair.time))]);
            set.extend([("repaired_event", text(repair.event.name())), ("repaired_time", number(repair.time))]);
            set.push(("repaired_at", number(repair.at)));
            match &repair.response {
                Some(hash) => set.push(("repaired_hash", bytes(hash))),
                // An earlier repair may have one.
                None => remove = " REMOVE repaired_hash",
            }
            set.extend(repair.after.as_ref().map(|after| ("repaired_after", text(after.as_str()))));
        }
        let last = before.last.as_ref();
        is_as_read.push(("state", Some(text(if before.is_open { OPEN } else { CLOSED }))));
        is_as_read.push(("stream", last.map(|last| text(&last.stream))));
        is_as_read.push(("last_sequence", last.map(|last| text(last.sequence.as_str()))));
        is_as_read.push(("repaired_time", before.repaired.as_ref().map(|repaired| number(repaired.time))));
        let mut update =
            Update::builder().table_name(&self.table).set_key(Some(key_of_summary(&before.service).into()));
        let (mut conditions, mut assignments) = (Vec::new(), Vec::new());
        for (name, value) in is_as_read {
            conditions.push(match &value {
                Some(_) => format!("#{name} = :old_{name}"),
                None => format!("attribute_not_exists(#{name})"),
            });
            update = update.expression_attribute_names(format!("#{name}"), name);
            if let Some(value) = value {
                update = update.expression_attribute_values(format!(":old_{name}"), value);
            }
        }
        for (name, value) in set {
            assignments.push(format!("#{name} = :{name}"));
            update = update.expression_attribute_names(format!("#{name}"), name);
            update = update.expression_attribute_values(format!(":{name}"), value);
        }
        let update = update.condition_expression(conditions.join(" AND "));
        update
            .update_expression(format!("SET {}{remove}", assignments.join(", ")))
            .build()
            .map_err(|error| incomplete(&error))
    }

    /// Marks the open gaps that were noticed before this time. Returns their number.
    pub async fn repair_gaps(&self, noticed_before: u64, now: u64) -> Result<u64, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#ip = :gaps AND #entry < :before")
            .filter_expression("attribute_not_exists(repaired_at)")
            .expression_attribute_names("#ip", IP)
            .expression_attribute_names("#entry", ENTRY)
            .expression_attribute_values(":gaps", text(GAPS))
            .expression_attribute_values(":before", text(format!("{noticed_before:020}#")))
            .into_paginator()
            .items()
            .send();
        let mut count = 0;
        while let Some(gap) = pages.next().await {
            let mut gap = gap.map_err(|error| failed(&error))?;
            gap.retain(|name, _| [IP, ENTRY].contains(&name.as_str()));
            let request = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(gap))
                .update_expression("SET repaired_at = :now")
                .expression_attribute_values(":now", number(now));
            let answer = Box::pin(request.send()).await.map_err(|error| failed(&error))?;
            answered(&answer)?;
            count += 1;
        }
        Ok(count)
    }
}

fn of_hashes(hashes: &Hashes, masks: &str) -> [(&'static str, AttributeValue); 5] {
    [
        ("hash_raw", bytes(&hashes.raw)),
        ("hash_bytes", bytes(&hashes.bytes)),
        ("hash_text", bytes(&hashes.text)),
        ("data_version", number(hashes.data_version)),
        ("masks", text(masks)),
    ]
}

pub(super) fn key((ip, entry): &HistoryKey) -> Item {
    Item::from([(IP.to_owned(), text(ip)), (ENTRY.to_owned(), text(entry))])
}

/// Returns the page of an answer. `read` returns `None` for items that were not asked for.
pub(super) fn page<T>(
    answer: &impl RequestId,
    consumed: Option<&ConsumedCapacity>,
    items: &[Item],
    read: impl Fn(&Item) -> Option<T>,
    (scanned, last): (i32, Option<&Item>),
) -> Result<HistoryPage<T>, StoreError> {
    let read_units = read_units(answer, consumed)?;
    let key = |item: &Item| Some((string(item, IP)?.to_owned(), string(item, ENTRY)?.to_owned()));
    // Without its key, the rest of the segment would be left out.
    let last = last.map(|item| key(item).ok_or_else(unknown_key)).transpose()?;
    let scanned = u64::try_from(scanned).unwrap_or_default();
    Ok(HistoryPage { items: items.iter().filter_map(read).collect(), scanned, read_units, last })
}

pub(super) fn no_answer() -> StoreError {
    let detail = format!("no answer within {} s", PAGE_TIMEOUT.as_secs());
    StoreError { kind: StoreErrorKind::Unavailable, detail }
}

fn unknown_key() -> StoreError {
    StoreError { kind: StoreErrorKind::Refused, detail: "the key of the table is not the one of a history".to_owned() }
}
