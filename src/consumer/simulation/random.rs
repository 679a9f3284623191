//! Random schedules: messages, faults at every port, vanishing rows, and stops and kills of two instances. When the
//! faults end, all messages must be settled. A seed determines its schedule completely: `make simulate SEED=17` replays one.

mod injection;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::instance::{Instance, n, settings};
use super::messages::{Format, Template, Truth, broken, expired, panicking, scan};
use super::pubsub::Settlement;
use super::world::{State, World};
use crate::consumer::settings::{FLUSH_TIMEOUT, Settings, WriteMode};

/// The environment variable with the first seed.
const SEED: &str = "MINI_SCAN_SEED";
/// The environment variable with the number of schedules. Its default is 1 if the first seed is given.
const SCHEDULES: &str = "MINI_SCAN_SCHEDULES";
const DEFAULT_SCHEDULES: u64 = 10_000;
const KEYS: u16 = 6;
/// With this many schedules, each kind of fault happens.
const ENOUGH: u64 = 500;

/// The time to settle all messages after the faults. It covers retry delays, backoffs and the maximum retry time.
const RECOVERY: Duration = Duration::from_secs(2 * 3600);

#[test]
fn no_message_is_lost_and_the_newest_scan_wins_in_random_schedules() {
    let first = number_in(SEED);
    let count = number_in(SCHEDULES).unwrap_or(if first.is_some() { 1 } else { DEFAULT_SCHEDULES });
    let first = first.unwrap_or(0);
    let seeds = Mutex::new(first..first + count);
    let happened = Mutex::new(Happened::default());
    let work = || {
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            let _printer = PrintSeedOnPanic(seed);
            let paused = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let state = paused.block_on(async { Schedule::new(seed).run().await });
            happened.lock().unwrap().add(&state);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(work);
        }
    });
    let happened = happened.into_inner().unwrap();
    // The test harness hides the output of print macros in a passing test.
    writeln!(
        io::stderr(),
        "simulated {count} schedules from seed {first}: no message was lost, in spite of {happened}"
    )
    .unwrap();
    assert!(count < ENOUGH || happened.has_all(), "some faults never happened: {happened}");
}

fn number_in(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test has no flags")]
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text}, but it must be a number")))
}

/// How often each kind of fault happened in all schedules.
#[derive(Default)]
struct Happened(BTreeMap<&'static str, usize>);

impl Happened {
    fn add(&mut self, state: &State) {
        let State { subscription, table, topic, .. } = state;
        let counts = subscription.counts;
        let refused = topic.reasons().iter().filter(|reason| **reason == "refused_by_store").count();
        for (fault, times) in [
            ("lost acks", counts.lost_acks),
            ("deliveries after an ack", counts.deliveries_after_ack),
            ("times that a stream was full", counts.full_streams),
            ("ended streams", counts.ended_streams),
            ("nacks", subscription.settled(Settlement::Nack)),
            ("kills", subscription.killed.len()),
            ("vanished rows", table.vanished.len()),
            ("answers that the table is missing", table.noticed.len()),
            ("refused scans", refused),
            ("dead letters of other messages", topic.dead_letters.len() - refused),
        ] {
            *self.0.entry(fault).or_default() += times;
        }
    }

    fn has_all(&self) -> bool {
        self.0.values().all(|times| *times > 0)
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.0.iter().map(|(fault, times)| format!("{times} {fault}")).collect();
        f.write_str(&faults.join(", "))
    }
}

/// Prints the seed of a schedule that failed.
struct PrintSeedOnPanic(u64);

impl Drop for PrintSeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the schedule of seed {0} failed; replay it with: make simulate SEED={0}", self.0);
        }
    }
}

struct Schedule {
    random: StdRng,
    world: World,
    settings: Settings,
    has_topic: bool,
    /// No fault happens after this time.
    faults_end: Instant,
}

impl Schedule {
    fn new(seed: u64) -> Schedule {
        let mut random = StdRng::seed_from_u64(seed);
        let settings = Settings {
            consumers: n(random.random_range(1..=3)),
            max_outstanding: n(random.random_range(1..=30)),
            max_outstanding_bytes: [200, 1000, 3000, 1 << 20][random.random_range(0..4)],
            max_writes: n(random.random_range(1..=30)),
            max_retry_time: Duration::from_secs([5, 20, 120, 1800][random.random_range(0..4)]),
            cache_entries: [0, 64, 1000][random.random_range(0..3)],
            cache_max_age: Duration::from_secs([5, 30, 600][random.random_range(0..3)]),
            write_mode: match random.random() {
                true => WriteMode::Batch { linger: Duration::from_millis(random.random_range(0..=20)) },
                false => WriteMode::Put,
            },
            shutdown_grace: Duration::from_millis(random.random_range(0..=8000)),
            ..settings()
        };
        let faults_end = Instant::now() + Duration::from_secs(random.random_range(10..=200));
        let has_topic = random.random_bool(0.7);
        Schedule { world: World::new(), settings, has_topic, faults_end, random }
    }

