//! What a replay reads of the history: pages of the entries of a time, of all addresses or of one.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use dynamodb::failed;
use tokio::time::timeout;

use super::HistoryTable;
use super::attributes::{ENTRY, IP, entry, number, text};
use super::repairs::{HistoryKey, HistoryPage, key, no_answer, page};
use crate::changes::{Entry, SUMMARY};
use crate::consumer::ports::StoreError;

const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
const CREATED: &str = "#created BETWEEN :first AND :last";

impl HistoryTable {
    /// Reads a page of a segment after this key. Its entries are those of changes that the table made in this time.
    pub async fn entries_created(
        &self,
        (segment, segments): (u32, u32),
        created: Range<u64>,
        after: Option<&HistoryKey>,
        limit: Option<i32>,
    ) -> Result<HistoryPage<Entry>, StoreError> {
        let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let request = self
            .client
            .scan()
            .table_name(&self.table)
            .segment(whole(segment))
            .total_segments(whole(segments))
            .set_limit(limit)
            .set_exclusive_start_key(after.map(key))
            .filter_expression(CREATED)
            .expression_attribute_names("#created", "created")
            .expression_attribute_values(":first", number(created.start))
            .expression_attribute_values(":last", number(created.end.saturating_sub(1)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = timeout(PAGE_TIMEOUT, Box::pin(request.send())).await.map_err(|_| no_answer())?;
        let answer = answer.map_err(|error| failed(&error))?;
        let (scanned, last) = (answer.scanned_count(), answer.last_evaluated_key());
        page(&answer, answer.consumed_capacity(), answer.items(), entry, (scanned, last))
    }

    /// Reads a page of the entries of an address, as [`HistoryTable::entries_created`] does.
    pub async fn entries_of(
        &self,
        ip: IpAddr,
        created: Range<u64>,
        after: Option<&HistoryKey>,
        limit: Option<i32>,
    ) -> Result<HistoryPage<Entry>, StoreError> {
        // A late entry has an old sort key, so only the summaries can be left out by the key.
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#ip = :ip AND #entry < :summary")
            .filter_expression(CREATED)
            .set_limit(limit)
            .set_exclusive_start_key(after.map(key))
            .expression_attribute_names("#ip", IP)
            .expression_attribute_names("#entry", ENTRY)
            .expression_attribute_names("#created", "created")
            .expression_attribute_values(":ip", text(ip.to_canonical().to_string()))
            .expression_attribute_values(":summary", text(SUMMARY))
            .expression_attribute_values(":first", number(created.start))
            .expression_attribute_values(":last", number(created.end.saturating_sub(1)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let answer = timeout(PAGE_TIMEOUT, Box::pin(request.send())).await.map_err(|_| no_answer())?;
        let answer = answer.map_err(|error| failed(&error))?;
        let (scanned, last) = (answer.scanned_count(), answer.last_evaluated_key());
        page(&answer, answer.consumed_capacity(), answer.items(), entry, (scanned, last))
    }
}
