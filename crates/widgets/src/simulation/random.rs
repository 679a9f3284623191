//! Random schedules: clients on several instances change the same few widgets, with and without an Idempotency-Key, while
//! instances crash and the store meets all faults. A seed determines its schedule completely: `make simulate-widgets SEED=17`
//! replays one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use futures_util::future::{join, join_all};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::runtime;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::calls::{call, clock, start_clock};
use super::checks::{answers, check};
use super::world::{Faults, World};
use crate::operation::{Association, IfMatch, Operation, Outcome, Refusal, Taken};
use crate::registry::{Answered, Failure, Registry, Settings};
use crate::widget::{Name, Port, Ports, Revision, Serial};

const SEED: &str = "WIDGET_REGISTRY_SEED";
const SCHEDULES: &str = "WIDGET_REGISTRY_SCHEDULES";
const DEFAULT_SCHEDULES: u64 = 2000;
/// With this many schedules, each kind of event happens.
const ENOUGH: u64 = 1000;
const EVENTS: [&str; 20] = [
    "answers without a write",
    "attempts applied late",
    "conflicts",
    "crashes",
    "failed requests",
    "lost answers",
    "operations without a change",
    "reads during a commit",
    "reads without an answer",
    "rebuilt transactions",
    "refusals",
    "refusals by half commits",
    "repeated answers",
    "repeats of applied tokens",
    "repeats of cancelled tokens",
    "reused keys",
    "snapshots",
    "throttled requests",
    "unknown outcomes",
    "writes",
];
/// An operation may take longer than this only if its instance does not crash.
const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn each_answer_is_true_and_each_write_is_done_once_in_random_schedules() {
    let first = number_in(SEED);
    let count = number_in(SCHEDULES).unwrap_or(if first.is_some() { 1 } else { DEFAULT_SCHEDULES });
    let first = first.unwrap_or(0);
    let (seeds, happened) = (Mutex::new(first..first + count), Mutex::new(BTreeMap::<&str, usize>::new()));
    let work = || {
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            let _printer = PrintSeedOnPanic(seed);
            let world = simulate(seed);
            let state = world.state();
            let mut happened = happened.lock().unwrap();
            for (event, times) in state.counts.iter().chain(&answers(&state)) {
                *happened.entry(*event).or_default() += times;
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

#[test]
fn a_seed_determines_its_schedule() {
    for seed in 0..5 {
        let (first, second) = (simulate(seed), simulate(seed));
        let (first, second) = (first.state(), second.state());
        assert_eq!(first.history, second.history);
        assert_eq!(first.calls, second.calls);
    }
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
            eprintln!("the schedule of seed {0} failed; replay it with: make simulate-widgets SEED={0}", self.0);
        }
    }
}

fn simulate(seed: u64) -> World {
    let paused = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    paused.block_on(run(seed))
}

async fn run(seed: u64) -> World {
    start_clock();
    let mut random = StdRng::seed_from_u64(seed);
    let faults_end = Instant::now() + Duration::from_millis(random.random_range(500..6000));
    let world = World::new(random.random(), faults(&mut random, faults_end));
    let settings = Settings {
        deadline: Duration::from_millis(random.random_range(500..3000)),
        attempt_timeout: Duration::from_millis(random.random_range(50..1000)),
        remember_for: Duration::from_secs(24 * 3600),
    };
    let instances: Vec<_> =
        (0..random.random_range(1..=3)).map(|_| world.registry(settings, random.random(), clock)).collect();
    let widgets = random.random_range(2..=4);
    let clients = (0..random.random_range(2..=5)).map(|number| {
        let random = StdRng::seed_from_u64(random.random());
        Client { number, widgets, world: &world, instances: &instances, random, requests: 0 }.run(faults_end)
    });
    join_all(clients).await;
    sleep_until(faults_end).await;
    world.drain().await;
    delete_all(&world, &instances[0], widgets).await;
    check(&world.state());
    world
}

fn faults(random: &mut StdRng, until: Instant) -> Faults {
    let mut often = |max: f64| if random.random_bool(0.4) { 0.0 } else { random.random_range(0.0..max) };
    Faults {
        until,
        throttled: often(0.3),
        conflict: often(0.3),
        unavailable: often(0.2),
        lost: often(0.3),
        late: often(0.4),
        latency: Duration::from_millis(random.random_range(1..40)),
        spread: Duration::from_millis(random.random_range(0..40)),
        remembers_cancelled: random.random(),
        sees_halves: random.random(),
    }
}

/// Without faults, each operation has a definitive answer.
async fn delete_all(world: &World, instance: &Registry<World>, widgets: u32) {
    for number in 0..widgets {
        let operation = Operation::Delete { serial: serial(number), if_match: None };
        let answer = call(world, instance, &operation, None, NEVER).await;
        let Some(Ok(Answered { answer: Ok(Outcome::Deleted) | Err(Refusal::MissingWidget(_)), .. })) = answer else {
            panic!("after the faults, a delete is answered: {answer:?}");
        };
    }
    assert!(world.state().visible.is_empty());
}

fn serial(number: u32) -> Serial {
    Serial::try_from(format!("w{number}")).unwrap()
}

struct Client<'a> {
    number: usize,
    widgets: u32,
    world: &'a World,
    instances: &'a [Registry<World>],
    random: StdRng,
    requests: usize,
}