    /// Runs the schedule, and returns the state at its end.
    async fn run(mut self) -> State {
        injection::inject(&self.world, self.faults_end, &mut self.random);
        let messages: Vec<Template> = (0..self.random.random_range(1..=60)).map(|_| self.message()).collect();
        let publishing = publish(self.world.clone(), messages, self.faults_end, self.next_random());
        let deleting = injection::delete_rows(self.world.clone(), self.faults_end, self.next_random());
        let randoms = [self.next_random(), self.next_random()].into_iter().enumerate();
        let instances = randoms.map(|(first, random)| self.run_instances(first, random));
        let instances = futures_util::future::join_all(instances);
        tokio::join!(publishing, deleting, instances);
        let state = self.world.into_state();
        check_end(&state, self.has_topic);
        let most = 2 * self.settings.max_writes.get();
        assert!(state.table.max_in_flight <= most, "more writes in flight than two instances may have");
        state
    }

    /// Returns a generator for a concurrent part of the schedule.
    fn next_random(&mut self) -> StdRng {
        StdRng::seed_from_u64(self.random.random())
    }

    fn message(&mut self) -> Template {
        let random = &mut self.random;
        match random.random_range(0..20) {
            0 => broken(),
            1 => panicking(),
            2 => expired(random.random_range(1..=KEYS)),
            _ => {
                let format = [Format::Text, Format::Base64, Format::NotUtf8][random.random_range(0..3)];
                scan(random.random_range(1..=KEYS), random.random_range(0..30)).with_format(format)
            }
        }
    }

    /// Runs one of two sequences of instances. Each instance is stopped or killed, and the next one is started. After the
    /// end of the faults, the last instance runs until all messages are settled.
    async fn run_instances(&self, first: usize, mut random: StdRng) {
        for number in (first..).step_by(2) {
            let instance = Instance::new(&self.world, self.settings.clone()).numbered(number).seeded(random.random());
            let instance = if self.has_topic { instance } else { instance.without_topic() };
            let end = Instant::now() + Duration::from_millis(random.random_range(0..60_000));
            if end >= self.faults_end {
                return self.run_last_instance(&instance).await;
            }
            if random.random_bool(0.3) {
                let _ = timeout_at(end, instance.work()).await;
                // The timeout dropped the instance and its receipts. The next instance starts after a pause.
                sleep(Duration::from_millis(random.random_range(0..5000))).await;
            } else if random.random_bool(0.5) {
                tokio::select! {
                    biased;
                    () = self.kill(number, end, random.random_range(1..30)) => {}
                    _ = instance.work() => {}
                }
            } else {
                self.work_until(&instance, sleep_until(end)).await;
            }
        }
    }

    async fn run_last_instance(&self, instance: &Instance) {
        sleep_until(self.faults_end).await;
        let has_topic = self.has_topic;
        let drained = self.world.until("all messages settled", |state| is_drained(state, has_topic));
        let drained = timeout_at(self.faults_end + RECOVERY, drained);
        self.work_until(instance, async { drained.await.expect("all messages are settled in time") }).await;
    }

    /// Marks an instance as killed, so that its settlements have no effect.
    async fn kill(&self, number: usize, at: Instant, lease_seconds: u64) {
        sleep_until(at).await;
        self.world.state().subscription.kill(number, Duration::from_secs(lease_seconds));
    }

    async fn work_until(&self, instance: &Instance, event: impl Future<Output = ()>) {
        let stop = async {
            event.await;
            instance.process.drain.request(self.settings.shutdown_grace);
            let longest = self.settings.shutdown_grace + FLUSH_TIMEOUT + Duration::from_millis(20);
            Instant::now() + longest
        };
        let work = async {
            let ends = instance.work().await;
            assert!(ends.iter().all(Result::is_ok), "{ends:?}");
            Instant::now()
        };
        let (latest, ended) = tokio::join!(stop, work);
        assert!(ended <= latest, "stopped {:?} too late", ended - latest);
        let metrics = instance.metrics.snapshot();
        assert_eq!(instance.process.census.unsettled(), 0);
        assert_eq!(metrics.received, metrics.processed() + metrics.failed() + metrics.released, "{metrics:?}");
    }
}

async fn publish(world: World, messages: Vec<Template>, faults_end: Instant, mut random: StdRng) {
    let longest = (faults_end - Instant::now()).as_millis() as u64 / messages.len() as u64;
    for message in messages {
        world.publish([message]);
        sleep(Duration::from_millis(random.random_range(0..=longest))).await;
    }
    world.state().subscription.is_complete = true;
    world.notify();
}

/// Returns whether all messages are acked. Without a topic, broken messages stay on the subscription.
fn is_drained(state: &State, has_topic: bool) -> bool {
    let stays = |truth| !has_topic && truth == Truth::Broken;
    let mut messages = state.subscription.messages.iter();
    state.subscription.is_complete && messages.all(|message| message.acked || stays(message.template.truth))
}

fn check_end(state: &State, has_topic: bool) {
    assert!(is_drained(state, has_topic));
    assert_eq!(state.subscription.unsettled(), 0, "some receipts are unsettled");
    assert_eq!(state.table.in_flight, 0);
    state.check_rows();
}
