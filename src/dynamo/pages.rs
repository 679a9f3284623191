//! Reads the whole table, one page of a segment at a time. Leaves rates and retries to the caller.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use dynamodb::{EXPIRES_AT, Item, Problem, describe, failed, read_units};
use tokio::time::timeout;

use super::item::{KEY, TIMESTAMP, record};
use crate::consumer::ports::{StoreError, StoreErrorKind};
pub use crate::hosts::Row;

/// A page has at most 1 MB, which takes seconds only over a bad network.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The read units of the largest page: 1 MB, eventually consistent, at half a unit per 4 KB.
pub const MAX_PAGE_UNITS: f64 = 128.0;

/// What DynamoDB leaves out of the pages. Rows that it leaves out cost the same read units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageFilter {
    /// Only records with a timestamp from here on, in Unix seconds.
    pub since: Option<u64>,
    /// Only records of these ports; of all ports if empty.
    pub ports: Vec<u16>,
}

/// Where a page begins: one of several segments of the table, and the key after which it continues.
#[derive(Debug, Clone, Copy)]
pub struct Position<'a> {
    pub segment: u32,
    pub segments: u32,
    pub after: Option<&'a str>,
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// The keys of rows that are no records.
    pub foreign: Vec<String>,
    /// The rows that DynamoDB has read, including those that it left out.
    pub scanned: u64,
    pub read_units: f64,
    /// The key after which the segment continues. `None` at its end.
    pub last: Option<String>,
}

/// What a table's description shows of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Changes if the table is deleted and created again.
    pub id: Option<String>,
    /// DynamoDB updates it every six hours.
    pub rows: u64,
}

/// Returns what the table contains, or `None` if this identity may not describe it.
pub async fn content(client: &Client, table: &str) -> Result<Option<Content>, Problem> {
    match describe(client, table).await {
        Ok(found) => {
            let rows = found.item_count().and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
            // DynamoDB Local has no `TableId` of its own, and the embedded server has whole seconds.
            let id = found.table_id().unwrap_or_default();
            let id = found.creation_date_time().map(|created| format!("{id} {}", created.as_nanos()));
            Ok(Some(Content { id, rows }))
        }
        Err(Problem::Refused(_)) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// The pages of a table.
#[derive(Debug, Clone)]
pub struct Pages {
    client: Client,
    table: String,
    filter: PageFilter,
}

impl Pages {
    pub fn new(client: Client, table: String, filter: PageFilter) -> Pages {
        Pages { client, table, filter }
    }

    /// Reads the page at this position, of at most `limit` rows.
    pub async fn read(&self, position: Position<'_>, limit: Option<i32>) -> Result<Page, StoreError> {
        let Position { segment, segments, after } = position;
        let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let mut request = self
            .client
            .scan()
            .table_name(&self.table)
            .segment(whole(segment))
            .total_segments(whole(segments))
            .set_limit(limit)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        if let Some(after) = after {
            request = request.exclusive_start_key(KEY, AttributeValue::S(after.to_owned()));
        }
        match timeout(PAGE_TIMEOUT, self.filtered(request).send()).await {
            Ok(Ok(output)) => page(output),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(StoreError {
                kind: StoreErrorKind::Unavailable,
                detail: format!("no answer within {} s", PAGE_TIMEOUT.as_secs()),
            }),
        }
    }

    fn filtered(&self, mut request: ScanFluentBuilder) -> ScanFluentBuilder {
        let mut conditions = Vec::new();
        if let Some(since) = self.filter.since {
            conditions.push("#ts >= :since".to_owned());
            request = request
                .expression_attribute_names("#ts", TIMESTAMP)
                .expression_attribute_values(":since", AttributeValue::N(since.to_string()));
        }
        if !self.filter.ports.is_empty() {
            let names: Vec<_> = (0..self.filter.ports.len()).map(|nth| format!(":port{nth}")).collect();
            conditions.push(format!("port IN ({})", names.join(", ")));
            for (name, port) in names.into_iter().zip(&self.filter.ports) {
                request = request.expression_attribute_values(name, AttributeValue::N(port.to_string()));
            }
        }
        request.set_filter_expression((!conditions.is_empty()).then(|| conditions.join(" AND ")))
    }
}

/// Fails if it does not know how to continue, because that would look like the end of the segment.
fn page(output: ScanOutput) -> Result<Page, StoreError> {
    let read_units = read_units(&output, output.consumed_capacity())?;
    let scanned = u64::try_from(output.scanned_count()).unwrap_or_default();
    let last = output.last_evaluated_key().map(|last| match (key(last), last.len()) {
        (Some(key), 1) => Ok(key),
        _ => Err(StoreError {
            kind: StoreErrorKind::Refused,
            detail: "the key of the table is not the one of scans".to_owned(),
        }),
    });
    let last = last.transpose()?;
    let (mut rows, mut foreign) = (Vec::new(), Vec::new());
    for item in output.items.unwrap_or_default() {
        let key = key(&item).unwrap_or_default();
        let expires_at = item.get(EXPIRES_AT).and_then(|time| time.as_n().ok()?.parse().ok());
        match record(item) {
            Some(record) => rows.push(Row { record, expires_at }),
            None => foreign.push(key),
        }
    }
    Ok(Page { rows, foreign, scanned, read_units, last })
}

fn key(item: &Item) -> Option<String> {
    item.get(KEY)?.as_s().ok().cloned()
}
