//! The write units that are counted, beside those that the table says it spent (`ReturnConsumedCapacity`).

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, ConsumedCapacity, ReturnConsumedCapacity};
use mini_scan::consumer::ports::Store;
use mini_scan::dynamo::Scans;
use mini_scan::scan::{DataVersion, Key, Scan};

use super::Watched;
use crate::support::dynamo::{Dynamo, Item};
use crate::support::pipeline::{Pipeline, ip, scan};
use crate::support::servers::DynamoServer;

/// Around the bounds of a unit, in bytes of a record.
const SIZES: [usize; 9] = [200, 1023, 1024, 1025, 2047, 2048, 2049, 10_240, 10_241];
/// By what a record grows when it is replaced; one that shrinks costs by what it was, which nobody here knows.
const MORE: usize = 700;

#[tokio::test]
async fn the_units_of_put_item_are_those_that_the_table_says() {
    let pipeline = Pipeline::new().await;
    let other = pipeline.dynamo.table().await;
    let (counted, rows) = counted(&pipeline, "put").await;

    let mut said = 0.0;
    for row in rows.into_iter().flatten() {
        let put = pipeline.dynamo.client.put_item().table_name(&other).set_item(Some(row));
        let answer = put.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.expect("it is stored");
        said += units(answer.consumed_capacity.as_slice());
    }

    assert_eq!(counted, said);
}

#[tokio::test]
async fn the_units_of_statements_are_those_that_the_table_says() {
    let pipeline = Pipeline::new().await;
    let other = pipeline.dynamo.table().await;
    let (counted, [first, second]) = counted(&pipeline, "batch").await;
    if pipeline.dynamo.excuses(DynamoServer::DynamoDbLocal, "statements say what they consume") {
        return;
    }

    let said = said(&pipeline.dynamo, first.into_iter().map(|row| insert(&other, row)).collect()).await
        + said(&pipeline.dynamo, second.into_iter().map(|row| update(&other, row)).collect()).await;

    assert_eq!(counted, said);
}

/// The units that the consumer counts for records of each size, and for newer ones in their place; and the rows of both.
async fn counted(pipeline: &Pipeline, write_mode: &str) -> (f64, [Vec<Item>; 2]) {
    let watched = Watched::start(pipeline.consumer().arguments(["--write-mode", write_mode])).await;
    let mut rows = [(7, 0), (8, MORE)].map(|_| Vec::new());
    for (rows, (timestamp, more)) in rows.iter_mut().zip([(7, 0), (8, MORE)]) {
        let sizes = SIZES.iter().enumerate();
        pipeline.publish(sizes.map(|(key, size)| of_size(pipeline, key, timestamp, size + more))).await;
        pipeline.drained().await;
        let all: BTreeMap<String, Item> = pipeline.rows(SIZES.len()).await;
        assert!(all.values().all(|row| row["timestamp"] == AttributeValue::N(timestamp.to_string())));
        rows.extend(all.into_values());
    }
    let units = |outcome| {
        move |metrics: &super::exposition::Exposition| {
            metrics.value("mini_scan_write_units_total", &[("outcome", outcome)])
        }
    };
    let metrics = watched.metrics().await;
    assert_eq!(units("stale")(&metrics), 0.0);
    (units("stored")(&metrics), rows)
}

/// A scan whose record has so many bytes.
fn of_size(pipeline: &Pipeline, key: usize, timestamp: u64, bytes: usize) -> String {
    let empty = Scan {
        key: Key::new(ip(key).parse().expect("an address"), 80, "HTTP"),
        timestamp,
        data_version: DataVersion::V2,
        response: String::new(),
        response_bytes: None,
    };
    let store = Scans::new(pipeline.dynamo.client.clone(), pipeline.table.clone(), None);
    let least = store.measure(&empty).expect("it is small");
    scan(&ip(key), timestamp, &"x".repeat(bytes - least))
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
    BatchStatementRequest::builder().statement(text).set_parameters(Some(parameters)).build().expect("it has a text")
}

async fn said(dynamo: &Dynamo, statements: Vec<BatchStatementRequest>) -> f64 {
    let call = dynamo.client.batch_execute_statement().set_statements(Some(statements));
    let answer = call.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.expect("it is answered");
    let responses = answer.responses.expect("each is answered");
    assert!(responses.iter().all(|response| response.error.is_none()), "{responses:?}");
    units(&answer.consumed_capacity.unwrap_or_default())
}

fn units(capacity: &[ConsumedCapacity]) -> f64 {
    assert!(!capacity.is_empty(), "the table says what it spent");
    capacity.iter().map(|capacity| capacity.capacity_units.expect("it says how much")).sum()
}
