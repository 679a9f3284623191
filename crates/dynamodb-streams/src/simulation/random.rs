//! Random schedules: writes, splits, trims, deleted rows, faults at every port, and kills and stops of instances. When the
//! faults end, everything must be handled. A seed determines its schedule: `DYNAMODB_STREAMS_SEED=17` replays one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::handler::SimHandler;
use super::stream::{RECORD_BYTES, SimStream};
use super::table::Table;
use super::world::{Faults, KEYS, POISON, State, World};
use crate::lease::{LeaseKeys, Start};
use crate::reader::Reader;
use crate::settings::{Retries, Settings};

const SEED: &str = "DYNAMODB_STREAMS_SEED";
const SCHEDULES: &str = "DYNAMODB_STREAMS_SCHEDULES";
const DEFAULT_SCHEDULES: u64 = 250;
/// The kinds of faults and events that are counted, except for rare ones.
const KINDS: usize = 42;
/// With this many schedules, each kind of fault happens.
const ENOUGH: u64 = 250;
/// The time to handle everything after the faults. It covers backoffs, late writes, expiries, and a minute for each of
/// several shards that are gone.
const RECOVERY: Duration = Duration::from_secs(600);

#[test]
fn no_record_is_lost_or_out_of_order_in_random_schedules() {
    let first = number_in(SEED);
    let count = number_in(SCHEDULES).unwrap_or(if first.is_some() { 1 } else { DEFAULT_SCHEDULES });
    let first = first.unwrap_or(0);
    let seeds = Mutex::new(first..first + count);
    let happened = Mutex::new(BTreeMap::<&'static str, usize>::new());
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            let paused = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let Ok(world) = catch_unwind(|| paused.block_on(run(seed))) else {
                eprintln!("the schedule of seed {seed} failed; replay it with {SEED}={seed}");
                failed.lock().unwrap().push(seed);
                continue;
            };
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
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {count} schedules failed: {failed:?}", failed.len());
    let happened = happened.into_inner().unwrap();
    let all: Vec<_> = happened.iter().map(|(name, times)| format!("{times} {name}")).collect();
    // The test harness hides the output of print macros in a passing test.
    writeln!(io::stderr(), "simulated {count} schedules from seed {first}: {}", all.join(", ")).unwrap();
    assert!(count < ENOUGH || happened.values().all(|times| *times > 0), "some faults never happened");
    assert!(count < ENOUGH || happened.len() >= KINDS, "only {} kinds of events happened", happened.len());
}

fn number_in(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test has no flags")]
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text}, but it must be a number")))
}

/// What happens in the schedule of a seed.
struct Schedule {
    faults_end: Instant,
    /// Nothing fails and nobody is killed, so nothing may be repeated.
    is_calm: bool,
    retention: Option<Duration>,
    deletes_rows: bool,
    invalidates_rows: bool,
    freezes: bool,
    hides_shards: bool,
    /// The instances of a slot may not read the stream.
    denied: Option<usize>,
}

impl Schedule {
    fn new(random: &mut StdRng) -> Schedule {
        let is_calm = random.random_bool(0.1);
        let mut often = |probability: f64| !is_calm && random.random_bool(probability);
        let (deletes_rows, invalidates_rows) = (often(0.3), often(0.1));
        let (freezes, hides_shards, denies) = (often(0.2), often(0.3), often(0.1));
        Schedule {
            faults_end: Instant::now() + Duration::from_secs(random.random_range(20..300)),
            is_calm,
            retention: [None, Some(300), Some(60), Some(20)][random.random_range(0..4)].map(Duration::from_secs),
            deletes_rows,
            invalidates_rows,
            freezes,
            hides_shards,
            denied: denies.then(|| random.random_range(0..3)),
        }
    }

    fn faults(&self, random: &mut StdRng) -> Faults {
        let mut often =
            |max: f64| if self.is_calm || random.random_bool(0.3) { 0.0 } else { random.random_range(0.0..max) };
        Faults {
            until: self.faults_end,
            fails: often(0.3),
            is_late: often(0.15),
            loses_answer: often(0.2),
            omits: often(0.5),
            expires: often(0.2),
            handler_fails: often(0.2),
            invalid: often(1.0),
            not_found: often(0.1),
            knows_filter: random.random_bool(0.8),
            iterator_age: Duration::from_secs(15),
        }
    }
}

