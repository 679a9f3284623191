//! This library's workers without the AWS SDK.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use mini_scan::consumer::ports::{Answer, Attempt, Fit, Ports, Statement, Store, StoreError};
use mini_scan::consumer::settings::{Settings, WriteMode};
use mini_scan::consumer::{Keys, Process, Thread};
use mini_scan::observe::Metrics;
use mini_scan::pubsub::{Activity, Connection, StreamReceipt, StreamSettings, StreamSource, TopicDeadLetters};
use mini_scan::scan::{Rejection, Scan};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::{DAY, OUTSTANDING, STREAMS, on_threads, stream_limit, threads};
use crate::bare_loop::IN_FLIGHT;
use crate::record::{SUBSCRIPTION, TABLE};

/// A store that returns `Stored` immediately.
struct Immediate;

impl Store for Immediate {
    fn measure(&self, scan: &Scan) -> Result<usize, Rejection> {
        Ok(scan.response.len())
    }

    async fn put(&self, _: &Scan) -> Attempt {
        Ok(Answer::Stored)
    }

    async fn batch(&self, statements: &[Statement]) -> Result<Vec<Option<Attempt>>, StoreError> {
        Ok(statements.iter().map(|_| Some(Ok(Answer::Stored))).collect())
    }

    async fn describe(&self) -> Result<Fit, StoreError> {
        Ok(Fit::Fits)
    }
}

struct WorkerPorts;

impl Ports for WorkerPorts {
    type Source = StreamSource;
    type Store = Immediate;
    type DeadLetters = TopicDeadLetters;
}

/// Runs the workers, until the process is killed.
pub(super) fn run(host: &str) -> anyhow::Result<()> {
    let n = |value| NonZeroUsize::new(value).context("a bound is not 0");
    let settings = Settings {
        consumers: n(STREAMS)?,
        threads: n(threads())?,
        max_outstanding: n(OUTSTANDING)?,
        max_outstanding_bytes: 256 << 20,
        max_writes: n(IN_FLIGHT * threads())?,
        max_future_skew: DAY,
        ttl: None,
        max_retry_time: Duration::from_secs(1800),
        cache_entries: 100_000,
        cache_max_age: Duration::from_secs(600),
        shutdown_grace: Duration::ZERO,
        subscription: SUBSCRIPTION.to_owned(),
        table: TABLE.to_owned(),
        write_mode: WriteMode::Put,
    };
    let process = Arc::new(Process::new(settings, Arc::<Metrics>::default()));
    let keys: Keys<StreamReceipt> = Keys::new(&process.settings);
    let activity = Arc::new(Activity::new(Instant::now()));
    on_threads(|number| {
        let (process, keys, activity) = (&process, &keys, &activity);
        async move {
            let thread = &Thread::<WorkerPorts>::new(number, process, keys, Immediate, None);
            let workers = (number..STREAMS).step_by(threads()).map(|worker| async move {
                let (health, observer) = (process.health.clone(), process.observer.clone());
                let connection = Connection::new(Some(host));
                let source = StreamSource::open(connection, stream()?, health, observer, worker, activity.clone());
                let random = StdRng::from_os_rng();
                Ok(mini_scan::consumer::run(thread, source, random).await?)
            });
            join_all(workers).await.into_iter().collect()
        }
    })
}

fn stream() -> anyhow::Result<StreamSettings> {
    Ok(StreamSettings {
        subscription: SUBSCRIPTION.to_owned(),
        max_messages: i64::try_from(stream_limit())?,
        max_bytes: i64::try_from((256 << 20) / STREAMS)?,
        max_lease_extension: Duration::from_secs(20),
        max_retry_time: Duration::from_secs(1800),
        max_idle: Duration::from_secs(60),
    })
}
