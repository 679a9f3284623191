//! One measurement of one scenario.

mod memory;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep, timeout};

use crate::child::Measured;
use crate::floor::Written;
use crate::load::Load;
use crate::null_dynamo::Asked;
use crate::scenario::{Calls, Measure, Program, Scenario, Table};
use crate::stage::{Pubsub, Store, command, floor};

/// What was found, by the name of the figure.
pub(crate) type Sample = BTreeMap<Figure, f64>;

/// In the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// CPU beside that of the bare loop, a message.
    CpuRatio,
    /// Messages a second beside those of the bare loop.
    RateRatio,
    CpuMicroseconds,
    /// Of these, in the kernel.
    SystemMicroseconds,
    MessagesASecond,
    /// Messages a second beside those of another row.
    RateBeside,
    WritesAMessage,
    WritesAKey,
    UnitsAMessage,
    /// Bytes to the table, a message.
    BytesTo,
    /// Bytes from the table, a message.
    BytesFrom,
    /// Resident with as many messages as the consumer may hold.
    HeldMb,
    PeakMb,
    /// Resident after the last message, when it has stopped to fall.
    AfterMb,
    /// Bytes of memory of a message that is outstanding.
    OutstandingBytes,
    /// Bytes of memory of a message that is read ahead.
    ReadAheadBytes,
    StartMilliseconds,
    /// Of one core.
    IdlePercent,
    FileMb,
    /// Instructions of decoding a text, beside serde_json alone.
    DecodeTextRatio,
    /// The same of base64, which serde_json leaves as it is.
    DecodeBase64Ratio,
    DecodeAllocations,
}

/// Far more than any measurement takes.
const WITHIN: Duration = Duration::from_secs(180);
/// How much of the messages is settled when the rate begins and ends to count: start and last flush are left out.
const RATE_FROM: f64 = 0.2;
const RATE_TO: f64 = 0.9;
/// Connections are made and first timers have run.
const STARTED: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(2);

/// `consumer` is the file of the consumer.
pub(crate) async fn measure(scenario: &Scenario, consumer: &Path) -> anyhow::Result<Sample> {
    match scenario.measure {
        Measure::Writes { calls, count, table } => writes(calls, count, table).await,
        Measure::Drain { program, load, count, table } => drain(program, consumer, load, count, table).await,
        Measure::Known { count } => known(consumer, count).await,
        Measure::Hold { outstanding } => memory::hold(consumer, outstanding).await,
        Measure::Start => start(consumer).await,
        Measure::Idle { lasts } => idle(consumer, lasts).await,
        Measure::Size => Ok(Sample::from([(Figure::FileMb, std::fs::metadata(consumer)?.len() as f64 / 1e6)])),
    }
}

async fn writes(calls: Calls, count: usize, table: Table) -> anyhow::Result<Sample> {
    let store = Store::start(table, &[]).await?;
    let name = match calls {
        Calls::Put => "writes",
        Calls::Batch => "batches",
    };
    let mut command = floor(&[name, &store.endpoint(), &count.to_string()])?;
    // This thread may wait: the store has one of its own.
    let output = command.output().context("cannot start the bare loop")?;
    ensure!(output.status.success(), "the bare loop failed: {}", String::from_utf8_lossy(&output.stderr));
    let written: Written = serde_json::from_slice(&output.stdout)?;
    let messages = count as f64;
    let mut sample = Sample::from([
        (Figure::CpuMicroseconds, written.cpu_seconds * 1e6 / messages),
        (Figure::SystemMicroseconds, written.system_seconds * 1e6 / messages),
        (Figure::MessagesASecond, messages / written.seconds),
        (Figure::PeakMb, written.peak_mb),
    ]);
    if let Some(null) = store.null() {
        sample.extend(traffic(null.asked(), Asked::default(), count));
    }
    Ok(sample)
}

/// What was asked of the table between two moments, a message.
fn traffic(after: Asked, before: Asked, count: usize) -> [(Figure, f64); 3] {
    let each = |after: u64, before: u64| (after - before) as f64 / count as f64;
    [
        (Figure::UnitsAMessage, each(after.units, before.units)),
        (Figure::BytesTo, each(after.received, before.received)),
        (Figure::BytesFrom, each(after.sent, before.sent)),
    ]
}

async fn drain(program: Program, consumer: &Path, load: Load, count: usize, table: Table) -> anyhow::Result<Sample> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(table, &load.known_keys(count)).await?);
    pubsub.publish(load.messages(count, 0)).await?;
    let mut child = Measured::start(&mut command(program, consumer, &pubsub, &store)?)?;
    pubsub.until(WITHIN, |counts| counts.delivered > 0).await?;
    let run = Run { pubsub: &pubsub, store: &store, count, keys: load.keys(count), held: load.held() };
    run.to_its_end(&mut child).await
}

