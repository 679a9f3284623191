//! One instance of the consumer: its process and its workers, which run concurrently with a script.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, timeout};

use super::dead_letters::SimDeadLetters;
use super::source::{SimReceipt, SimSource, Stream};
use super::store::SimStore;
use super::world::World;
use crate::consumer::ports::{Ports, SourceError};
use crate::consumer::settings::{FLUSH_TIMEOUT, Settings, WriteMode};
use crate::consumer::{Keys, Process, Thread, run};
use crate::observe::Metrics;

pub(super) struct Simulated;

impl Ports for Simulated {
    type Source = SimSource;
    type Store = SimStore;
    type DeadLetters = SimDeadLetters;
}

pub(super) fn n(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap()
}

pub(super) const SUBSCRIPTION: &str = "projects/p/subscriptions/s";

pub(super) fn settings() -> Settings {
    Settings {
        consumers: n(1),
        threads: n(1),
        max_outstanding: n(100),
        max_outstanding_bytes: 1 << 20,
        max_writes: n(100),
        write_mode: WriteMode::Put,
        max_future_skew: Duration::from_secs(86_400),
        ttl: Some(Duration::from_secs(86_400)),
        max_retry_time: Duration::from_secs(1800),
        cache_entries: 1000,
        cache_max_age: Duration::from_secs(600),
        shutdown_grace: Duration::from_secs(30),
        subscription: SUBSCRIPTION.to_owned(),
        table: "scan-results".to_owned(),
    }
}

pub(super) struct Instance {
    pub(super) world: World,
    pub(super) process: Arc<Process>,
    pub(super) metrics: Arc<Metrics>,
    keys: Keys<SimReceipt>,
    seed: u64,
    number: usize,
    has_topic: bool,
}

impl Instance {
    pub(super) fn new(world: &World, settings: Settings) -> Instance {
        let (keys, metrics) = (Keys::new(&settings), Arc::<Metrics>::default());
        let process = Arc::new(Process::new(settings, metrics.clone()));
        Instance { world: world.clone(), process, metrics, keys, seed: 0, number: 0, has_topic: true }
    }

    pub(super) fn numbered(self, number: usize) -> Instance {
        Instance { number, ..self }
    }

    /// Seeds the random backoffs and retry times of the instance.
    pub(super) fn seeded(self, seed: u64) -> Instance {
        Instance { seed, ..self }
    }

    pub(super) fn without_topic(self) -> Instance {
        Instance { has_topic: false, ..self }
    }

    /// Runs all workers until they end.
    pub(super) async fn work(&self) -> Vec<Result<(), SourceError>> {
        let (instance, settings) = (self.number, &self.process.settings);
        let thread = |number| {
            let store = SimStore { world: self.world.clone(), instance };
            let dead_letters = self.has_topic.then(|| SimDeadLetters { world: self.world.clone(), instance });
            Thread::<Simulated>::new(number, &self.process, &self.keys, store, dead_letters)
        };
        let threads: Vec<_> = (0..settings.threads.get()).map(thread).collect();
        let workers = (0..settings.consumers.get()).map(|number| {
            let source = SimSource::new(&self.world, Stream::new(instance, number, settings));
            let random = StdRng::seed_from_u64(self.seed.wrapping_add(number as u64));
            run(&threads[number % threads.len()], source, random)
        });
        tokio::select! {
            biased;
            ends = join_all(workers) => ends,
            _ = join_all(threads.iter().map(Thread::serve)) => unreachable!("threads serve for ever"),
            never = self.process.watch_health() => match never {},
        }
    }

    /// Runs the workers concurrently with a script, stops them when it ends, and checks that everything is settled.
    pub(super) async fn during<T>(&self, script: impl Future<Output = T>) -> T {
        let script = async {
            let result = script.await;
            self.process.drain.request(self.process.settings.shutdown_grace);
            (result, Instant::now())
        };
        // The latest allowed end depends on the end of the script, so it is checked below. The timeout of one day fails a
        // script whose workers never end.
        let work = async {
            let ends = self.work().await;
            (ends, Instant::now())
        };
        let both = async { tokio::join!(work, script) };
        let ((ends, ended), (result, stopped)) =
            timeout(Duration::from_secs(86_400), both).await.expect("the workers end");
        assert!(ends.iter().all(Result::is_ok), "{ends:?}");
        let longest = self.process.drain.deadline().max(stopped) + FLUSH_TIMEOUT + Duration::from_millis(10);
        assert!(ended <= longest, "stopped {:?} too late", ended - longest);
        self.check_settled();
        result
    }

    fn check_settled(&self) {
        let state = self.world.state();
        assert_eq!(state.subscription.unsettled(), 0, "some receipts are unsettled");
        assert_eq!(state.subscription.early_flushes, 0, "flushed with unsettled receipts");
        assert_eq!(state.table.in_flight, 0);
        assert!(state.table.max_in_flight <= self.process.settings.max_writes.get());
        let metrics = self.metrics.snapshot();
        assert_eq!(self.process.census.unsettled(), 0);
        assert_eq!(metrics.received, metrics.processed() + metrics.failed() + metrics.released, "{metrics:?}");
    }
}
