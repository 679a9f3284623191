//! The threads of the consumer. Each has a current-thread runtime, its own clients and its share of the workers.

use std::sync::Arc;
use std::thread;

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use ops::panic_text;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Config;
use crate::consumer::ports::{Ports, SourceError};
use crate::consumer::settings::{stream_bytes, stream_messages};
use crate::consumer::{self, Keys, Process, Thread};
use crate::dynamo::{self, Scans};
use crate::pubsub::{self, Activity, Connection, StreamReceipt, StreamSettings, StreamSource, TopicDeadLetters};

/// Why a thread ended before the drain.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot reach Pub/Sub")]
    Pubsub(#[from] pubsub::Problem),
    #[error("cannot reach DynamoDB")]
    Dynamo(#[from] dynamo::Problem),
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
    #[error("a worker panicked: {0}. Pub/Sub redelivers its messages to another instance")]
    Panicked(String),
}

/// The clients of both clouds behind the consumer's ports.
struct Clouds;

impl Ports for Clouds {
    type Source = StreamSource;
    type Store = Scans;
    type DeadLetters = TopicDeadLetters;
}

/// Threads that run until the drain.
#[derive(Debug)]
pub struct Running {
    ends: Vec<oneshot::Receiver<Result<(), Failure>>>,
}

impl Running {
    /// Starts every thread.
    pub fn start(config: &Config, process: &Arc<Process>) -> Result<Running, Failure> {
        let keys = Arc::new(Keys::new(&process.settings));
        let activity = Arc::new(Activity::new(Instant::now()));
        let start = |number| {
            let (config, process, keys, activity) = (config.clone(), process.clone(), keys.clone(), activity.clone());
            start_thread(number, async move || run(number, &config, &process, &keys, &activity).await)
        };
        Ok(Running { ends: (0..config.threads.get()).map(start).collect::<Result<_, _>>()? })
    }

    /// Waits until every thread has ended or the first one has failed.
    pub async fn finished(self) -> Result<(), Failure> {
        let ended = self.ends.into_iter().map(|end| async {
            end.await.unwrap_or_else(|_| Err(Failure::Panicked("its thread ended without a result".to_owned())))
        });
        try_join_all(ended).await.map(|_| ())
    }
}

fn start_thread(
    number: usize,
    work: impl AsyncFnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<oneshot::Receiver<Result<(), Failure>>, Failure> {
    let (sender, end) = oneshot::channel();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let work = std::panic::AssertUnwindSafe(|| runtime.block_on(work()));
        let result = std::panic::catch_unwind(work);
        let result = result.unwrap_or_else(|panic| Err(Failure::Panicked(panic_text(panic.as_ref()))));
        // Main may be gone after a second signal.
        let _ = sender.send(result);
        // A DNS lookup in flight must not delay the exit.
        runtime.shutdown_background();
    })?;
    Ok(end)
}

/// Runs the workers of one thread: every `threads`th worker of the instance.
async fn run(
    number: usize,
    config: &Config,
    process: &Arc<Process>,
    keys: &Keys<StreamReceipt>,
    activity: &Arc<Activity>,
) -> Result<(), Failure> {
    let connection = config.endpoints.pubsub();
    let (store, dead_letters) = tokio::select! {
        biased;
        () = process.drain.requested() => return Ok(()),
        connected = connect(config, &connection) => connected?,
    };
    let thread = Thread::<Clouds>::new(number, process, keys, store, dead_letters);
    let consumers = config.consumers.get();
    let worker = |worker| {
        let (health, observer) = (process.health.clone(), process.observer.clone());
        let (connection, activity) = (connection.clone(), activity.clone());
        let source = StreamSource::open(connection, stream(config), health, observer, worker, activity);
        consumer::run(&thread, source, StdRng::from_os_rng())
    };
    // It polls only the workers that were woken.
    let workers: FuturesUnordered<_> = (number..consumers).step_by(config.threads.get()).map(worker).collect();
    tokio::select! {
        biased;
        ended = workers.try_collect::<()>() => ended.map_err(Failure::from),
        never = thread.serve() => match never {},
    }
}

async fn connect(config: &Config, connection: &Connection) -> Result<(Scans, Option<TopicDeadLetters>), Failure> {
    let store = Scans::new(config.endpoints.dynamo().await?, config.table.clone(), config.ttl);
    let dead_letters = match &config.dead_letter_topic {
        Some(topic) => Some(TopicDeadLetters::connect(connection, topic).await?),
        None => None,
    };
    Ok((store, dead_letters))
}

fn stream(config: &Config) -> StreamSettings {
    let messages = stream_messages(config.max_outstanding, config.consumers);
    let bytes = stream_bytes(config.max_outstanding_bytes, config.consumers);
    StreamSettings {
        subscription: config.subscription.clone(),
        max_messages: i64::try_from(messages).unwrap_or(i64::MAX),
        max_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        max_lease_extension: config.max_lease_extension,
        max_retry_time: config.max_retry_time,
        max_idle: config.stream_max_idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_on_one_thread_fails_all_threads() {
        let bug = start_thread(0, async || panic!("a bug")).unwrap();
        let healthy = start_thread(1, async || std::future::pending().await).unwrap();

        let failure = Running { ends: vec![healthy, bug] }.finished().await.unwrap_err();

        assert_eq!(
            failure.to_string(),
            "a worker panicked: a bug. Pub/Sub redelivers its messages to another instance"
        );
    }
}
