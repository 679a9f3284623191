//! The write units that the consumer counts must equal the consumed capacity that the table returns.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, ConsumedCapacity, ReturnConsumedCapacity};
use mini_scan::consumer::ports::Store;
use mini_scan::dynamo::Scans;
use mini_scan::scan::{DataVersion, Key, Scan};

use super::Monitored;
use crate::support::dynamo::{Dynamo, Item};
use crate::support::pipeline::{Pipeline, ip, scan};
use crate::support::servers::DynamoServer;

/// Sizes of records in bytes, near the limits of a write unit.
const SIZES: [usize; 9] = [200, 1023, 1024, 1025, 2047, 2048, 2049, 10_240, 10_241];
/// The growth of a record when it is replaced. A record that shrinks is charged by its old size, which the consumer
/// does not know.
const GROWTH: usize = 700;

#[tokio::test]
async fn the_counted_units_of_put_item_match_the_consumed_capacity() {
    let pipeline = Pipeline::new().await;
    let other = pipeline.dynamo.table().await;
    let (counted, rows) = counted(&pipeline, "put").await;

    let mut consumed = 0.0;
    for row in rows.into_iter().flatten() {
        let put = pipeline.dynamo.client.put_item().table_name(&other).set_item(Some(row));
        let put = put.return_consumed_capacity(ReturnConsumedCapacity::Total);
        consumed += units(put.send().await.expect("the item is stored").consumed_capacity.as_slice());
    }

    assert_eq!(counted, consumed);
}

#[tokio::test]
async fn the_counted_units_of_statements_match_the_consumed_capacity() {
    let pipeline = Pipeline::new().await;
    let other = pipeline.dynamo.table().await;
    let (counted, [first, second]) = counted(&pipeline, "batch").await;
    if pipeline.dynamo.skips(DynamoServer::DynamoDbLocal, "statements return their consumed capacity") {
        return;
    }

    let inserts = first.into_iter().map(|row| insert(&other, row)).collect();
    let updates = second.into_iter().map(|row| update(&other, row)).collect();
    let consumed = consumed(&pipeline.dynamo, inserts).await + consumed(&pipeline.dynamo, updates).await;

    assert_eq!(counted, consumed);
}

/// Stores records of each size and replaces them by larger ones. Returns the units that the consumer counted, and the
/// rows after each of the two steps.
async fn counted(pipeline: &Pipeline, write_mode: &str) -> (f64, [Vec<Item>; 2]) {
    let monitored = Monitored::start(pipeline.consumer().arguments(["--write-mode", write_mode])).await;
    let mut rows = [(7, 0), (8, GROWTH)].map(|_| Vec::new());
    for (rows, (timestamp, growth)) in rows.iter_mut().zip([(7, 0), (8, GROWTH)]) {
        let sizes = SIZES.iter().enumerate();
        pipeline.publish(sizes.map(|(key, size)| scan_of_size(pipeline, key, timestamp, size + growth))).await;
        pipeline.drained().await;
        let all: BTreeMap<String, Item> = pipeline.rows(SIZES.len()).await;
        assert!(all.values().all(|row| row["timestamp"] == AttributeValue::N(timestamp.to_string())));
        rows.extend(all.into_values());
    }
    let metrics = monitored.metrics().await;
    let units = |outcome| metrics.value("mini_scan_write_units_total", &[("outcome", outcome)]);
    assert_eq!(units("stale"), 0.0);
    (units("stored"), rows)
}

/// Returns a scan whose record has `bytes` bytes.
fn scan_of_size(pipeline: &Pipeline, key: usize, timestamp: u64, bytes: usize) -> String {
    let empty = Scan {
        key: Key::new(ip(key).parse().expect("an address"), 80, "HTTP"),
        timestamp,
        data_version: DataVersion::V2,
        response: String::new(),
        response_bytes: None,
    };
    let store = Scans::new(pipeline.dynamo.client.clone(), pipeline.table.clone(), None);
    let overhead = store.measure(&empty).expect("the scan is small enough");
    scan(&ip(key), timestamp, &"x".repeat(bytes - overhead))
}

fn insert(table: &str, row: Item) -> BatchStatementRequest {
    let (names, values): (Vec<_>, Vec<_>) = row.into_iter().map(|(name, value)| (format!("'{name}':?"), value)).unzip();
    statement(format!(r#"INSERT INTO "{table}" VALUE {{{}}}"#, names.join(",")), values)
}

fn update(table: &str, mut row: Item) -> BatchStatementRequest {
    let key = row.remove("pk").expect("a row has a key");
    let (sets, mut values): (Vec<_>, Vec<_>) =
        row.into_iter().map(|(name, value)| (format!(r#"SET "{name}"=?"#), value)).unzip();
    values.push(key);
    statement(format!(r#"UPDATE "{table}" {} WHERE "pk"=?"#, sets.join(" ")), values)
}

fn statement(text: String, parameters: Vec<AttributeValue>) -> BatchStatementRequest {
    let statement = BatchStatementRequest::builder().statement(text).set_parameters(Some(parameters));
    statement.build().expect("the statement has a text")
}

/// Executes the statements and returns their consumed capacity.
async fn consumed(dynamo: &Dynamo, statements: Vec<BatchStatementRequest>) -> f64 {
    let call = dynamo.client.batch_execute_statement().set_statements(Some(statements));
    let output = call.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.expect("the call succeeds");
    let responses = output.responses.expect("a response to each statement");
    assert!(responses.iter().all(|response| response.error.is_none()), "{responses:?}");
    units(&output.consumed_capacity.unwrap_or_default())
}

fn units(capacity: &[ConsumedCapacity]) -> f64 {
    assert!(!capacity.is_empty(), "no consumed capacity in the response");
    capacity.iter().map(|capacity| capacity.capacity_units.expect("a number of units")).sum()
}
