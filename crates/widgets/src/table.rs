//! The tables `widgets` and `widget-requests` behind the interface that the registry needs. Each call makes one attempt.

pub mod item;
mod write;

use std::sync::Arc;

use aws_sdk_dynamodb::types::{Get, ReturnConsumedCapacity, StreamViewType, TransactGetItem};
use dynamodb::{
    Checked, Client, Item, StoreError, StoreErrorKind, TableSpec, TransactionError, answered, cancelled, failed, hash,
    incomplete, not_from_dynamodb, read_units,
};
use futures_util::future::try_join;
use ops::RateLimitedLog;
use uuid::Uuid;

use crate::names::Tables;
use crate::ports::{Commit, Condition, Page, Store};
use crate::transaction::Transaction;
use crate::widget::{Serial, Widget};
use item::{ID, SERIAL, key, parse_request, parse_widget};

pub use item::Foreign;

/// What this program needs of the table of widgets.
pub static WIDGETS: TableSpec =
    TableSpec { keys: &[hash(SERIAL)], index: None, expires: false, stream: Some(StreamViewType::NewAndOldImages) };

/// What this program needs of the table of requests with an Idempotency-Key.
pub static REQUESTS: TableSpec = TableSpec { keys: &[hash(ID)], index: None, expires: true, stream: None };

/// The tables of widgets and of requests.
#[derive(Debug, Clone)]
pub struct WidgetTable {
    client: Client,
    tables: Tables,
    skipped: Arc<RateLimitedLog>,
}

/// What a table has under a serial number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    Missing,
    Widget(Box<Widget>),
    Foreign(Foreign),
}

impl Row {
    fn widget(self) -> Result<Option<Widget>, StoreError> {
        match self {
            Row::Missing => Ok(None),
            Row::Widget(widget) => Ok(Some(*widget)),
            Row::Foreign(foreign) => Err(foreign.into()),
        }
    }
}

/// A page of a scan, as the table has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub rows: Vec<Result<Widget, Foreign>>,
    /// The key after which the next page starts, if there is one.
    pub next: Option<Item>,
}

/// A part of a scan in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub number: i32,
    pub of: i32,
}

impl WidgetTable {
    pub fn new(client: Client, tables: Tables) -> WidgetTable {
        WidgetTable { client, tables, skipped: Arc::default() }
    }

    /// Returns what the table had under each serial number at one moment. DynamoDB takes at most 100, and none twice.
    pub async fn rows(&self, serials: &[Serial]) -> Result<Vec<Row>, StoreError> {
        let gets: Result<Vec<_>, _> = serials.iter().map(|serial| self.transact_get(serial)).collect();
        let request = self.client.transact_get_items().set_transact_items(Some(gets?));
        let answer = match Box::pin(request.send()).await {
            Ok(answer) => answer,
            Err(error) => return Err(not_read(&error)),
        };
        answered(&answer)?;
        let responses = answer.responses.unwrap_or_default();
        // The SDK takes an empty body for an answer without items.
        if responses.len() != serials.len() {
            return Err(not_from_dynamodb());
        }
        Ok(responses.into_iter().map(|response| row(response.item.as_ref())).collect())
    }

    fn transact_get(&self, serial: &Serial) -> Result<TransactGetItem, StoreError> {
        let get = Get::builder().table_name(&self.tables.widgets).set_key(Some(key(serial))).build();
        Ok(TransactGetItem::builder().get(get.map_err(|error| incomplete(&error))?).build())
    }

    /// Returns a page of the table, or of a segment of it.
    pub async fn scan(
        &self,
        after: Option<Item>,
        limit: Option<u16>,
        segment: Option<Segment>,
    ) -> Result<Rows, StoreError> {
        let request = self
            .client
            .scan()
            .table_name(&self.tables.widgets)
            .consistent_read(true)
            .set_limit(limit.map(i32::from))
            .set_segment(segment.map(|segment| segment.number))
            .set_total_segments(segment.map(|segment| segment.of))
            .set_exclusive_start_key(after)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = Box::pin(request.send()).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity.as_ref())?;
        let rows = answer.items().iter().map(parse_widget).collect();
        Ok(Rows { rows, next: answer.last_evaluated_key })
    }

    /// A foreign row must not make the page fail for ever.
    fn skip(&self, foreign: &Foreign) {
        if let Some(suppressed) = self.skipped.due() {
            tracing::warn!(item = %foreign, suppressed, "skipped an item that is no widget");
        }
    }

    fn request(
        &self,
        transaction: &Transaction,
    ) -> Result<Vec<aws_sdk_dynamodb::types::TransactWriteItem>, StoreError> {
        let actions = transaction.actions.iter().map(|action| write::action(&self.tables.widgets, action));
        let request = transaction.request.iter().map(|request| write::request(&self.tables.requests, request));
        actions.chain(request).collect::<Result<_, _>>().map_err(|error| incomplete(&error))
    }
}

