//! The bare loops: the SDK with its defaults, and the consumer's conditional writes, one per call or 25.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, ReturnValuesOnConditionCheckFailure};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::{on_threads, threads};
use crate::bare_loop::{BareLoop, Calls, InFlight, MEASURED_FROM, MEASURED_TO, Report, Timestamps};
use crate::record::{NEWER, OLDER, TABLE, address};
use crate::usage::{Usage, usage};

/// Statements per call: DynamoDB's maximum.
const STATEMENTS: usize = 25;

/// The values of a record, its key first.
pub(super) type Record = [AttributeValue; 7];

/// The names of these values.
const NAMES: [&str; 7] = ["pk", "ip", "port", "service", "timestamp", "response", "data_version"];

const UPDATE: &str = concat!(
    r#"UPDATE "scan-results" SET "ip"=? SET "port"=? SET "service"=? SET "timestamp"=? SET "response"=? "#,
    r#"SET "data_version"=? REMOVE "response_bytes" REMOVE "expires_at" WHERE "pk"=? AND "timestamp"<?"#,
);
const INSERT: &str = concat!(
    r#"INSERT INTO "scan-results" VALUE {'pk':?,'ip':?,'port':?,'service':?,'timestamp':?,'response':?,"#,
    r#"'data_version':?}"#,
);

/// Writes records, and prints the resources that this process used since its start.
pub(super) fn run(endpoint: &str, bare_loop: BareLoop) -> anyhow::Result<()> {
    let progress = Progress::new(bare_loop.count);
    let from = |number| bare_loop.count * number / threads();
    on_threads(|number| write(endpoint, bare_loop, from(number)..from(number + 1), &progress))?;
    let Usage { cpu_seconds, system_seconds, peak_mb, .. } = usage("self")?;
    let (per_second, stale) = (progress.per_second()?, progress.stale.into_inner());
    println!("{}", serde_json::to_string(&Report { per_second, cpu_seconds, system_seconds, peak_mb, stale })?);
    Ok(())
}

/// The responses of all threads.
struct Progress {
    count: usize,
    answered: AtomicUsize,
    stale: AtomicUsize,
    /// The moments at which the measured part began and ended, with the number of responses.
    measured: Mutex<[Option<(Instant, usize)>; 2]>,
}

impl Progress {
    fn new(count: usize) -> Progress {
        Progress { count, answered: AtomicUsize::new(0), stale: AtomicUsize::new(0), measured: Mutex::default() }
    }

    fn add(&self, answered: usize, stale: usize) {
        self.stale.fetch_add(stale, Ordering::Relaxed);
        let after = self.answered.fetch_add(answered, Ordering::Relaxed) + answered;
        for (number, share) in [MEASURED_FROM, MEASURED_TO].into_iter().enumerate() {
            let reached = share * self.count as f64;
            if after as f64 >= reached && ((after - answered) as f64) < reached {
                self.moments()[number] = Some((Instant::now(), after));
            }
        }
    }

    fn per_second(&self) -> anyhow::Result<f64> {
        let [from, to] = *self.moments();
        let ((from, before), (to, after)) = from.zip(to).context("too few writes")?;
        Ok((after - before) as f64 / to.duration_since(from).as_secs_f64())
    }

    fn moments(&self) -> MutexGuard<'_, [Option<(Instant, usize)>; 2]> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(endpoint: &str, bare_loop: BareLoop, keys: Range<usize>, progress: &Progress) -> anyhow::Result<()> {
    let writer = &Writer { client: client(endpoint).await, bare_loop, response: "x".repeat(bare_loop.response_bytes) };
    let in_flight = match bare_loop.in_flight {
        InFlight::PerThread(calls) => calls,
        InFlight::Total(calls) => calls.div_ceil(threads()),
    };
    match bare_loop.calls {
        Calls::Put => {
            let calls = keys.map(|key| async move {
                let result = put(&writer.client, writer.record(key), writer.timestamp(key)).await?;
                progress.add(1, usize::from(result != Put::Stored));
                anyhow::Ok(())
            });
            stream::iter(calls).buffer_unordered(in_flight).try_collect().await
        }
        Calls::Update | Calls::Insert => {
            let starts = keys.clone().step_by(STATEMENTS);
            let calls = starts.map(|start| async move {
                let keys = start..(start + STATEMENTS).min(keys.end);
                let written = keys.len();
                writer.batch(keys).await?;
                progress.add(written, 0);
                anyhow::Ok(())
            });
            stream::iter(calls).buffer_unordered(in_flight).try_collect().await
        }
    }
}

pub(super) async fn client(endpoint: &str) -> Client {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .load()
        .await;
    Client::new(&config)
}

/// The result of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Stored,
    /// The existing record has this timestamp.
    Stale(u64),
}

/// Writes a record with the consumer's request.
pub(super) async fn put(client: &Client, record: Record, timestamp: u64) -> anyhow::Result<Put> {
    let mut request = client.put_item().table_name(TABLE);
    for (name, value) in NAMES.into_iter().zip(record) {
        request = request.item(name, value);
    }
    let sent = request
        .condition_expression("attribute_not_exists(pk) OR #ts < :ts")
        .expression_attribute_names("#ts", "timestamp")
        .expression_attribute_values(":ts", AttributeValue::N(timestamp.to_string()))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await;
    match sent.map_err(SdkError::into_service_error) {
        Ok(_) => Ok(Put::Stored),
        Err(PutItemError::ConditionalCheckFailedException(failed)) => {
            let stored = failed.item().and_then(|item| item.get("timestamp")?.as_n().ok()?.parse().ok());
            Ok(Put::Stale(stored.context("the response contains no timestamp")?))
        }
        Err(error) => Err(error.into()),
    }
}

/// The writes of one thread.
struct Writer {
    client: Client,
    bare_loop: BareLoop,
    /// The response of every record. The consumer does not compose responses either: they come with its messages.
    response: String,
}

impl Writer {
    async fn batch(&self, keys: Range<usize>) -> anyhow::Result<()> {
        let statements = keys.map(|key| self.statement(key)).collect::<Result<_, _>>()?;
        let answer = self.client.batch_execute_statement().set_statements(Some(statements)).send().await?;
        let responses = answer.responses.context("the response to a batch has no responses to its statements")?;
        ensure!(responses.iter().all(|response| response.error.is_none()), "a statement failed: {responses:?}");
        Ok(())
    }

    fn timestamp(&self, key: usize) -> u64 {
        match self.bare_loop.timestamps {
            Timestamps::Newer => NEWER,
            Timestamps::Older => OLDER,
            Timestamps::Alternating => [NEWER, OLDER][key % 2],
        }
    }

    fn record(&self, key: usize) -> Record {
        let text = AttributeValue::S;
        let (ip, port) = (address(key).to_string(), key % 65_535);
        [
            text(format!("{ip}#{port}#HTTP")),
            text(ip),
            AttributeValue::N(port.to_string()),
            text("HTTP".to_owned()),
            AttributeValue::N(self.timestamp(key).to_string()),
            text(self.response.clone()),
            AttributeValue::N("2".to_owned()),
        ]
    }

    /// Returns the consumer's statement.
    fn statement(&self, key: usize) -> anyhow::Result<BatchStatementRequest> {
        let mut parameters = self.record(key).to_vec();
        let text = if self.bare_loop.calls == Calls::Insert {
            INSERT
        } else {
            parameters.rotate_left(1);
            parameters.push(AttributeValue::N(self.timestamp(key).to_string()));
            UPDATE
        };
        Ok(BatchStatementRequest::builder()
            .statement(text)
            .set_parameters(Some(parameters))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?)
    }
}
