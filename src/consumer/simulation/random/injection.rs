//! The random faults of a schedule: one function for each port, and one for what happens to the table by itself.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use super::KEYS;
use crate::consumer::ports::{Fit, Restart, StoreErrorKind};
use crate::consumer::simulation::faults::{
    AckFault, Answer, Attempt, BatchCall, DeliveryFault, PublishAnswer, PublishCall, Script, StreamEvent,
};
use crate::consumer::simulation::pubsub::Subscription;
use crate::consumer::simulation::world::World;

/// Why a stream of the schedule may end. The simulation does not cover the causes that only the shipped supervisor finds.
const STREAM_FAULTS: [Restart; 7] = [
    Restart::Closed,
    Restart::NotFound,
    Restart::Refused,
    Restart::NoCredentials,
    Restart::Unreachable,
    Restart::Invalid,
    Restart::Failed,
];

/// Lets each port fail with a random probability until the end of the faults.
pub(super) fn inject(world: &World, faults_end: Instant, random: &mut StdRng) {
    let mut state = world.state();
    let until = faults_end - state.start;
    configure(&mut state.subscription, random);
    state.subscription.fault = deliveries(faults_end, random);
    state.subscription.ack_fault = acks(faults_end, random);
    state.subscription.stream_fault = streams(until, random);
    state.table.fault = attempts(until, random);
    state.table.batch_fault = batches(until, random);
    state.table.description = descriptions(until, random);
    state.topic.fault = dead_letters(until, random);
}

fn configure(subscription: &mut Subscription, random: &mut StdRng) {
    subscription.retry_delay = Duration::from_millis(random.random_range(500..=20_000));
    subscription.counts_attempts = random.random();
    subscription.read_ahead = random.random_range(0..5);
    subscription.flush = Duration::from_millis(random.random_range(0..4000));
}

/// Returns the generator of one script.
fn generator(random: &mut StdRng) -> StdRng {
    StdRng::seed_from_u64(random.random())
}

fn deliveries(faults_end: Instant, random: &mut StdRng) -> Script<usize, DeliveryFault> {
    let (probability, mut random) = (random.random_range(0.0..0.5), generator(random));
    Script::new(move |_| {
        let delay = Duration::from_millis(random.random_range(0..10_000));
        let fails = random.random_bool(probability) && Instant::now() < faults_end;
        if fails { DeliveryFault::RedeliverAfter(delay) } else { DeliveryFault::None }
    })
}

fn acks(faults_end: Instant, random: &mut StdRng) -> Script<usize, AckFault> {
    let (probability, mut random) = (random.random_range(0.0..0.5), generator(random));
    Script::new(move |_| {
        let delay = Duration::from_millis(random.random_range(0..30_000));
        if !random.random_bool(probability) || Instant::now() >= faults_end {
            return AckFault::None;
        }
        if random.random() { AckFault::Lost(delay) } else { AckFault::RedeliverAfter(delay) }
    })
}

/// A stream that has received a message ends now and then, for any cause. None of them ends the program.
fn streams(until: Duration, random: &mut StdRng) -> Script<StreamEvent, Option<Restart>> {
    let (probability, mut random) = (random.random_range(0.0..0.2), generator(random));
    Script::new(move |event: StreamEvent| {
        let fails = event.received > 0 && random.random_bool(probability) && event.at < until;
        fails.then(|| STREAM_FAULTS[random.random_range(0..STREAM_FAULTS.len())])
    })
}

fn attempts(until: Duration, random: &mut StdRng) -> Script<Attempt, (Duration, Answer)> {
    let (probability, slowest) = (random.random_range(0.0..=1.0), random.random_range(1..=3500));
    let mut random = generator(random);
    Script::new(move |attempt: Attempt| {
        let latency = Duration::from_millis(random.random_range(1..=slowest));
        let fails = random.random_bool(probability) && attempt.at < until;
        let answer = store_fault(&mut random);
        if fails { (latency, answer) } else { (latency.min(Duration::from_secs(1)), Answer::Normal) }
    })
}

fn batches(until: Duration, random: &mut StdRng) -> Script<BatchCall, Option<Answer>> {
    let (probability, mut random) = (random.random_range(0.0..=0.5), generator(random));
    Script::new(move |call: BatchCall| {
        let fails = random.random_bool(probability) && call.at < until;
        let answer = batch_fault(&mut random);
        fails.then_some(answer)
    })
}

fn descriptions(until: Duration, random: &mut StdRng) -> Script<Duration, Result<Fit, StoreErrorKind>> {
    let (probability, mut random) = (random.random_range(0.0..=1.0), generator(random));
    Script::new(move |at| {
        let fails = random.random_bool(probability) && at < until;
        match random.random_range(0..3) {
            _ if !fails => Ok(Fit::Fits),
            0 => Ok(Fit::DoesNotFit("injected".to_owned())),
            1 => Err(StoreErrorKind::Permission),
            _ => Err(StoreErrorKind::Unavailable),
        }
    })
}

fn dead_letters(until: Duration, random: &mut StdRng) -> Script<PublishCall, PublishAnswer> {
    let (probability, mut random) = (random.random_range(0.0..=1.0), generator(random));
    Script::new(move |call: PublishCall| {
        let fails = random.random_bool(probability) && call.at < until;
        let answer = topic_fault(&mut random);
        if fails { answer } else { PublishAnswer::Normal }
    })
}

fn store_fault(random: &mut StdRng) -> Answer {
    match random.random_range(0..8) {
        0 | 1 => Answer::Unavailable { written: random.random() },
        2 => Answer::Hang { written: random.random() },
        3 => Answer::Throttled,
        4 => Answer::HotKey,
        5 => Answer::MissingTable,
        6 => Answer::Refused,
        _ if random.random_bool(0.1) => Answer::ForeignRow,
        _ => Answer::Unavailable { written: true },
    }
}

/// Returns a fault of a whole batch. Only a single statement can fail because of a foreign row.
fn batch_fault(random: &mut StdRng) -> Answer {
    loop {
        match store_fault(random) {
            Answer::ForeignRow => {}
            answer => return answer,
        }
    }
}

fn topic_fault(random: &mut StdRng) -> PublishAnswer {
    match random.random_range(0..4) {
        0 => PublishAnswer::Unavailable,
        1 => PublishAnswer::ResponseLost,
        2 => PublishAnswer::Invalid,
        _ => PublishAnswer::Hang,
    }
}

/// Deletes rows, and the table, which is then created again, at random times until the end of the faults. In half of the
/// schedules nothing vanishes.
pub(super) async fn delete_rows(world: World, faults_end: Instant, mut random: StdRng) {
    let longest = if random.random() { 40_000 } else { return };
    loop {
        sleep(Duration::from_millis(random.random_range(0..longest))).await;
        if Instant::now() >= faults_end {
            return;
        }
        if random.random_bool(0.3) {
            let created = Instant::now() + Duration::from_millis(random.random_range(0..10_000));
            world.state().table.delete(created.min(faults_end));
        } else {
            world.state().table.delete_row(random.random_range(1..=KEYS));
        }
        world.notify();
    }
}
