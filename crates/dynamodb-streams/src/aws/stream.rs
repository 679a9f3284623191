//! A DynamoDB stream through AWS's client.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::config::retry::RetryConfig;
use aws_sdk_dynamodbstreams::operation::describe_stream::builders::DescribeStreamFluentBuilder;
use aws_sdk_dynamodbstreams::types::{
    Record as AwsRecord, Shard as AwsShard, ShardFilter, ShardFilterType, ShardIteratorType, StreamDescription,
    StreamStatus,
};
use tokio::time::Instant;

use super::error::{Request, stream_error};
use super::record::record;
use crate::lease::LeaseKeys;
use crate::ports::{BoxError, IteratorPosition, Listing, Page, ShardIterator, Stream, StreamError, StreamErrorKind};
use crate::sequence_number::SequenceNumber;
use crate::shard::{Shard, ShardId};

/// The most records that DynamoDB returns.
const MAX_LIMIT: usize = 1000;
/// For this long after a description, a missing shard is gone. After that, the stream itself may be missing.
const DESCRIPTION_AGE: Duration = Duration::from_secs(60);

/// A stream of a DynamoDB table. Its records are those of AWS's client.
#[derive(Debug)]
pub struct DynamoDbStream {
    client: Client,
    arn: String,
    described: Mutex<Option<Instant>>,
}

impl DynamoDbStream {
    /// Uses the configuration of `client` without its retries, because the reader retries.
    pub fn new(client: &Client, arn: impl Into<String>) -> DynamoDbStream {
        let config = client.config().to_builder().retry_config(RetryConfig::disabled()).build();
        DynamoDbStream { client: Client::from_conf(config), arn: arn.into(), described: Mutex::new(None) }
    }

    /// Opens the current stream of a table. A table gets another one when its stream is disabled and enabled again.
    pub async fn of_table(
        client: &Client,
        tables: &aws_sdk_dynamodb::Client,
        table: &str,
    ) -> Result<DynamoDbStream, BoxError> {
        let described = tables.describe_table().table_name(table).send().await?;
        let arn = described.table.and_then(|table| table.latest_stream_arn);
        let arn = arn.ok_or_else(|| format!("the table {table} has no stream: enable it with both images"))?;
        Ok(DynamoDbStream::new(client, arn))
    }

    /// Returns the keys of this stream's rows in the lease table: the name of the application, the name of the table and the
    /// label of the stream. Instances of one application share the shards.
    pub fn lease_keys(&self, application: &str) -> LeaseKeys {
        LeaseKeys::new(application, &name(&self.arn))
    }

    async fn description(&self, request: DescribeStreamFluentBuilder) -> Result<StreamDescription, StreamError> {
        let response = request.stream_arn(&self.arn).send().await;
        let response = response.map_err(|error| stream_error(&error, Request::Describe))?;
        let description = response.stream_description;
        let description = description.ok_or_else(|| incomplete("DescribeStream returned no description"))?;
        *self.described.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(description)
    }

    /// Decides whether the shard is gone or the whole stream is missing. The reader finishes a shard that is gone. A missing
    /// stream may be the mistake of one instance, e.g. a wrong endpoint, so the leases of its shards must stay.
    async fn confirm(&self, error: StreamError) -> StreamError {
        if error.kind != StreamErrorKind::NotFound || self.is_described() {
            return error;
        }
        match self.description(self.client.describe_stream().limit(1)).await {
            Ok(_) => error,
            Err(missing) if missing.kind == StreamErrorKind::NotFound => {
                StreamError::new(StreamErrorKind::Unavailable, format!("the stream does not exist: {}", missing.source))
            }
            Err(other) => other,
        }
    }

    fn is_described(&self) -> bool {
        let described = *self.described.lock().unwrap_or_else(PoisonError::into_inner);
        described.is_some_and(|time| time.elapsed() < DESCRIPTION_AGE)
    }
}

impl Stream for DynamoDbStream {
    type Data = AwsRecord;

    async fn describe(&self, after: Option<&ShardId>) -> Result<Listing, StreamError> {
        let after = after.map(|id| id.as_str().to_owned());
        let description = self.description(self.client.describe_stream().set_exclusive_start_shard_id(after)).await?;
        Ok(Listing {
            shards: description.shards().iter().filter_map(shard).collect(),
            next: description.last_evaluated_shard_id().map(ShardId::new),
            is_enabled: !matches!(description.stream_status(), Some(StreamStatus::Disabled | StreamStatus::Disabling)),
        })
    }

