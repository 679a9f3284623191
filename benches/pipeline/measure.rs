//! Measures one scenario once.

mod memory;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep, timeout};

use crate::bare_loop::{BareLoop, MEASURED_FROM, MEASURED_TO, Report, Timestamps};
use crate::child::Measured;
use crate::load::Load;
use crate::null_dynamo::Traffic;
use crate::scenario::{Measure, Program, Scenario, Table};
use crate::stage::{Executables, Pubsub, Store};
use crate::usage::Usage;

/// Measured values by figure.
pub(crate) type Sample = BTreeMap<Figure, f64>;

/// A measured figure. The order is that of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// CPU per message, relative to the bare PutItem loop.
    CpuRatio,
    /// CPU per message, relative to a baseline that makes the same writes.
    CpuOverFloor,
    /// Messages per second, relative to that baseline.
    ThroughputOverFloor,
    CpuMicroseconds,
    /// The part of the CPU time spent in the kernel.
    SystemMicroseconds,
    MessagesPerSecond,
    /// Messages per second, relative to another row.
    RelativeThroughput,
    WritesPerMessage,
    WritesPerKey,
    UnitsPerMessage,
    /// The most connections to the table that were open at the same time.
    Connections,
    /// Bytes to the table, per message.
    BytesTo,
    /// Bytes from the table, per message.
    BytesFrom,
    /// Resident memory while the consumer has as many messages as it may have.
    FullMb,
    PeakMb,
    /// Resident memory after the last message, once it no longer falls.
    AfterMb,
    /// Memory per outstanding message, in bytes.
    OutstandingBytes,
    /// Memory per message that is read ahead, in bytes.
    ReadAheadBytes,
    StartMilliseconds,
    /// CPU use while idle, in percent of one core.
    IdlePercent,
    FileMb,
    /// Instructions to decode a text, relative to serde_json alone.
    DecodeTextRatio,
    /// The same for base64, which serde_json does not decode.
    DecodeBase64Ratio,
    DecodeAllocations,
}

/// A timeout far above the duration of any measurement.
const TIMEOUT: Duration = Duration::from_secs(180);
/// The time in which connections are established and first timers have run.
const WARM_UP: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Measures one scenario.
pub(crate) async fn measure(scenario: &Scenario, executables: &Executables) -> anyhow::Result<Sample> {
    match scenario.measure {
        Measure::Writes { bare_loop, table } => writes(executables, bare_loop, table).await,
        Measure::Drain { program, load, count, table } => drain(executables, program, load, count, table).await,
        Measure::Known { count } => known(executables, count).await,
        Measure::Full { outstanding } => memory::full(executables, outstanding).await,
        Measure::Start => start(executables).await,
        Measure::Idle { lasts } => idle(executables, lasts).await,
        Measure::Size => {
            Ok(Sample::from([(Figure::FileMb, std::fs::metadata(&executables.consumer)?.len() as f64 / 1e6)]))
        }
    }
}

async fn writes(executables: &Executables, bare_loop: BareLoop, table: Table) -> anyhow::Result<Sample> {
    let store = Store::start(table, &[]).await?;
    let mut command = executables.baseline(&["writes", &store.endpoint(), &serde_json::to_string(&bare_loop)?]);
    // Blocking is fine: the store has its own thread.
    let output = command.output().context("cannot start the bare loop; `make baselines` builds it")?;
    ensure!(output.status.success(), "the bare loop failed: {}", String::from_utf8_lossy(&output.stderr));
    let report: Report = serde_json::from_slice(&output.stdout)?;
    let stale = match bare_loop.timestamps {
        Timestamps::Newer => 0,
        Timestamps::Older => bare_loop.count,
        Timestamps::Alternating => bare_loop.count / 2,
    };
    ensure!(report.stale == stale, "{} conditions failed instead of {stale}", report.stale);
    let count = bare_loop.count as f64;
    let mut sample = Sample::from([
        (Figure::CpuMicroseconds, report.cpu_seconds * 1e6 / count),
        (Figure::SystemMicroseconds, report.system_seconds * 1e6 / count),
        (Figure::MessagesPerSecond, report.per_second),
        (Figure::PeakMb, report.peak_mb),
    ]);
    if let Some(null) = store.null() {
        sample.extend(traffic(null.traffic(), Traffic::default(), bare_loop.count));
    }
    Ok(sample)
}

/// Returns the table's traffic between two moments, per message, and its connections.
fn traffic(after: Traffic, before: Traffic, count: usize) -> [(Figure, f64); 4] {
    let each = |after: u64, before: u64| (after - before) as f64 / count as f64;
    [
        (Figure::UnitsPerMessage, each(after.units, before.units)),
        (Figure::BytesTo, each(after.received, before.received)),
        (Figure::BytesFrom, each(after.sent, before.sent)),
        (Figure::Connections, after.connections as f64),
    ]
}

async fn drain(
    executables: &Executables,
    program: Program,
    load: Load,
    count: usize,
    table: Table,
) -> anyhow::Result<Sample> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(table, &load.known_keys(count)).await?);
    pubsub.publish(load.messages(count, 0)).await?;
    let mut child = Measured::start(&mut executables.command(program, &pubsub, &store))?;
    let run = Run { pubsub: &pubsub, store: &store, count, keys: load.keys(count), unanswered: load.unanswered() };
    let sample = run.to_its_end(&mut child, None).await?;
    if let (Some(null), Some(share)) = (store.null(), load.stale_share()) {
        let Traffic { stale, writes, .. } = null.traffic();
        // A write that timed out is counted again.
        let difference = (stale as f64 / (writes as f64).max(1.0) - share).abs();
        ensure!(difference < 0.01, "{stale} conditions of {writes} failed");
    }
    Ok(sample)
}

