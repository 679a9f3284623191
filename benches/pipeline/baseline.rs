//! The baselines. Each runs alone in a separate process: this binary with `baseline` as its first argument. It has as many
//! threads as the consumer, each with a current-thread runtime and its own clients.

mod writes;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use futures_util::future::{join_all, try_join_all};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::Subscriber;
use mini_scan::consumer::ports::{Answer, Ports, Put, Statement, Store, StoreError};
use mini_scan::consumer::settings::{Settings, WriteMode, stream_messages};
use mini_scan::consumer::{Keys, Process};
use mini_scan::observe::Metrics;
use mini_scan::pubsub::{Activity, Connection, StreamReceipt, StreamSettings, StreamSource, TopicDeadLetters};
use mini_scan::scan::{Rejection, Scan, decode};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use self::writes::Each;
pub(crate) use self::writes::Written;
use crate::stage::{SUBSCRIPTION, TABLE};

/// Writes in flight per thread of a bare loop, equal to the consumer's.
const IN_FLIGHT: usize = 64;
const STREAMS: usize = 10;
const OUTSTANDING: usize = 1_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs the baseline that the arguments name.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["writes", endpoint, count] => writes::run(endpoint, count.parse()?, Each::Put),
        ["batches", endpoint, count] => writes::run(endpoint, count.parse()?, Each::Batch),
        ["worker", host] => worker(host),
        ["reader", host] => on_threads(|_| reader(host.to_owned())),
        _ => bail!("no such baseline: {arguments:?}"),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(STREAMS)
}

fn on_threads<W>(work: impl Fn(usize) -> W + Sync) -> anyhow::Result<()>
where
    W: Future<Output = anyhow::Result<()>>,
{
    let run = |number| -> anyhow::Result<()> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work(number))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads()).map(|number| scope.spawn(move || run(number))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a baseline panicked")))
    })
}

/// Decodes and acknowledges every message, until the process is killed.
async fn reader(host: String) -> anyhow::Result<()> {
    let streams = (0..STREAMS / threads()).map(|_| async {
        let credentials = anonymous::Builder::new().build();
        let subscriber = Subscriber::builder().with_endpoint(format!("http://{host}")).with_credentials(credentials);
        let limit = i64::try_from(stream_limit())?;
        let mut messages =
            subscriber.build().await?.subscribe(SUBSCRIPTION).set_max_outstanding_messages(limit).build();
        while let Some(next) = messages.next().await {
            let (message, handler) = next?;
            let scan = decode(&message.data, SystemTime::UNIX_EPOCH + 10_000 * DAY, 365_000 * DAY);
            std::hint::black_box(&scan);
            handler.ack();
        }
        anyhow::Ok(())
    });
    try_join_all(streams).await.map(drop)
}

fn stream_limit() -> usize {
    let n = |value| NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN);
    stream_messages(n(OUTSTANDING), n(STREAMS))
}

/// A store that returns `Stored` immediately.
struct Immediate;

impl Store for Immediate {
    fn measure(&self, scan: &Scan) -> Result<usize, Rejection> {
        Ok(scan.response.len())
    }

    async fn put(&self, _: &Scan) -> Result<Put, StoreError> {
        Ok(Put::Stored)
    }

    async fn batch(&self, statements: &[Statement]) -> Result<Vec<Answer>, StoreError> {
        Ok(statements.iter().map(|_| Answer::Put(Put::Stored)).collect())
    }
}

struct WorkerPorts;

impl Ports for WorkerPorts {
    type Source = StreamSource;
    type Store = Immediate;
    type DeadLetters = TopicDeadLetters;
}

/// Runs the library's workers, until the process is killed.
fn worker(host: &str) -> anyhow::Result<()> {
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
            let workers = (number..STREAMS).step_by(threads()).map(|worker| async move {
                let (health, observer) = (process.health.clone(), process.observer.clone());
                let connection = Connection::new(Some(host));
                let source = StreamSource::open(connection, stream()?, health, observer, worker, activity.clone());
                let random = StdRng::from_os_rng();
                Ok(mini_scan::consumer::run::<WorkerPorts>(process, keys, source, &Immediate, None, None, random)
                    .await?)
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
