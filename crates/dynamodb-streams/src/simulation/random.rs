//! Random schedules: writes, splits, trims, deleted rows, faults at every port, and kills and stops of instances. When the
//! faults end, everything must be handled. A seed determines its schedule: `DYNAMODB_STREAMS_SEED=17` replays one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::handler::SimHandler;
use super::table::Table;
use super::world::{FAILOVER, Faults, KEYS, World};
use crate::lease::{LeaseKeys, Start};
use crate::reader::Reader;
use crate::settings::{Retries, Settings};

const SEED: &str = "DYNAMODB_STREAMS_SEED";
const SCHEDULES: &str = "DYNAMODB_STREAMS_SCHEDULES";
const DEFAULT_SCHEDULES: u64 = 1000;
/// The kinds of faults and events that are counted.
const KINDS: usize = 24;
/// With this many schedules, each kind of fault happens.
const ENOUGH: u64 = 500;
/// The time to handle everything after the faults. It covers backoffs, late writes and expiries.
const RECOVERY: Duration = Duration::from_secs(3600);

#[test]
fn no_record_is_lost_or_out_of_order_in_random_schedules() {
    let first = number_in(SEED);
    let count = number_in(SCHEDULES).unwrap_or(if first.is_some() { 1 } else { DEFAULT_SCHEDULES });
    let first = first.unwrap_or(0);
    let seeds = Mutex::new(first..first + count);
    let happened = Mutex::new(BTreeMap::<&'static str, usize>::new());
    let work = || {
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            let _printer = PrintSeedOnPanic(seed);
            let paused = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let world = paused.block_on(run(seed));
            for (name, times) in &world.state().counts {
                *happened.lock().unwrap().entry(name).or_default() += times;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(work);
        }
    });
    let happened = happened.into_inner().unwrap();
    let all: Vec<_> = happened.iter().map(|(name, times)| format!("{times} {name}")).collect();
    // The test harness hides the output of print macros in a passing test.
    writeln!(io::stderr(), "simulated {count} schedules from seed {first}: {}", all.join(", ")).unwrap();
    assert!(count < ENOUGH || happened.values().all(|times| *times > 0), "some faults never happened");
    assert!(count < ENOUGH || happened.len() == KINDS, "only {} kinds of events happened", happened.len());
}

fn number_in(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test has no flags")]
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text}, but it must be a number")))
}

/// Prints the seed of a schedule that failed.
struct PrintSeedOnPanic(u64);

impl Drop for PrintSeedOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the schedule of seed {0} failed; replay it with {SEED}={0}", self.0);
        }
    }
}

/// Runs the schedule of a seed, and checks its end.
async fn run(seed: u64) -> World {
    let mut random = StdRng::seed_from_u64(seed);
    let faults_end = Instant::now() + Duration::from_secs(random.random_range(20..300));
    let world = World::new(StdRng::seed_from_u64(random.random()), faults(&mut random, faults_end));
    let settings = settings(&mut random, &world);
    let retention = [None, Some(300), Some(60), Some(20)][random.random_range(0..4)].map(Duration::from_secs);
    for keys in [(0..KEYS / 2).collect(), (KEYS / 2..KEYS).collect::<Vec<_>>()] {
        world.state().open_shard(None, keys);
    }
    if settings.start != Start::TrimHorizon {
        (0..20).for_each(|number| world.state().write_record(number % KEYS));
    }
    let writing = write(world.clone(), StdRng::seed_from_u64(random.random()), faults_end, retention);
    let instances: Vec<_> = (0..3)
        .map(|slot| {
            instances(slot, world.clone(), settings.clone(), StdRng::seed_from_u64(random.random()), faults_end)
        })
        .collect();
    tokio::join!(writing, futures_util::future::join_all(instances));
    let state = world.state();
    if let Some(problem) = state.not_drained() {
        panic!("after {RECOVERY:?} without faults: {problem}; gaps {:?}", state.gaps);
    }
    for row in state.rows.values() {
        assert!(row.owner.is_none(), "the readers stopped, but {row:?} has an owner");
    }
    drop(state);
    world
}