async fn known(executables: &Executables, count: usize) -> anyhow::Result<Sample> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(Default::default()), &[]).await?);
    let mut child = Measured::start(&mut executables.command(Program::Consumer(&[]), &pubsub, &store))?;
    pubsub.publish(Load::New.messages(count, 0)).await?;
    pubsub.until(TIMEOUT, |counts| counts.backlog() == 0).await?;
    let run = Run { pubsub: &pubsub, store: &store, count, keys: count, unanswered: 0 };
    let before = child.usage()?;
    let (publish, sample) =
        tokio::join!(pubsub.publish(Load::New.messages(count, 1)), run.to_its_end(&mut child, Some(before)));
    publish?;
    sample
}

/// A run over the messages that wait in the subscription, and its expected end.
struct Run<'a> {
    pubsub: &'a Pubsub,
    store: &'a Store,
    count: usize,
    keys: usize,
    unanswered: usize,
}

impl Run<'_> {
    /// Measures the resources that `child` uses for them, from its start or from the moment of `before`.
    async fn to_its_end(&self, child: &mut Measured, before: Option<Usage>) -> anyhow::Result<Sample> {
        let now = || self.store.null().map(|null| null.traffic());
        let traffic_before = if before.is_some() { now() } else { Some(Traffic::default()) };
        let (cpu_before, system_before) =
            before.map_or((0.0, 0.0), |before| (before.cpu_seconds, before.system_seconds));
        let throughput = self.settle().await.with_context(|| format!("{:?}", self.pubsub.counts()))?;
        let after = child.usage()?;
        let count = self.count as f64;
        let mut sample = Sample::from([
            (Figure::CpuMicroseconds, (after.cpu_seconds - cpu_before) * 1e6 / count),
            (Figure::SystemMicroseconds, (after.system_seconds - system_before) * 1e6 / count),
            (Figure::MessagesPerSecond, throughput),
            (Figure::PeakMb, after.peak_mb),
        ]);
        if let (Some(before), Some(after)) = (traffic_before, now())
            && after.writes > before.writes
        {
            let writes = (after.writes - before.writes) as f64;
            sample.insert(Figure::WritesPerMessage, writes / count);
            sample.insert(Figure::WritesPerKey, writes / self.keys as f64);
            sample.extend(traffic(after, before, self.count));
        }
        Ok(sample)
    }

    /// Waits for the last settlement, and returns the throughput in messages per second.
    async fn settle(&self) -> anyhow::Result<f64> {
        let settled_before = self.pubsub.counts()?.acknowledged;
        let (mut first, mut last) = (None, None);
        let wait = async {
            loop {
                let acknowledged = self.pubsub.counts()?.acknowledged - settled_before;
                let share = acknowledged as f64 / self.count as f64;
                let now = (Instant::now(), acknowledged);
                if share >= MEASURED_FROM {
                    first.get_or_insert(now);
                }
                if share >= MEASURED_TO {
                    last.get_or_insert(now);
                }
                if acknowledged >= self.count as u64 {
                    return anyhow::Ok(());
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        timeout(TIMEOUT, wait).await.context("the subscription was not drained")??;
        ensure!(self.pubsub.counts()?.backlog() == self.unanswered, "messages that should be unanswered were settled");
        let ((from, settled_from), (to, settled_to)) = first.zip(last).context("nothing was settled")?;
        Ok((settled_to - settled_from) as f64 / to.duration_since(from).as_secs_f64().max(POLL_INTERVAL.as_secs_f64()))
    }
}

async fn start(executables: &Executables) -> anyhow::Result<Sample> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(Default::default()), &[]).await?);
    pubsub.publish(Load::New.messages(1_000, 0)).await?;
    let from = Instant::now();
    let _child = Measured::start(&mut executables.command(Program::Consumer(&[]), &pubsub, &store))?;
    pubsub.until(TIMEOUT, |counts| counts.acknowledged > 0).await?;
    let first = store.null().and_then(|null| null.first_write()).context("acknowledged without a write")?;
    Ok(Sample::from([(Figure::StartMilliseconds, first.duration_since(from).as_secs_f64() * 1e3)]))
}

async fn idle(executables: &Executables, lasts: Duration) -> anyhow::Result<Sample> {
    let (pubsub, store) = (Pubsub::start().await?, Store::start(Table::Null(Default::default()), &[]).await?);
    let mut child = Measured::start(&mut executables.command(Program::Consumer(&[]), &pubsub, &store))?;
    pubsub.until(TIMEOUT, |counts| counts.streams == 10).await?;
    sleep(WARM_UP).await;
    let before = child.usage()?;
    sleep(lasts).await;
    let after = child.usage()?;
    let cpu = (after.cpu_seconds - before.cpu_seconds) / lasts.as_secs_f64();
    Ok(Sample::from([(Figure::IdlePercent, cpu * 100.0), (Figure::PeakMb, after.peak_mb)]))
}