    /// A server that ignores the filter returns the first page of all shards.
    async fn children(&self, parent: &ShardId) -> Result<Vec<Shard>, StreamError> {
        let filter = ShardFilter::builder().r#type(ShardFilterType::ChildShards).shard_id(parent.as_str()).build();
        let description = self.description(self.client.describe_stream().shard_filter(filter)).await?;
        Ok(children_of(description.shards(), parent))
    }

    async fn iterator(&self, shard: &ShardId, position: &IteratorPosition) -> Result<ShardIterator, StreamError> {
        let (kind, number) = match position {
            IteratorPosition::TrimHorizon => (ShardIteratorType::TrimHorizon, None),
            IteratorPosition::At(number) => (ShardIteratorType::AtSequenceNumber, Some(number)),
            IteratorPosition::After(number) => (ShardIteratorType::AfterSequenceNumber, Some(number)),
        };
        let request = self.client.get_shard_iterator().stream_arn(&self.arn).shard_id(shard.as_str());
        let request = request.shard_iterator_type(kind).set_sequence_number(number.map(ToString::to_string));
        match request.send().await {
            Ok(response) => match response.shard_iterator {
                Some(iterator) => Ok(ShardIterator(iterator)),
                None => Err(incomplete("GetShardIterator returned no iterator")),
            },
            Err(error) => Err(self.confirm(stream_error(&error, Request::Iterator)).await),
        }
    }

    async fn read(
        &self,
        shard: &ShardId,
        iterator: &ShardIterator,
        limit: usize,
    ) -> Result<Page<AwsRecord>, StreamError> {
        let limit = limit.clamp(1, MAX_LIMIT) as i32;
        match self.client.get_records().shard_iterator(&iterator.0).limit(limit).send().await {
            Ok(response) => {
                let (read_at, data) = (Instant::now(), response.records.unwrap_or_default());
                let mut records = Vec::with_capacity(data.len());
                for data in data {
                    let Some(record) = record(shard, read_at, data) else {
                        return Err(incomplete("a record has no sequence number"));
                    };
                    records.push(record);
                }
                Ok(Page { records, next: response.next_shard_iterator.map(ShardIterator) })
            }
            Err(error) => Err(self.confirm(stream_error(&error, Request::Records)).await),
        }
    }
}

/// Returns the name of the table and the label of the stream.
fn name(arn: &str) -> String {
    let name = arn.split_once(":table/").map_or(arn, |(_, name)| name);
    name.replacen("/stream/", "/", 1)
}

fn children_of(shards: &[AwsShard], parent: &ShardId) -> Vec<Shard> {
    shards.iter().filter_map(shard).filter(|shard| shard.parent.as_ref() == Some(parent)).collect()
}

fn incomplete(what: &'static str) -> StreamError {
    StreamError::new(StreamErrorKind::Unavailable, what)
}

fn shard(shard: &AwsShard) -> Option<Shard> {
    let start = shard.sequence_number_range().and_then(|range| range.starting_sequence_number());
    Some(Shard {
        id: ShardId::new(shard.shard_id()?),
        parent: shard.parent_shard_id().map(ShardId::new),
        starting_sequence_number: start.map(SequenceNumber::new),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodbstreams::types::SequenceNumberRange;

    use super::*;

    #[test]
    fn a_stream_is_named_after_its_table_and_its_label() {
        let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/scan-results/stream/2026-11-21T20:00:00.000";
        assert_eq!(name(arn), "scan-results/2026-11-21T20:00:00.000");
        assert_eq!(name("another notation"), "another notation");
    }

    #[test]
    fn only_children_count_if_the_server_ignores_the_filter() {
        let shard = |id: &str, parent: Option<&str>| {
            let range = SequenceNumberRange::builder().starting_sequence_number("7").build();
            let shard = AwsShard::builder().shard_id(id).sequence_number_range(range);
            shard.set_parent_shard_id(parent.map(str::to_owned)).build()
        };
        let listed = [shard("p", None), shard("a", Some("p")), shard("b", Some("p")), shard("c", Some("a"))];

        let children = children_of(&listed, &ShardId::new("p"));

        let ids: Vec<_> = children.iter().map(|child| child.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(children[0].starting_sequence_number, Some(SequenceNumber::new("7")));
        assert_eq!(children_of(&listed, &ShardId::new("c")), []);
    }
}