fn faults(random: &mut StdRng, until: Instant) -> Faults {
    let mut often = |max: f64| if random.random_bool(0.3) { 0.0 } else { random.random_range(0.0..max) };
    Faults {
        until,
        fails: often(0.3),
        is_late: often(0.15),
        loses_answer: often(0.2),
        omits: often(0.5),
        expires: often(0.2),
        handler_fails: often(0.2),
        iterator_age: Duration::from_secs(15),
    }
}

fn settings(random: &mut StdRng, world: &World) -> Settings {
    let mut settings = Settings {
        failover: FAILOVER,
        handover_timeout: Duration::from_secs(random.random_range(1..20)),
        discovery_interval: Duration::from_secs(random.random_range(2..30)),
        max_records: random.random_range(1..200),
        page_records: random.random_range(1..30),
        max_records_per_shard: random.random_range(1..50),
        max_concurrency_per_shard: random.random_range(1..20),
        retries: Retries { max_attempts: 4, max_delay: Duration::from_secs(2), ..Settings::default().retries },
        ..Settings::default()
    };
    if random.random_bool(0.3) {
        let mut state = world.state();
        let start = state.wall(Instant::now() + Duration::from_secs(random.random_range(0..150)));
        state.start = Some(start);
        settings.start = Start::At(start);
    }
    settings
}

/// Writes records, closes shards, trims and deletes rows until the faults end.
async fn write(world: World, mut random: StdRng, faults_end: Instant, retention: Option<Duration>) {
    let deletes_rows = random.random_bool(0.3);
    while Instant::now() < faults_end {
        sleep(Duration::from_millis(random.random_range(1..3000))).await;
        let mut state = world.state();
        for _ in 0..random.random_range(0..8) {
            state.write_record(random.random_range(0..KEYS));
        }
        if random.random_bool(0.06) {
            state.split();
        }
        if let Some(age) = retention {
            state.trim(age);
        }
        if deletes_rows && random.random_bool(0.02) && !state.rows.is_empty() {
            let keys: Vec<_> = state.rows.keys().cloned().collect();
            let key = &keys[random.random_range(0..keys.len())];
            state.rows.remove(key);
            state.disputed.insert(key.clone());
            state.count("rows deleted by hand");
        }
    }
}

/// Runs one instance after the other. Each is killed or stopped. The last one runs until everything is handled.
async fn instances(slot: usize, world: World, settings: Settings, mut random: StdRng, faults_end: Instant) {
    for number in 0.. {
        let instance = format!("instance-{slot}.{number}");
        let table = Table { world: world.clone(), instance: instance.clone() };
        let observer = Arc::new(world.clone());
        let keys = LeaseKeys::new("simulation", "stream");
        let handler = SimHandler { world: world.clone(), instance: instance.clone() };
        let reader = Reader::new(&instance, world.clone(), table, keys, handler, observer, settings.clone())
            .unwrap()
            .with_seed(random.random());
        let end = Instant::now() + Duration::from_millis(random.random_range(0..80_000));
        let is_last = end >= faults_end;
        if !is_last && random.random_bool(0.5) {
            tokio::select! {
                _ = reader.run(std::future::pending()) => unreachable!("it is not stopped"),
                () = sleep_until(end) => world.state().count("kills"),
            }
            sleep(Duration::from_millis(random.random_range(0..10_000))).await;
            continue;
        }
        let (stop, stopped) = oneshot::channel();
        let running = async {
            reader.run(async { drop(stopped.await) }).await;
            Instant::now()
        };
        let stopping = async {
            if is_last {
                drained(&world, faults_end).await
            } else {
                sleep_until(end).await
            };
            let _ = stop.send(());
            Instant::now()
        };
        let (ended, asked) = tokio::join!(running, stopping);
        let longest = settings.handover_timeout + settings.failover;
        assert!(ended - asked <= longest, "{instance} stopped after {:?}", ended - asked);
        world.state().count("stops");
        if is_last {
            return;
        }
    }
}

/// Waits until everything is handled, or until it takes too long.
async fn drained(world: &World, faults_end: Instant) {
    // A late write may still give a lease to an instance that was killed.
    sleep_until(faults_end + Duration::from_secs(60) + 2 * FAILOVER).await;
    while Instant::now() < faults_end + RECOVERY && world.state().not_drained().is_some() {
        sleep(Duration::from_secs(1)).await;
    }
}
