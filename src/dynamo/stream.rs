//! The stream of the table of scans: enables it if it is missing, checks what exists, and asks for permissions without
//! changing anything.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType, TableDescription, TableStatus};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use tokio::time::sleep;

use super::client::{Problem, StreamsClient};
use super::table::{POLL_INTERVAL, built, check_fit, describe, wait_until, wait_until_active, within_timeout};

const MAX_ATTEMPTS: u32 = 5;

/// The stream of the table of scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// It has the new and the old image of each change.
    Ready,
    Missing,
}

/// Checks that the table has scans and looks for its stream. A stream without both images does not fit.
pub async fn check_stream(client: &Client, table: &str) -> Result<StreamState, Problem> {
    stream_of(&describe(client, table).await?)
}

/// Enables a stream of new and old images on the table of scans unless it has one. Returns whether it did. Safe to
/// repeat and to run concurrently.
pub async fn enable_stream(client: &Client, table: &str) -> Result<bool, Problem> {
    for attempts in 1.. {
        match try_to_enable_stream(client, table).await {
            // Another process enables it, or changes the table.
            Err(Problem::Other(_)) if attempts < MAX_ATTEMPTS => sleep(POLL_INTERVAL).await,
            result => return result,
        }
    }
    unreachable!("the last attempt returns")
}

async fn try_to_enable_stream(client: &Client, table: &str) -> Result<bool, Problem> {
    if stream_of(&wait_until_active(client, table).await?)? == StreamState::Ready {
        return Ok(false);
    }
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
    let request = client.update_table().table_name(table).stream_specification(built(stream.build())?);
    within_timeout(request.send()).await.map_err(|error| Problem::of(&error))?;
    let is_ready = |table: &TableDescription| table.table_status() == Some(&TableStatus::Active);
    wait_until(client, table, "enabling its stream", is_ready).await?;
    Ok(true)
}

fn stream_of(table: &TableDescription) -> Result<StreamState, Problem> {
    check_fit(table).map_err(Problem::DoesNotFit)?;
    let Some(stream) = table.stream_specification().filter(|stream| stream.stream_enabled()) else {
        return Ok(StreamState::Missing);
    };
    match stream.stream_view_type() {
        Some(StreamViewType::NewAndOldImages) => Ok(StreamState::Ready),
        other => {
            let other = other.map_or("an unknown content", StreamViewType::as_str);
            Err(Problem::DoesNotFit(format!("its stream has {other}; expected {}", StreamViewType::NewAndOldImages)))
        }
    }
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

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{AttributeDefinition, KeySchemaElement, KeyType, ScalarAttributeType};

    use super::*;

    fn described(keys: &[(&str, KeyType)], kind: &ScalarAttributeType) -> TableDescription {
        let mut table = TableDescription::builder().table_status(TableStatus::Active);
        for (name, key_type) in keys {
            let key = KeySchemaElement::builder().attribute_name(*name).key_type(key_type.clone());
            let attribute = AttributeDefinition::builder().attribute_name(*name).attribute_type(kind.clone());
            table = table.key_schema(key.build().unwrap()).attribute_definitions(attribute.build().unwrap());
        }
        table.build()
    }

    #[test]
    fn only_a_stream_of_both_images_fits() {
        let scans = || TableDescription::builder().set_attribute_definitions(None);
        let with = |view: StreamViewType| {
            let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build().unwrap();
            let keys = described(&[("pk", KeyType::Hash)], &ScalarAttributeType::S);
            let table = scans().set_key_schema(keys.key_schema).set_attribute_definitions(keys.attribute_definitions);
            stream_of(&table.stream_specification(stream).build())
        };
        assert_eq!(with(StreamViewType::NewAndOldImages), Ok(StreamState::Ready));
        for view in [StreamViewType::KeysOnly, StreamViewType::NewImage, StreamViewType::OldImage] {
            assert!(matches!(with(view), Err(Problem::DoesNotFit(_))));
        }
        let without = described(&[("pk", KeyType::Hash)], &ScalarAttributeType::S);
        assert_eq!(stream_of(&without), Ok(StreamState::Missing));
    }
}
