//! The SDK with its defaults, and only conditional writes: one per call, or 25.

use std::ops::Range;

use anyhow::{Context, ensure};
use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{IN_FLIGHT, on_threads, threads};
use crate::child::usage;
use crate::load::{USUAL_RESPONSE, address, response};
use crate::stage::TABLE;

/// Statements per call: DynamoDB's maximum.
const STATEMENTS: usize = 25;
/// Calls in flight per thread.
const CALLS: usize = 4;
const TIMESTAMP: usize = 1_740_298_125;

/// The figures that a bare loop prints when it is done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) system_seconds: f64,
    pub(crate) peak_mb: f64,
}

/// Writes `count` records and prints the resources that it used.
pub(super) fn run(endpoint: &str, count: usize, each: Each) -> anyhow::Result<()> {
    let share = count / threads();
    let before = usage("self")?;
    let start = Instant::now();
    on_threads(|number| write(endpoint, number * share..(number + 1) * share, each))?;
    let seconds = start.elapsed().as_secs_f64();
    let after = usage("self")?;
    let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
    let system_seconds = after.system_seconds - before.system_seconds;
    println!("{}", serde_json::to_string(&Written { seconds, cpu_seconds, system_seconds, peak_mb: after.peak_mb })?);
    Ok(())
}

/// The kind of call that writes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Each {
    Put,
    Batch,
}

async fn write(endpoint: &str, keys: Range<usize>, each: Each) -> anyhow::Result<()> {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .load()
        .await;
    let client = Client::new(&config);
    match each {
        Each::Put => finish(stream::iter(keys).map(|key| put(&client, key)).buffer_unordered(IN_FLIGHT)).await,
        Each::Batch => {
            let starts = keys.clone().step_by(STATEMENTS);
            let calls = starts.map(|start| batch(&client, start..(start + STATEMENTS).min(keys.end)));
            finish(stream::iter(calls).buffer_unordered(CALLS)).await
        }
    }
}

async fn finish(mut calls: impl StreamExt<Item = anyhow::Result<()>> + Unpin) -> anyhow::Result<()> {
    while let Some(result) = calls.next().await {
        result?;
    }
    Ok(())
}

async fn put(client: &Client, key: usize) -> anyhow::Result<()> {
    let [pk, ip, port, service, timestamp, response, data_version] = record(key);
    client
        .put_item()
        .table_name(TABLE)
        .item("pk", pk)
        .item("ip", ip)
        .item("port", port)
        .item("service", service)
        .item("timestamp", timestamp)
        .item("response", response)
        .item("data_version", data_version)
        .condition_expression("attribute_not_exists(pk) OR #ts < :ts")
        .expression_attribute_names("#ts", "timestamp")
        .expression_attribute_values(":ts", AttributeValue::N(TIMESTAMP.to_string()))
        .send()
        .await?;
    Ok(())
}

async fn batch(client: &Client, keys: Range<usize>) -> anyhow::Result<()> {
    let statements = keys.map(update).collect::<Result<_, _>>()?;
    let answer = client.batch_execute_statement().set_statements(Some(statements)).send().await?;
    let responses = answer.responses.context("the response to a batch has no responses to its statements")?;
    ensure!(responses.iter().all(|response| response.error.is_none()), "a statement failed: {responses:?}");
    Ok(())
}

fn update(key: usize) -> anyhow::Result<BatchStatementRequest> {
    let mut parameters = record(key).to_vec();
    parameters.rotate_left(1);
    parameters.push(AttributeValue::N(TIMESTAMP.to_string()));
    let text = format!(
        r#"UPDATE "{TABLE}" SET "ip"=? SET "port"=? SET "service"=? SET "timestamp"=? SET "response"=? SET "data_version"=? WHERE "pk"=? AND "timestamp"<?"#
    );
    Ok(BatchStatementRequest::builder().statement(text).set_parameters(Some(parameters)).build()?)
}

/// Returns the values of a record, its key first.
fn record(key: usize) -> [AttributeValue; 7] {
    let text = AttributeValue::S;
    let number = |number: usize| AttributeValue::N(number.to_string());
    let (ip, port) = (address(key).to_string(), key % 65_535);
    [
        text(format!("{ip}#{port}#HTTP")),
        text(ip),
        number(port),
        text("HTTP".to_owned()),
        number(TIMESTAMP),
        text(response(key, USUAL_RESPONSE)),
        number(2),
    ]
}