impl<'a> Client<'a> {
    async fn run(mut self, end: Instant) {
        for _ in 0..self.random.random_range(8..=20) {
            if Instant::now() >= end {
                return;
            }
            let operation = self.operation();
            // A client that chose this key before uses it again for another operation.
            self.requests += usize::from(self.random.random_bool(0.95));
            let key = self.random.random_bool(0.4).then(|| format!("{}-{}", self.number, self.requests));
            self.request(&operation, key.as_deref()).await;
            sleep(Duration::from_millis(self.random.random_range(0..50))).await;
        }
    }

    /// Repeats a request with the same key until it has an answer, or the client gives up.
    async fn request(&mut self, operation: &Operation, key: Option<&str>) {
        if key.is_some() && self.random.random_bool(0.2) {
            // The first attempt of the client goes on while it asks again.
            join(self.call(operation, key), self.call(operation, key)).await;
        }
        loop {
            let answer = self.call(operation, key).await;
            let is_definitive = matches!(answer, Some(Ok(_)));
            let asks_again = self.random.random_bool(if is_definitive { 0.1 } else { 0.7 });
            if key.is_none() || !asks_again {
                return;
            }
        }
    }

    fn call<'b>(
        &mut self,
        operation: &'b Operation,
        key: Option<&'b str>,
    ) -> impl Future<Output = Option<Result<Answered, Failure>>> + use<'a, 'b> {
        let instance = self.instances.choose(&mut self.random).unwrap();
        let crashes = self.random.random_bool(0.1);
        let crash_after = if crashes { Duration::from_millis(self.random.random_range(0..300)) } else { NEVER };
        call(self.world, instance, operation, key, crash_after)
    }

    fn operation(&mut self) -> Operation {
        let first = self.random.random_range(0..self.widgets);
        // Once in twenty times, the client names the same widget twice.
        let distance = if self.random.random_bool(0.05) { 0 } else { self.random.random_range(1..self.widgets) };
        let (subject, peer) = (serial(first), serial((first + distance) % self.widgets));
        let port = if self.random.random_bool(0.8) { Port::P } else { Port::Q };
        let association = Association { port, serial: subject.clone(), peer };
        match self.random.random_range(0..20) {
            0..5 => Operation::Create { serial: subject, name: self.name(), ports: self.ports() },
            5..7 => {
                let (name, ports) = (self.name(), self.ports());
                let (name, ports) =
                    (self.random.random_bool(0.7).then_some(name), self.random.random_bool(0.5).then_some(ports));
                let if_match = self.if_match(&subject);
                Operation::Change { serial: subject, name, ports, if_match }
            }
            7..9 => Operation::Delete { if_match: self.if_match(&subject), serial: subject },
            9..13 => Operation::Connect(association, Taken::Refuse),
            13..17 => Operation::Connect(association, Taken::Replace),
            _ => Operation::Disconnect { serial: subject, port },
        }
    }

    fn name(&mut self) -> Name {
        Name::try_from(["v", "w"].choose(&mut self.random).unwrap().to_string()).unwrap()
    }

    fn ports(&mut self) -> Ports {
        let sets: [&[Port]; 5] = [&[Port::P], &[Port::P, Port::Q], &[Port::P, Port::Q], &Port::ALL, &[Port::Q]];
        Ports::try_from(sets.choose(&mut self.random).unwrap().to_vec()).unwrap()
    }

    /// Returns the revision that a client has read, or none, or one that it invents.
    fn if_match(&mut self, serial: &Serial) -> Option<IfMatch> {
        let now = self.world.state().visible.get(serial).map(|widget| widget.revision);
        let invented = Revision { incarnation: Uuid::nil(), version: 1 };
        match self.random.random_range(0..4) {
            0 => Some(IfMatch::Revisions(vec![now.unwrap_or(invented)])),
            1 => Some(IfMatch::Any),
            _ => None,
        }
    }
}
