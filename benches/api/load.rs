//! Reads a host with several workers, and measures it. The benchmark does so over HTTP, and the bare reads in their own
//! process.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::usage::usage;

/// How long the last reads may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// When reads begin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// Each worker begins its next read when it has the answer to the last one.
    Closed,
    /// At fixed times, however long the reads before take.
    Open { per_second: f64 },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) pace: Pace,
    /// The time before the measured one.
    pub(crate) warm_up: Duration,
    pub(crate) lasts: Duration,
}

/// What was measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    /// CPU time of the measured process per read.
    pub(crate) cpu_microseconds: f64,
    /// Percentiles of the latency, from the planned start of a read.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// A worker's way to read the host.
pub(crate) trait Reader: Send + 'static {
    fn read(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Reads with one worker per reader. `process` is the measured process, as in `/proc`.
pub(crate) async fn measure<R: Reader>(load: Load, process: &str, readers: Vec<R>) -> anyhow::Result<Figures> {
    let from = Instant::now() + load.warm_up;
    let measured = from..from + load.lasts;
    let starts = Arc::new(Starts::new(load.pace, measured.end));
    let mut workers = JoinSet::new();
    for reader in readers {
        workers.spawn(work(reader, starts.clone(), measured.clone()));
    }
    sleep_until(measured.start).await;
    let before = usage(process)?.cpu_seconds;
    sleep_until(measured.end).await;
    let cpu_seconds = usage(process)?.cpu_seconds - before;
    let mut latencies = Vec::new();
    let all = async {
        while let Some(worked) = workers.join_next().await {
            latencies.extend(worked??);
        }
        anyhow::Ok(())
    };
    timeout(TIMEOUT, all).await.context("the last reads were not answered")??;
    ensure!(!latencies.is_empty(), "no read began in the measured time");
    latencies.sort();
    let count = latencies.len() as f64;
    Ok(Figures {
        per_second: count / load.lasts.as_secs_f64(),
        cpu_microseconds: cpu_seconds * 1e6 / count,
        p50_ms: percentile(&latencies, 0.5),
        p99_ms: percentile(&latencies, 0.99),
    })
}

/// Reads until there is no further start. Returns the latencies of the reads that began in the measured time.
async fn work(mut reader: impl Reader, starts: Arc<Starts>, measured: Range<Instant>) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    while let Some(start) = starts.next().await {
        reader.read().await?;
        if measured.contains(&start) {
            latencies.push(start.elapsed());
        }
    }
    Ok(latencies)
}

/// Returns a percentile of sorted latencies, in milliseconds.
fn percentile(latencies: &[Duration], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is an index")]
    let index = (share * latencies.len() as f64).ceil() as usize;
    latencies[index.saturating_sub(1)].as_secs_f64() * 1e3
}

/// The starts of reads, which all workers share.
enum Starts {
    AtOnce { until: Instant },
    Planned(Mutex<UnboundedReceiver<Instant>>),
}

impl Starts {
    fn new(pace: Pace, until: Instant) -> Starts {
        match pace {
            Pace::Closed => Starts::AtOnce { until },
            Pace::Open { per_second } => {
                let (sender, receiver) = unbounded_channel();
                let every = Duration::from_secs_f64(1.0 / per_second);
                // Tokio's timers are accurate to a millisecond, which is longer than most reads. The thread ends by itself.
                thread::spawn(move || plan(every, until, &sender));
                Starts::Planned(Mutex::new(receiver))
            }
        }
    }

    async fn next(&self) -> Option<Instant> {
        match self {
            Starts::AtOnce { until } => Some(Instant::now()).filter(|now| now < until),
            Starts::Planned(planned) => planned.lock().await.recv().await,
        }
    }
}

/// Sends each planned start when it is due.
fn plan(every: Duration, until: Instant, starts: &UnboundedSender<Instant>) {
    let mut start = Instant::now();
    while start < until {
        thread::sleep(start.saturating_duration_since(Instant::now()));
        if starts.send(start).is_err() {
            return;
        }
        start += every;
    }
}
