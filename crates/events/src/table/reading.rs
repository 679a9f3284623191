//! Reads the events of a client over all its buckets, those of all clients, and erases single ones. Leaves retries to its
//! callers.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use dynamodb::values::{number, string, text, whole};
use dynamodb::{Client, Item, StoreError, applied, failed, read_units, within_timeout};

use super::item::{CLIENT_ID, DATA, EVENT_KEY, EVENT_TYPE, OTHERS, STORED_AT, TRACE, client, partition};
use crate::moment::Moment;

/// How many items a request asks for.
const PAGE: i32 = 100;

/// An event as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The client with its bucket.
    pub partition: String,
    /// `event_time#event_id`.
    pub key: String,
    pub event_type: String,
    /// The JSON text of `data`.
    pub data: String,
    /// The JSON text of an object with the other members, if there are any.
    pub others: Option<String>,
    /// When it was stored, in Unix milliseconds.
    pub stored_at: Option<u64>,
    /// A W3C `traceparent`.
    pub trace: Option<String>,
}

impl Row {
    pub fn client_id(&self) -> &str {
        client(&self.partition)
    }

    /// Returns `None` for an item that is no event of this program.
    fn parse(item: &Item) -> Option<Row> {
        Some(Row {
            partition: string(item, CLIENT_ID)?.to_owned(),
            key: string(item, EVENT_KEY)?.to_owned(),
            event_type: string(item, EVENT_TYPE)?.to_owned(),
            data: string(item, DATA)?.to_owned(),
            others: string(item, OTHERS).map(str::to_owned),
            stored_at: whole(item, STORED_AT),
            trace: string(item, TRACE).map(str::to_owned),
        })
    }
}

/// Times of events: the first one belongs to it, and the last one does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    pub since: Option<Moment>,
    pub until: Option<Moment>,
}

impl Range {
    /// Returns the limits of the sort key. A time sorts before each key that begins with it.
    fn limits(self) -> (String, String) {
        let since = self.since.map_or_else(|| "0".to_owned(), |time| time.to_string());
        // The character after the digits.
        let until = self.until.map_or_else(|| ":".to_owned(), |time| time.to_string());
        (since, until)
    }

    /// Whether no event can be in it. DynamoDB refuses a query of such a range.
    pub fn is_empty(self) -> bool {
        let (since, until) = self.limits();
        since >= until
    }
}

/// The table of events for readers.
#[derive(Debug, Clone)]
pub struct EventReader {
    client: Client,
    table: String,
}

impl EventReader {
    pub fn new(client: Client, table: String) -> EventReader {
        EventReader { client, table }
    }

