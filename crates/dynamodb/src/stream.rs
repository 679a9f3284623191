//! The stream of a table: enables it if it is missing, checks what exists, and asks for permissions without changing
//! anything.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType, TableDescription, TableStatus};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use tokio::time::sleep;

use crate::client::{Problem, StreamsClient};
use crate::table::{POLL_INTERVAL, built, describe, wait_until, wait_until_active, within_timeout};

const MAX_ATTEMPTS: u32 = 5;

/// Whether a table has its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// It has the images that were asked for.
    Ready,
    Missing,
}

/// The current stream of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName {
    pub arn: String,
    /// When it was enabled, as text. A later stream has a greater label.
    pub label: String,
}

/// Returns the current stream of a table, or its last one if it is disabled. Returns `None` if it never had one.
pub async fn stream_name(client: &Client, table: &str) -> Result<Option<StreamName>, Problem> {
    let description = describe(client, table).await?;
    let (arn, label) = (description.latest_stream_arn, description.latest_stream_label);
    Ok(arn.zip(label).map(|(arn, label)| StreamName { arn, label }))
}

/// Returns the state of the stream in a description. A stream of other images does not fit.
pub fn stream_state(table: &TableDescription, view: &StreamViewType) -> Result<StreamState, Problem> {
    let Some(stream) = table.stream_specification().filter(|stream| stream.stream_enabled()) else {
        return Ok(StreamState::Missing);
    };
    match stream.stream_view_type() {
        Some(found) if found == view => Ok(StreamState::Ready),
        other => {
            let other = other.map_or("an unknown content", StreamViewType::as_str);
            Err(Problem::DoesNotFit(format!("its stream has {other}; expected {view}")))
        }
    }
}

/// Enables a stream of these images on a table unless it has one. Returns whether it did. Safe to repeat and to run
/// concurrently.
pub async fn enable_stream(client: &Client, table: &str, view: &StreamViewType) -> Result<bool, Problem> {
    for attempts in 1.. {
        match try_to_enable_stream(client, table, view).await {
            // Another process enables it, or changes the table.
            Err(Problem::Other(_)) if attempts < MAX_ATTEMPTS => sleep(POLL_INTERVAL).await,
            result => return result,
        }
    }
    unreachable!("the last attempt returns")
}

async fn try_to_enable_stream(client: &Client, table: &str, view: &StreamViewType) -> Result<bool, Problem> {
    if stream_state(&wait_until_active(client, table).await?, view)? == StreamState::Ready {
        return Ok(false);
    }
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view.clone());
    let request = client.update_table().table_name(table).stream_specification(built(stream.build())?);
    within_timeout(request.send()).await.map_err(|error| Problem::of(&error))?;
    let is_ready = |table: &TableDescription| table.table_status() == Some(&TableStatus::Active);
    wait_until(client, table, "enabling its stream", is_ready).await?;
    Ok(true)
}

/// Reads at most one record of the table's stream, which needs each permission of a reader.
pub async fn check_stream_permissions(client: &Client, streams: &StreamsClient, table: &str) -> Result<(), Problem> {
    let Some(arn) = describe(client, table).await?.latest_stream_arn else { return Err(Problem::NotFound) };
    let described = within_timeout(streams.describe_stream().stream_arn(&arn).limit(1).send()).await;
    let described = described.map_err(|error| Problem::of(&error))?.stream_description;
    let Some(shard) = described.and_then(|stream| stream.shards?.into_iter().next()?.shard_id) else { return Ok(()) };
    let iterator = streams.get_shard_iterator().stream_arn(&arn).shard_id(shard);
    let iterator = within_timeout(iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send()).await;
    let Some(iterator) = iterator.map_err(|error| Problem::of(&error))?.shard_iterator else { return Ok(()) };
    let records = within_timeout(streams.get_records().shard_iterator(iterator).limit(1).send()).await;
    records.map(|_| ()).map_err(|error| Problem::of(&error))
}