fn row(item: Option<&Item>) -> Row {
    match item.map(parse_widget) {
        None => Row::Missing,
        Some(Ok(widget)) => Row::Widget(Box::new(widget)),
        Some(Err(foreign)) => Row::Foreign(foreign),
    }
}

/// Returns the error of a transaction that reads. It has no conditions.
fn not_read<E: TransactionError>(error: &aws_sdk_dynamodb::error::SdkError<E>) -> StoreError {
    cancelled(error).err().unwrap_or_else(|| failed(error))
}

impl Store for WidgetTable {
    async fn get(&self, serial: &Serial) -> Result<Option<Widget>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.widgets)
            .set_key(Some(key(serial)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        // The SDK's future is large, and most of them wait.
        let answer = Box::pin(request.send()).await.map_err(|error| failed(&error))?;
        read_units(&answer, answer.consumed_capacity.as_ref())?;
        row(answer.item.as_ref()).widget()
    }

    async fn get_two(&self, [first, second]: [&Serial; 2]) -> Result<[Option<Widget>; 2], StoreError> {
        let (first, second) = try_join(self.get(first), self.get(second)).await?;
        Ok([first, second])
    }

    async fn snapshot(&self, serials: &[Serial]) -> Result<Vec<Option<Widget>>, StoreError> {
        self.rows(serials).await?.into_iter().map(Row::widget).collect()
    }

    async fn commit(&self, transaction: &Transaction, token: Uuid) -> Result<Commit, StoreError> {
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(self.request(transaction)?))
            .client_request_token(token.to_string());
        match Box::pin(request.send()).await {
            Ok(answer) => answered(&answer).map(|()| Commit::Applied),
            Err(error) => refused(transaction, cancelled(&error)?),
        }
    }

    async fn page(&self, after: Option<&Serial>, limit: u16) -> Result<Page, StoreError> {
        let mut start = after.map(key);
        loop {
            let Rows { rows, next } = self.scan(start, Some(limit), None).await?;
            let mut widgets = Vec::with_capacity(rows.len());
            for row in rows {
                match row {
                    Ok(widget) => widgets.push(widget),
                    Err(foreign) => self.skip(&foreign),
                }
            }
            let Some(next) = next else { return Ok(Page { widgets, next: None }) };
            let last = || Some(widgets.last()?.serial.clone());
            // The key of a foreign row may be no serial number. The next page then repeats the rows after the last widget.
            if let Some(serial) = serial_of(&next).or_else(last) {
                return Ok(Page { widgets, next: Some(serial) });
            }
            start = Some(next);
        }
    }
}

fn serial_of(key: &Item) -> Option<Serial> {
    Serial::try_from(dynamodb::values::string(key, SERIAL)?.to_owned()).ok()
}

/// Returns which conditions of a cancelled transaction were met.
fn refused(transaction: &Transaction, reasons: Vec<Checked>) -> Result<Commit, StoreError> {
    let (actions, request) = (transaction.actions.len(), usize::from(transaction.request.is_some()));
    if reasons.len() != actions + request {
        let detail = format!("DynamoDB gave {} reasons for {} items", reasons.len(), actions + request);
        return Err(StoreError { kind: StoreErrorKind::Misconfigured, detail });
    }
    let mut reasons = reasons.into_iter();
    let actions: Vec<_> = reasons.by_ref().take(actions).collect();
    // The stored request outranks the conditions of the others, also that of a foreign item.
    let request = match reasons.next() {
        Some(Checked::Unmet(Some(item))) => Some(Box::new(parse_request(&item)?)),
        // It expired, and was deleted since its condition failed.
        Some(Checked::Unmet(None)) => {
            let detail = "the request was deleted at this moment".to_owned();
            return Err(StoreError { kind: StoreErrorKind::Conflict, detail });
        }
        Some(Checked::Met) | None => None,
    };
    let conditions: Result<Vec<_>, _> = actions.into_iter().map(condition).collect();
    let actions = if request.is_some() { conditions.unwrap_or_default() } else { conditions? };
    Ok(Commit::Refused { actions, request })
}

fn condition(checked: Checked) -> Result<Condition, StoreError> {
    Ok(match checked {
        Checked::Met => Condition::Met,
        Checked::Unmet(None) => Condition::Unmet(None),
        Checked::Unmet(Some(item)) => Condition::Unmet(Some(Box::new(parse_widget(&item)?))),
    })
}
