//! What the benchmarks compare the consumer and the API with. Each baseline runs alone in a process, with as many threads
//! as its counterpart. Those of the consumer have a current-thread runtime and a client per thread.
//!
//! `make baselines` builds this program with the profile, the features and the allocator of the shipped program.

#[path = "baselines/bare_consumer.rs"]
mod bare_consumer;
mod bare_loop;
#[path = "../api/bare_read.rs"]
mod bare_read;
#[path = "../api/load.rs"]
mod load;
#[path = "baselines/reads.rs"]
mod reads;
mod record;
#[allow(dead_code, reason = "only the benchmark samples resident memory")]
mod usage;
#[path = "baselines/worker.rs"]
mod worker;
#[path = "baselines/writes.rs"]
mod writes;

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use futures_util::future::try_join_all;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::subscriber::MessageStream;
use mini_scan::consumer::settings::stream_messages;
use mini_scan::scan::{Rejection, Scan, decode};

use crate::bare_consumer::BareConsumer;
use crate::record::SUBSCRIPTION;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The consumer's defaults.
const STREAMS: usize = 10;
const OUTSTANDING: usize = 1_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn main() -> anyhow::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["writes", endpoint, bare_loop] => writes::run(endpoint, serde_json::from_str(bare_loop)?),
        ["reads", endpoint, bare_read] => reads::run(endpoint, &serde_json::from_str(bare_read)?),
        ["reader", host] => on_threads(|number| read(number, host)),
        ["worker", host] => worker::run(host),
        ["consumer", host, endpoint] => {
            let consumer = BareConsumer::default();
            on_threads(|number| consumer.run(number, host, endpoint))
        }
        _ => bail!("no such baseline: {arguments:?}"),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(STREAMS)
}

/// Runs `work` on each thread, with the number of the thread.
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

/// Opens the streams of one thread.
async fn streams(number: usize, host: &str) -> anyhow::Result<Vec<MessageStream>> {
    let open = async |_| {
        let credentials = anonymous::Builder::new().build();
        let subscriber = Subscriber::builder().with_endpoint(format!("http://{host}")).with_credentials(credentials);
        let limit = i64::try_from(stream_limit())?;
        anyhow::Ok(subscriber.build().await?.subscribe(SUBSCRIPTION).set_max_outstanding_messages(limit).build())
    };
    try_join_all((number..STREAMS).step_by(threads()).map(open)).await
}

fn stream_limit() -> usize {
    let n = |value| NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN);
    stream_messages(n(OUTSTANDING), n(STREAMS))
}

/// Decodes and acknowledges every message, until the process is killed.
async fn read(number: usize, host: &str) -> anyhow::Result<()> {
    let read = |mut messages: MessageStream| async move {
        while let Some(next) = messages.next().await {
            let (message, handler) = next?;
            let _ = std::hint::black_box(decoded(&message.data));
            handler.ack();
        }
        anyhow::Ok(())
    };
    try_join_all(streams(number, host).await?.into_iter().map(read)).await.map(drop)
}

fn decoded(payload: &[u8]) -> Result<Scan, Rejection> {
    decode(payload, SystemTime::UNIX_EPOCH + 10_000 * DAY, 365_000 * DAY)
}
