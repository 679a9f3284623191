//! The two programs: a bare loop of GetRecords, and the reader with a handler that does nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use aws_sdk_dynamodbstreams::types::{Record as Change, ShardIteratorType};
use dynamodb_streams::{
    BoxError, DeadRecord, DynamoDbLeaseTable, DynamoDbStream, Handler, Observer, Outcome, Reader, Record, Report,
    Settings, Stream,
};
use futures_util::future::try_join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Sample;
use crate::server::STREAM;
use crate::usage::usage;

/// Runs a program on one thread.
pub(crate) fn run<T>(program: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(program)
}

pub(crate) async fn bare(endpoint: &str) -> anyhow::Result<Sample> {
    let client = streams_client(endpoint);
    let described = client.describe_stream().stream_arn(STREAM).send().await?;
    let description = described.stream_description().context("no description")?;
    let before = usage("self")?.cpu_seconds;
    let loops = description.shards().iter().map(|shard| read(&client, shard.shard_id().unwrap_or_default()));
    sample(try_join_all(loops).await?.into_iter().sum(), before)
}

async fn read(client: &aws_sdk_dynamodbstreams::Client, shard: &str) -> anyhow::Result<usize> {
    let position = client.get_shard_iterator().stream_arn(STREAM).shard_id(shard);
    let position = position.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await?;
    let (mut iterator, mut records) = (position.shard_iterator, 0);
    while iterator.is_some() {
        let page = client.get_records().set_shard_iterator(iterator).limit(1000).send().await?;
        records += page.records().len();
        iterator = page.next_shard_iterator;
    }
    Ok(records)
}

pub(crate) async fn reader(streams: &str, leases: &str) -> anyhow::Result<Sample> {
    let stream = DynamoDbStream::new(&streams_client(streams), STREAM);
    let table = DynamoDbLeaseTable::new(&tables_client(leases), format!("leases-{}", std::process::id()));
    table.create_if_missing().await?;
    let shards = stream.describe(None).await?.shards.len();
    let counted = Counted::until_shards(shards);
    let (observer, keys) = (Arc::new(counted.clone()), stream.lease_keys("bench"));
    let before = usage("self")?.cpu_seconds;
    let reader = Reader::new("bench", stream, table, keys, counted.clone(), observer, Settings::default())?;
    reader.run(counted.finished.clone().cancelled_owned()).await;
    sample(counted.records.load(Ordering::Relaxed), before)
}

fn sample(records: usize, cpu_seconds_before: f64) -> anyhow::Result<Sample> {
    let usage = usage("self")?;
    Ok(Sample { records, cpu_seconds: usage.cpu_seconds - cpu_seconds_before, peak_mb: usage.peak_mb })
}

/// A handler that does nothing but count, and an observer of the end.
#[derive(Clone)]
pub(crate) struct Counted {
    pub(crate) records: Arc<AtomicUsize>,
    expected: usize,
    unfinished_shards: Arc<AtomicUsize>,
    pub(crate) finished: CancellationToken,
    /// When the first and the last expected record were handled.
    began: Arc<OnceLock<Instant>>,
    ended: Arc<OnceLock<Instant>>,
}

impl Counted {
    /// Finishes when this many shards are read to their end.
    fn until_shards(shards: usize) -> Counted {
        Counted {
            records: Arc::default(),
            expected: usize::MAX,
            unfinished_shards: Arc::new(AtomicUsize::new(shards)),
            finished: CancellationToken::new(),
            began: Arc::default(),
            ended: Arc::default(),
        }
    }

    /// Finishes after this many records.
    pub(crate) fn until_records(records: usize) -> Counted {
        Counted { expected: records, ..Counted::until_shards(usize::MAX) }
    }

    /// Returns the time between the first and the last record, once all are handled.
    pub(crate) fn seconds(&self) -> Option<f64> {
        Some(self.ended.get()?.duration_since(*self.began.get()?).as_secs_f64())
    }
}

impl Handler<Change> for Counted {
    async fn handle(&self, _: &Record<Change>, _: u32) -> Outcome {
        let number = self.records.fetch_add(1, Ordering::Relaxed) + 1;
        if number == 1 {
            self.began.get_or_init(Instant::now);
        }
        if number == self.expected {
            self.ended.get_or_init(Instant::now);
            self.finished.cancel();
        }
        Outcome::Done
    }

    async fn store_dead(&self, dead: DeadRecord<'_, Change>) -> Result<(), BoxError> {
        Err(format!("no record fails, but {} did", dead.record.sequence_number).into())
    }
}

impl Observer for Counted {
    fn report(&self, report: &Report<'_>) {
        if matches!(report, Report::ShardFinished { .. }) && self.unfinished_shards.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.finished.cancel();
        }
        if matches!(report, Report::StreamFailed { .. } | Report::LeaseTableFailed { .. } | Report::Gap(_)) {
            eprintln!("{report:?}");
        }
    }
}

pub(crate) fn streams_client(endpoint: &str) -> aws_sdk_dynamodbstreams::Client {
    use aws_sdk_dynamodbstreams::config::{BehaviorVersion, Credentials, Region};
    let config = aws_sdk_dynamodbstreams::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "bench"));
    aws_sdk_dynamodbstreams::Client::from_conf(config.build())
}

pub(crate) fn tables_client(endpoint: &str) -> aws_sdk_dynamodb::Client {
    use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "bench"));
    aws_sdk_dynamodb::Client::from_conf(config.build())
}