    /// Returns events of a partition in the order of their times, and where the next page begins.
    async fn page(
        &self,
        partition: &str,
        range: Range,
        after: Option<&Item>,
    ) -> Result<(Vec<Row>, Option<Item>), StoreError> {
        let (since, until) = range.limits();
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .limit(PAGE)
            .consistent_read(true)
            .key_condition_expression("#client = :client AND #key BETWEEN :since AND :until")
            .expression_attribute_names("#client", CLIENT_ID)
            .expression_attribute_names("#key", EVENT_KEY)
            .expression_attribute_values(":client", text(partition))
            .expression_attribute_values(":since", text(since))
            .expression_attribute_values(":until", text(until))
            .set_exclusive_start_key(after.cloned())
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = within_timeout(request.send()).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity.as_ref())?;
        let rows = answer.items().iter().filter_map(Row::parse).collect();
        Ok((rows, answer.last_evaluated_key))
    }

    /// Returns a page of the events of all clients that were stored in a time, in no order.
    pub async fn scan(&self, stored: Range, after: Option<&Item>) -> Result<(Vec<Row>, Option<Item>), StoreError> {
        let millis = |time: Option<Moment>, otherwise: u64| -> AttributeValue {
            number(time.map_or(otherwise, Moment::unix_millis))
        };
        let request = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression("#stored >= :since AND #stored < :until")
            .expression_attribute_names("#stored", STORED_AT)
            .expression_attribute_values(":since", millis(stored.since, 0))
            .expression_attribute_values(":until", millis(stored.until, u64::MAX))
            .set_exclusive_start_key(after.cloned())
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = within_timeout(request.send()).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity.as_ref())?;
        let rows = answer.items().iter().filter_map(Row::parse).collect();
        Ok((rows, answer.last_evaluated_key))
    }

    /// Deletes an event, if it exists.
    pub async fn erase(&self, row: &Row) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.table);
        let request = request.key(CLIENT_ID, text(&row.partition)).key(EVENT_KEY, text(&row.key));
        applied(within_timeout(request.send()).await).map(|_| ())
    }

    /// Begins to read the events of a client in the order of their times.
    pub fn of_client(&self, client_id: &str, range: Range, buckets: NonZeroU16) -> ClientEvents<'_> {
        let bucket = |number| Bucket {
            partition: partition(client_id, usize::from(number)),
            rows: VecDeque::new(),
            next: Next::Page(None),
        };
        let buckets = if range.is_empty() { Vec::new() } else { (0..buckets.get()).map(bucket).collect() };
        ClientEvents { reader: self, range, buckets }
    }
}

/// The events of a client, merged from its buckets.
#[derive(Debug)]
pub struct ClientEvents<'a> {
    reader: &'a EventReader,
    range: Range,
    buckets: Vec<Bucket>,
}

/// What was read of a bucket and not returned.
#[derive(Debug)]
struct Bucket {
    partition: String,
    rows: VecDeque<Row>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Page(Option<Item>),
    End,
}

impl ClientEvents<'_> {
    /// Returns the next event. After an error, the next call repeats the failed request.
    pub async fn next(&mut self) -> Result<Option<Row>, StoreError> {
        for bucket in &mut self.buckets {
            while let (true, Next::Page(after)) = (bucket.rows.is_empty(), &bucket.next) {
                let (rows, last) = self.reader.page(&bucket.partition, self.range, after.as_ref()).await?;
                bucket.rows.extend(rows);
                bucket.next = last.map_or(Next::End, |last| Next::Page(Some(last)));
            }
        }
        let filled = self.buckets.iter_mut().filter(|bucket| !bucket.rows.is_empty());
        let first = filled.min_by(|one, other| one.rows[0].key.cmp(&other.rows[0].key));
        Ok(first.and_then(|bucket| bucket.rows.pop_front()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(since: Option<&str>, until: Option<&str>) -> Range {
        let moment = |text: &str| Moment::parse(text).unwrap();
        Range { since: since.map(moment), until: until.map(moment) }
    }

    #[test]
    fn a_range_has_its_first_time_and_not_its_last_one() {
        let (since, until) = range(Some("2026-11-22T10:00:00Z"), Some("2026-11-22T11:00:00Z")).limits();
        let has = |key: &str| (since.as_str()..=until.as_str()).contains(&key);
        assert!(has("2026-11-22T10:00:00.000Z#a") && has("2026-11-22T10:59:59.999Z#\u{10ffff}"));
        assert!(!has("2026-11-22T09:59:59.999Z#\u{10ffff}") && !has("2026-11-22T11:00:00.000Z#a"));
    }

    #[test]
    fn without_limits_each_time_is_in_range() {
        let (since, until) = Range::default().limits();
        for key in ["0000-01-01T00:00:00.000Z#a", "9999-12-31T23:59:59.999Z#\u{10ffff}"] {
            assert!((since.as_str()..=until.as_str()).contains(&key), "{key}");
        }
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        assert!(range(Some("2026-11-22T10:00:00Z"), Some("2026-11-22T10:00:00Z")).is_empty());
        assert!(!range(Some("2026-11-22T10:00:00Z"), None).is_empty());
    }
}
