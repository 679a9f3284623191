//! Random schedules: kills and stops of two processors, outages of the table, of the queue and of what is dispatched, and calls
//! that fail, hang, or lose their answers. When the faults end, each message must be where it belongs. A seed determines its
//! schedule: `EVENT_PIPELINE_SEED=17` replays one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::world::{Outage, World};
use super::{SECOND, start_with_seed};

const SEED: &str = "EVENT_PIPELINE_SEED";
const SCHEDULES: &str = "EVENT_PIPELINE_SCHEDULES";
const DEFAULT_SCHEDULES: u64 = 100;
/// With this many schedules, each kind of event happens.
const ENOUGH: u64 = 100;
const EVENTS: [&str; 16] = [
    "calls that hang",
    "conflicts",
    "dead letters",
    "dead letters again",
    "dispatches",
    "dispatches again",
    "duplicates",
    "expired receipts",
    "failed calls",
    "kills",
    "lost answers",
    "outages of the dispatch",
    "outages of the queue",
    "outages of the table",
    "receipts again",
    "stops",
];
const MESSAGES: usize = 300;
const INSTANCES: usize = 2;
/// The time to handle everything after the faults.
const RECOVERY: Duration = Duration::from_secs(3600);

/// How often each kind of event happened.
type Counts = BTreeMap<&'static str, usize>;

#[test]
fn every_event_is_stored_and_every_other_message_is_a_dead_letter() {
    let first = number_in(SEED);
    let count = number_in(SCHEDULES).unwrap_or(if first.is_some() { 1 } else { DEFAULT_SCHEDULES });
    let first = first.unwrap_or(0);
    let (seeds, happened) = (Mutex::new(first..first + count), Mutex::new(Counts::new()));
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            let Ok((counts, _)) = catch_unwind(|| simulate(seed)) else {
                eprintln!("the schedule of seed {seed} failed; replay it with {SEED}={seed}");
                failed.lock().unwrap().push(seed);
                continue;
            };
            for (event, times) in counts {
                *happened.lock().unwrap().entry(event).or_default() += times;
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
    let all: Vec<_> = happened.iter().map(|(event, times)| format!("{times} {event}")).collect();
    // The test harness hides the output of print macros in a passing test.
    writeln!(io::stderr(), "simulated {count} schedules from seed {first}: {}", all.join(", ")).unwrap();
    let missing: Vec<_> = EVENTS.iter().filter(|event| !happened.contains_key(**event)).collect();
    assert!(count < ENOUGH || missing.is_empty(), "these events never happened: {missing:?}");
}

#[test]
fn a_seed_determines_its_schedule() {
    for seed in 0..5 {
        assert_eq!(simulate(seed), simulate(seed), "seed {seed}");
    }
}

fn number_in(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test has no flags")]
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text}, but it must be a number")))
}

/// Returns what happened, and how long it took.
fn simulate(seed: u64) -> (Counts, Duration) {
    let paused = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    paused.block_on(run(seed))
}

async fn run(seed: u64) -> (Counts, Duration) {
    let began = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let world = Arc::new(World::new(random.random(), MESSAGES));
    let mut tasks = JoinSet::new();
    let mut running = Vec::new();
    keep_running(&world, &mut running, &mut random, &mut tasks);
    for _ in 0..random.random_range(0..6) {
        sleep(SECOND.mul_f64(random.random_range(0.0..20.0))).await;
        disturb(&world, &mut running, &mut random);
        keep_running(&world, &mut running, &mut random, &mut tasks);
    }
    world.end_outages();
    let ended = timeout(RECOVERY, world.until_empty()).await;
    assert!(ended.is_ok(), "the queue is not empty: {world:?}");
    world.check();
    for (stop, _) in &running {
        stop.cancel();
    }
    let ended = timeout(60 * SECOND, async {
        while let Some(ended) = tasks.join_next().await {
            assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()), "a processor panicked");
        }
    });
    assert!(ended.await.is_ok(), "a processor does not stop");
    (world.counts(), began.elapsed())
}

type Running = Vec<(CancellationToken, AbortHandle)>;

fn keep_running(world: &Arc<World>, running: &mut Running, random: &mut StdRng, tasks: &mut JoinSet<()>) {
    while running.len() < INSTANCES {
        running.push(start_with_seed(world, random.random(), random.random(), tasks));
    }
}

/// Kills or stops an instance, begins an outage, or ends all of them.
fn disturb(world: &World, running: &mut Running, random: &mut StdRng) {
    let index = random.random_range(0..running.len());
    match random.random_range(0..6) {
        0 => {
            world.count("kills");
            running.swap_remove(index).1.abort();
        }
        1 => {
            world.count("stops");
            running.swap_remove(index).0.cancel();
        }
        2 => world.set_outage(Outage::Table, true),
        3 => world.set_outage(Outage::Dispatch, true),
        4 => world.set_outage(Outage::Queue, true),
        _ => world.end_outages(),
    }
}
