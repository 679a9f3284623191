//! Random schedules: instances that are killed and stopped, owners that do not know yet that they lost their lease, faults of
//! the stores, and slow, failing and hanging receivers. When the faults end, everything must be delivered.
//! `WEBHOOKS_SEED=17` replays one schedule.

use std::collections::BTreeMap;
use std::future::pending;
use std::io::{self, Write};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime;
use tokio::time::{Instant, sleep, sleep_until};

use super::receivers::Behaviour;
use super::world::{Faults, World, delivery};
use crate::breaker::BreakerSettings;
use crate::delivery::DeadReason;
use crate::engine::Engine;
use crate::ids::EndpointId;
use crate::schedule::Schedule;
use crate::settings::Settings;

const SEED: &str = "WEBHOOKS_SEED";
const SCHEDULES: &str = "WEBHOOKS_SCHEDULES";
const DEFAULT_SCHEDULES: u64 = 40;
/// With this many schedules, each kind of event happens.
const ENOUGH: u64 = 40;
const EVENTS: [&str; 14] = [
    "deferred: CircuitOpen",
    "deferred: Late",
    "deferred: Overloaded",
    "deferred: QueueFull",
    "deferred: Stalled",
    "delivered retries",
    "failed requests",
    "kills",
    "lost answers",
    "lost claims",
    "opened circuits",
    "recoveries",
    "repeated inserts",
    "stops",
];
const ENDPOINTS: usize = 6;

/// A shard of a stream: its records, and how far they are handled.
struct Shard {
    /// When each record was written, and the endpoints that must get it.
    records: Vec<(Instant, Vec<EndpointId>)>,
    progress: Mutex<Progress>,
}

struct Progress {
    owner: usize,
    checkpoint: usize,
}

#[test]
fn no_delivery_is_lost_in_random_schedules() {
    let first = number_in(SEED);
    let count = number_in(SCHEDULES).unwrap_or(if first.is_some() { 1 } else { DEFAULT_SCHEDULES });
    let first = first.unwrap_or(0);
    let (seeds, happened) = (Mutex::new(first..first + count), Mutex::new(BTreeMap::<String, usize>::new()));
    let work = || {
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            let _printer = PrintSeedOnPanic(seed);
            let paused = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let world = paused.block_on(run(seed));
            for (event, times) in &world.state().counts {
                *happened.lock().unwrap().entry(event.clone()).or_default() += times;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(work);
        }
    });
    let happened = happened.into_inner().unwrap();
    let all: Vec<_> = happened.iter().map(|(event, times)| format!("{times} {event}")).collect();
    // The test harness hides the output of print macros in a passing test.
    writeln!(io::stderr(), "simulated {count} schedules from seed {first}: {}", all.join(", ")).unwrap();
    let missing: Vec<_> = EVENTS.iter().filter(|event| !happened.contains_key(**event)).collect();
    assert!(count < ENOUGH || missing.is_empty(), "these events never happened: {missing:?}");
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

async fn run(seed: u64) -> World {
    let mut random = StdRng::seed_from_u64(seed);
    let faults_end = Instant::now() + Duration::from_secs(random.random_range(20..120));
    let mut often = |max: f64| if random.random_bool(0.3) { 0.0 } else { random.random_range(0.0..max) };
    let faults = Faults {
        until: Some(faults_end),
        fails: often(0.4),
        loses_answer: often(0.3),
        latency: Duration::from_millis(50),
    };
    let world = World::new(random.random(), faults);
    let endpoints: Vec<_> = (0..ENDPOINTS)
        .map(|number| world.add(&format!("endpoint-{number}"), behaviour(&mut random, faults_end)))
        .collect();
    let shard = shard(&mut random, &endpoints, faults_end);
    let settings = settings(&mut random);
    let instances: Vec<_> = (0..3)
        .map(|slot| instances(slot, &world, &shard, &settings, StdRng::seed_from_u64(random.random()), faults_end))
        .collect();
    join_all(instances).await;
    check(&world, &shard, &endpoints);
    world
}

fn behaviour(random: &mut StdRng, faults_end: Instant) -> Behaviour {
    let until = faults_end - Duration::from_secs(random.random_range(0..15));
    match random.random_range(0..6) {
        0 => Behaviour::Healthy(Duration::from_millis(random.random_range(1..9000))),
        1 => Behaviour::Flaky(random.random()),
        2 => Behaviour::Recovers(until, random.random()),
        3 => Behaviour::Busy(until),
        4 => Behaviour::Failing(410),
        _ => Behaviour::Healthy(Duration::from_millis(5)),
    }
}

fn shard(random: &mut StdRng, endpoints: &[EndpointId], faults_end: Instant) -> Shard {
    let mut at = Instant::now();
    let mut records = Vec::new();
    while at < faults_end && records.len() < 300 {
        let matching = endpoints.iter().filter(|_| random.random_bool(0.5)).cloned().collect();
        records.push((at, matching));
        at += Duration::from_millis(random.random_range(0..1000));
    }
    Shard { records, progress: Mutex::new(Progress { owner: 0, checkpoint: 0 }) }
}

