//! Posts in a closed loop: each worker begins its next delivery when the last one has its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::receiver::Receiver;
use crate::usage::usage;

/// Workers of each endpoint. The client keeps as many idle connections.
pub(crate) const WORKERS: usize = 4;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Protocol {
    Http,
    Tls,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    /// One per endpoint.
    pub(crate) urls: Vec<String>,
}

impl Load {
    pub(crate) fn of(receiver: &Receiver) -> Load {
        let scheme = if receiver.protocol == Protocol::Tls { "https" } else { "http" };
        Load { urls: receiver.ports.iter().map(|port| format!("{scheme}://127.0.0.1:{port}/hook")).collect() }
    }
}

/// What a program prints at its end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    /// CPU time per delivery.
    pub(crate) cpu_microseconds: f64,
    pub(crate) peak_mb: f64,
}

/// A way to deliver.
pub(crate) trait Poster: Send + Sync + 'static {
    /// Delivers one webhook to this endpoint. `number` differs for each one.
    fn post(&self, endpoint: usize, number: u64) -> impl Future<Output = anyhow::Result<()>> + Send;
}

pub(crate) async fn measure(poster: impl Poster, endpoints: usize) -> anyhow::Result<Figures> {
    let (poster, count) = (Arc::new(poster), Arc::new(AtomicU64::new(0)));
    let start = Instant::now() + WARM_UP;
    let end = start + MEASURED;
    let mut workers = JoinSet::new();
    for worker in 0..endpoints * WORKERS {
        let (poster, count) = (poster.clone(), count.clone());
        workers.spawn(async move {
            while Instant::now() < end {
                poster.post(worker % endpoints, count.fetch_add(1, Ordering::Relaxed)).await?;
            }
            anyhow::Ok(())
        });
    }
    sleep_until(start).await;
    let (began, before) = (count.load(Ordering::Relaxed), usage("self")?.cpu_seconds);
    sleep_until(end).await;
    let (ended, after) = (count.load(Ordering::Relaxed), usage("self")?);
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    // In both, as many deliveries are in flight, so that the difference is what has its answer.
    let count = (ended - began) as f64;
    Ok(Figures {
        per_second: count / MEASURED.as_secs_f64(),
        cpu_microseconds: (after.cpu_seconds - before) * 1e6 / count,
        peak_mb: after.peak_mb,
    })
}