/// Runs the schedule of a seed, and checks its end.
async fn run(seed: u64) -> World {
    let mut random = StdRng::seed_from_u64(seed);
    let schedule = Schedule::new(&mut random);
    let world = World::new(StdRng::seed_from_u64(random.random()), schedule.faults(&mut random));
    let settings = settings(&mut random, &world);
    {
        let mut state = world.state();
        (state.retention, state.failover) = (schedule.retention, settings.failover);
        for keys in [(0..KEYS / 2).collect(), (KEYS / 2..KEYS).collect::<Vec<_>>()] {
            state.open_shard(None, keys);
        }
        (0..20).for_each(|number| state.write_record(number % POISON));
    }
    let writing = write(world.clone(), StdRng::seed_from_u64(random.random()), &schedule);
    let instances: Vec<_> = (0..3)
        .map(|slot| instances(slot, world.clone(), settings.clone(), StdRng::seed_from_u64(random.random()), &schedule))
        .collect();
    tokio::join!(writing, futures_util::future::join_all(instances));
    let state = world.state();
    if let Some(problem) = state.not_drained() {
        panic!("after {RECOVERY:?} without faults: {problem}; gaps {:?}, rows {:?}", state.gaps, state.rows);
    }
    for row in state.rows.values() {
        assert!(row.owner.is_none(), "the readers stopped, but {row:?} has an owner");
    }
    let count = |name: &str| state.counts.get(name).copied().unwrap_or(0);
    if schedule.retention.is_none() {
        assert_eq!(state.gaps, [], "nothing is trimmed");
    }
    if schedule.is_calm {
        assert_eq!((count("repeated records"), count("lost leases")), (0, 0), "nothing failed");
    }
    drop(state);
    world
}

fn settings(random: &mut StdRng, world: &World) -> Settings {
    let mut settings = Settings {
        failover: Duration::from_secs(random.random_range(4..15)),
        handover_timeout: Duration::from_secs(random.random_range(1..20)),
        discovery_interval: Duration::from_secs(random.random_range(2..30)),
        request_timeout: Duration::from_millis(random.random_range(500..5000)),
        missing_timeout: Duration::from_secs(random.random_range(20..60)),
        unreadable_timeout: Duration::from_secs(random.random_range(60..90)),
        max_records: random.random_range(1..200),
        page_records: random.random_range(1..30),
        max_bytes: random.random_range(1_000..100_000),
        page_bytes: random.random_range(200..5_000),
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
async fn write(world: World, mut random: StdRng, schedule: &Schedule) {
    while Instant::now() < schedule.faults_end {
        sleep(Duration::from_millis(random.random_range(1..3000))).await;
        let mut state = world.state();
        for _ in 0..random.random_range(0..8) {
            let bytes = if random.random_bool(0.02) { 50 * RECORD_BYTES } else { RECORD_BYTES };
            // A record that is retried lets later ones be repeated by the next owner.
            let keys = if schedule.is_calm { POISON } else { KEYS };
            state.write_large_record(random.random_range(0..keys), bytes);
        }
        if random.random_bool(0.06) {
            state.split();
        }
        if let Some(age) = schedule.retention {
            state.trim(age);
        }
        if schedule.freezes && random.random_bool(0.02) {
            let slot = format!("instance-{}", random.random_range(0..3));
            state.freeze(&slot, Duration::from_secs(random.random_range(1..40)));
        }
        disturb(&mut state, &mut random, schedule);
    }
}

/// Deletes rows, makes rows invalid, and hides shards.
fn disturb(state: &mut State, random: &mut StdRng, schedule: &Schedule) {
    let now = Instant::now();
    let keys: Vec<_> = state.rows.keys().cloned().collect();
    let Some(key) = keys.get(random.random_range(0..keys.len().max(1))) else { return };
    if schedule.deletes_rows && random.random_bool(0.02) {
        state.rows.remove(key);
        let until = now + state.failover;
        state.disputed.insert(key.clone(), until);
        state.count("rows deleted by hand");
    }
    if schedule.invalidates_rows && random.random_bool(0.02) {
        let time = Duration::from_secs(random.random_range(1..40));
        state.invalid.insert(key.clone(), (now + time).min(schedule.faults_end));
        state.count("rows that are not valid");
    }
    if schedule.hides_shards && random.random_bool(0.05) {
        let ids: Vec<_> = state.shards.keys().cloned().collect();
        let time = Duration::from_secs(random.random_range(1..20));
        state.hidden.insert(ids[random.random_range(0..ids.len())].clone(), now + time);
        state.count("shards that were not found for a while");
    }
}

/// Runs one instance after the other. Each is killed or stopped. The last one runs until everything is handled.
async fn instances(slot: usize, world: World, settings: Settings, mut random: StdRng, schedule: &Schedule) {
    let faults_end = schedule.faults_end;
    for number in 0.. {
        let instance = format!("instance-{slot}.{number}");
        if schedule.denied == Some(slot) {
            world.state().denied.insert(instance.clone());
        }
        let stream = SimStream { world: world.clone(), instance: instance.clone() };
        let table = Table { world: world.clone(), instance: instance.clone() };
        let observer = Arc::new(world.clone());
        let keys = LeaseKeys::new("simulation", "stream");
        let handler = SimHandler { world: world.clone(), instance: instance.clone() };
        let reader = Reader::new(&instance, stream, table, keys, handler, observer, settings.clone())
            .unwrap()
            .with_seed(random.random())
            .with_clock(world.clock());
        let end = Instant::now() + Duration::from_millis(random.random_range(0..80_000));
        let is_last = end >= faults_end;
        if !is_last && !schedule.is_calm && random.random_bool(0.5) {
            tokio::select! {
                biased;
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
    sleep_until(faults_end + Duration::from_secs(80)).await;
    while Instant::now() < faults_end + RECOVERY && world.state().not_drained().is_some() {
        sleep(Duration::from_secs(1)).await;
    }
    // Instances that stop at the same time may hand leases over to each other.
    sleep(Duration::from_secs(30)).await;
}