fn settings(random: &mut StdRng) -> Settings {
    Settings {
        claim: Duration::from_secs(30),
        max_bytes_per_endpoint: random.random_range(2..20) * 1024,
        max_attempts: random.random_range(3..200),
        schedule: Schedule { delays: vec![Duration::from_secs(5); 1000], jitter: 0.2 },
        breaker: BreakerSettings { max_open: Duration::from_secs(20), ..BreakerSettings::default() },
        ..Settings::default()
    }
}

/// Runs one instance after the other. Each is killed or stopped, and the last one runs until everything is delivered.
async fn instances(
    slot: usize,
    world: &World,
    shard: &Shard,
    settings: &Settings,
    mut random: StdRng,
    faults_end: Instant,
) {
    for number in 0.. {
        let mut world = world.clone();
        world.skew = Duration::from_secs(random.random_range(0..5));
        let engine = world.engine(settings.clone(), random.random());
        let end = Instant::now() + Duration::from_millis(random.random_range(0..40_000));
        let is_last = end >= faults_end;
        let owner = slot * 1000 + number;
        let stop = async {
            match is_last {
                true => delivered(&world, shard).await,
                false => sleep_until(end).await,
            }
        };
        if !is_last && random.random_bool(0.5) {
            tokio::select! {
                () = engine.run(pending()) => unreachable!("it is not stopped"),
                () = own(&engine, shard, owner) => {}
                () = sleep_until(end) => world.state().count("kills"),
            }
        } else {
            tokio::select! {
                () = engine.run(stop) => world.state().count("stops"),
                () = own(&engine, shard, owner) => {}
            }
        }
        if is_last {
            return;
        }
        drop(engine);
        sleep(Duration::from_millis(random.random_range(0..5000))).await;
    }
}

/// Takes the shard from its owner from time to time. The former owner goes on, and only its checkpoint is refused.
async fn own(engine: &Engine<World, World, World>, shard: &Shard, owner: usize) {
    loop {
        let start = {
            let mut progress = shard.progress.lock().unwrap();
            progress.owner = owner;
            progress.checkpoint
        };
        let reading = read(engine, shard, owner, start);
        let _ = tokio::time::timeout(Duration::from_secs(13), reading).await;
        sleep(Duration::from_secs(7)).await;
    }
}

async fn read(engine: &Engine<World, World, World>, shard: &Shard, owner: usize, start: usize) {
    let mut running = FuturesUnordered::new();
    let (mut next, mut checkpoint) = (start, start);
    let mut done = vec![false; shard.records.len()];
    loop {
        let is_written = shard.records.get(next).is_some_and(|(at, _)| *at <= Instant::now());
        if is_written && running.len() < 40 {
            running.push(handle(engine, shard, next));
            next += 1;
            continue;
        }
        tokio::select! {
            Some(number) = running.next() => done[number] = true,
            () = sleep(Duration::from_millis(250)) => {}
        }
        while done.get(checkpoint) == Some(&true) {
            checkpoint += 1;
        }
        let mut progress = shard.progress.lock().unwrap();
        if progress.owner == owner {
            progress.checkpoint = progress.checkpoint.max(checkpoint);
        }
    }
}

/// Handles a record until each of its deliveries is durable.
async fn handle(engine: &Engine<World, World, World>, shard: &Shard, number: usize) -> usize {
    let read_at = Instant::now();
    loop {
        let endpoints = &shard.records[number].1;
        let deliveries = endpoints.iter().map(|endpoint| engine.deliver(delivery(number, endpoint), read_at));
        if join_all(deliveries).await.iter().all(|handled| handled.is_durable()) {
            return number;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Waits until everything is delivered.
async fn delivered(world: &World, shard: &Shard) {
    let until = Instant::now() + Duration::from_secs(3600);
    loop {
        sleep(Duration::from_secs(1)).await;
        let is_handled = shard.progress.lock().unwrap().checkpoint == shard.records.len();
        if is_handled && world.state().items.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "after an hour, {} items are left", world.state().items.len());
    }
}

fn check(world: &World, shard: &Shard, endpoints: &[EndpointId]) {
    let state = world.state();
    for (number, (_, matching)) in shard.records.iter().enumerate() {
        for endpoint in endpoints {
            let delivery = delivery(number, endpoint);
            let key = (delivery.endpoint, delivery.id);
            let is_gone = matches!(state.behaviours[endpoint], Behaviour::Failing(410));
            let dead = state.dead.get(&key);
            if !matching.contains(endpoint) {
                assert!(!state.received.contains_key(&key) && dead.is_none(), "{endpoint} got record {number}");
            } else if is_gone {
                let is_expected = dead.is_some_and(|(reason, _)| *reason != DeadReason::Exhausted);
                assert!(is_expected, "record {number} of {endpoint}, which is gone: {dead:?}");
            } else {
                assert!(state.received.contains_key(&key), "{endpoint} never got record {number}");
                assert_eq!(dead, None, "record {number} of {endpoint}");
            }
        }
    }
}
