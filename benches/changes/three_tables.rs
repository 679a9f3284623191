//! The set-up of a published figure: three tables with one shard each and records of 1 kB, on DynamoDB Local.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest, ScalarAttributeType,
    StreamSpecification, StreamViewType, WriteRequest,
};
use dynamodb_streams::{DynamoDbLeaseTable, DynamoDbStream, Reader, Settings};
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::programs::{Counted, streams_client, tables_client};
use crate::usage::usage;

const TABLES: usize = 3;
/// DynamoDB Local writes more slowly with each record that it has.
const RECORDS: usize = 5_000;
/// The most items of a BatchWriteItem.
const BATCH: usize = 25;
const CONCURRENCY: usize = 8;
const RECORD_BYTES: usize = 1000;

/// Writes the records, then reads them with one reader per table in this process.
pub(crate) async fn run(endpoint: &str) -> anyhow::Result<()> {
    let (tables, streams) = (tables_client(endpoint), streams_client(endpoint));
    let run = std::process::id();
    let leases = DynamoDbLeaseTable::new(&tables, format!("bench-leases-{run}"));
    leases.create_if_missing().await?;
    let counted = Counted::until_records(TABLES * RECORDS);
    let mut readers = Vec::new();
    for number in 0..TABLES {
        let table = format!("bench-records-{run}-{number}");
        create(&tables, &table).await?;
        fill(&tables, &table).await?;
        let stream = DynamoDbStream::of_table(&streams, &tables, &table).await.map_err(anyhow::Error::from_boxed)?;
        let (keys, observer) = (stream.lease_keys("bench"), Arc::new(counted.clone()));
        readers.push(Reader::new(
            "bench",
            stream,
            leases.clone(),
            keys,
            counted.clone(),
            observer,
            Settings::default(),
        )?);
    }
    let before = usage("self")?.cpu_seconds;
    join_all(readers.into_iter().map(|reader| reader.run(counted.finished.clone().cancelled_owned()))).await;
    let used = usage("self")?.cpu_seconds - before;
    let records = counted.records.load(Ordering::Relaxed) as f64;
    let seconds = counted.seconds().unwrap_or(f64::NAN);
    println!("{TABLES} tables with one shard each, {RECORDS} records of 1 kB per table, {endpoint}:");
    println!("  {:.0} records per second", records / seconds);
    println!("  {:.0} records per CPU-second of the reader", records / used);
    Ok(())
}

async fn create(tables: &Client, table: &str) -> anyhow::Result<()> {
    let key = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash).build()?;
    let attribute =
        AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S).build()?;
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage);
    let create = tables.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    let create = create.key_schema(key).attribute_definitions(attribute).stream_specification(stream.build()?);
    create.send().await?;
    Ok(())
}

async fn fill(tables: &Client, table: &str) -> anyhow::Result<()> {
    let batches = (0..RECORDS).step_by(BATCH).map(|first| async move {
        let puts = (first..first + BATCH).map(|number| {
            let put = PutRequest::builder().item("pk", AttributeValue::S(format!("{number}")));
            let put = put.item("response", AttributeValue::S("x".repeat(RECORD_BYTES))).build()?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let puts = puts.collect::<anyhow::Result<Vec<_>>>()?;
        let written = tables.batch_write_item().request_items(table, puts).send().await?;
        anyhow::ensure!(written.unprocessed_items().is_none_or(|items| items.is_empty()), "the table is throttled");
        Ok(())
    });
    stream::iter(batches).buffer_unordered(CONCURRENCY).try_collect().await
}