async fn known(consumer: &Path, count: usize) -> anyhow::Result<Sample> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(Default::default()), &[]).await?);
    let mut child = Measured::start(&mut command(Program::Consumer(&[]), consumer, &pubsub, &store)?)?;
    pubsub.publish(Load::New.messages(count, 0)).await?;
    pubsub.until(WITHIN, |counts| counts.backlog() == 0).await?;
    let run = Run { pubsub: &pubsub, store: &store, count, keys: count, held: 0 };
    let (publish, sample) =
        tokio::join!(pubsub.publish(Load::New.messages(count, 1)), async { run.to_its_end(&mut child).await });
    publish?;
    sample
}

/// Messages that wait in the subscription, and what they are to become.
struct Run<'a> {
    pubsub: &'a Pubsub,
    store: &'a Store,
    count: usize,
    keys: usize,
    held: usize,
}

impl Run<'_> {
    /// What `child` takes for them from now on.
    async fn to_its_end(&self, child: &mut Measured) -> anyhow::Result<Sample> {
        let asked = || self.store.null().map(|null| null.asked());
        let asked_before = asked();
        let before = child.usage()?;
        let rate = self.settle().await.with_context(|| format!("{:?}", self.pubsub.counts()))?;
        let after = child.usage()?;
        let count = self.count as f64;
        let mut sample = Sample::from([
            (Figure::CpuMicroseconds, (after.cpu_seconds - before.cpu_seconds) * 1e6 / count),
            (Figure::SystemMicroseconds, (after.system_seconds - before.system_seconds) * 1e6 / count),
            (Figure::MessagesASecond, rate),
            (Figure::PeakMb, after.peak_mb),
        ]);
        if let (Some(before), Some(after)) = (asked_before, asked())
            && after.writes > before.writes
        {
            let writes = (after.writes - before.writes) as f64;
            sample.insert(Figure::WritesAMessage, writes / count);
            sample.insert(Figure::WritesAKey, writes / self.keys as f64);
            sample.extend(traffic(after, before, self.count));
        }
        Ok(sample)
    }

    /// Waits for the last settlement; messages a second in between.
    async fn settle(&self) -> anyhow::Result<f64> {
        let settled_before = self.pubsub.counts()?.acknowledged;
        let (mut first, mut last) = (None, None);
        let wait = async {
            loop {
                let acknowledged = self.pubsub.counts()?.acknowledged - settled_before;
                let share = acknowledged as f64 / self.count as f64;
                let now = (Instant::now(), acknowledged);
                if share >= RATE_FROM {
                    first.get_or_insert(now);
                }
                if share >= RATE_TO {
                    last.get_or_insert(now);
                }
                if acknowledged >= self.count as u64 {
                    return anyhow::Ok(());
                }
                sleep(EVERY).await;
            }
        };
        timeout(WITHIN, wait).await.context("the subscription was not drained")??;
        ensure!(self.pubsub.counts()?.backlog() == self.held, "what should be held is not");
        let ((from, settled_from), (to, settled_to)) = first.zip(last).context("nothing was settled")?;
        Ok((settled_to - settled_from) as f64 / to.duration_since(from).as_secs_f64().max(EVERY.as_secs_f64()))
    }
}

async fn start(consumer: &Path) -> anyhow::Result<Sample> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(Default::default()), &[]).await?);
    pubsub.publish(Load::New.messages(1_000, 0)).await?;
    let from = Instant::now();
    let _child = Measured::start(&mut command(Program::Consumer(&[]), consumer, &pubsub, &store)?)?;
    pubsub.until(WITHIN, |counts| counts.acknowledged > 0).await?;
    let first = store.null().and_then(|null| null.first_write()).context("acknowledged without a write")?;
    Ok(Sample::from([(Figure::StartMilliseconds, first.duration_since(from).as_secs_f64() * 1e3)]))
}

async fn idle(consumer: &Path, lasts: Duration) -> anyhow::Result<Sample> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(Default::default()), &[]).await?);
    let mut child = Measured::start(&mut command(Program::Consumer(&[]), consumer, &pubsub, &store)?)?;
    pubsub.until(WITHIN, |counts| counts.streams == 10).await?;
    sleep(STARTED).await;
    let before = child.usage()?;
    sleep(lasts).await;
    let after = child.usage()?;
    let cpu = (after.cpu_seconds - before.cpu_seconds) / lasts.as_secs_f64();
    Ok(Sample::from([(Figure::IdlePercent, cpu * 100.0), (Figure::PeakMb, after.peak_mb)]))
}
