//! Scripts of writes that go out together: what is in a call, and what follows from its answer.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::{PUBLISHED, scan};
use super::pubsub::Settlement;
use super::store::Row;
use super::world::World;
use crate::consumer::ports::Verb;
use crate::consumer::settings::{Settings, WriteMode};

const LATENCY: Duration = Duration::from_millis(100);
const LINGER: Duration = Duration::from_millis(2);
const UPDATE: Option<Verb> = Some(Verb::Update);
const INSERT: Option<Verb> = Some(Verb::Insert);
const PUT: Option<Verb> = None;

fn batches() -> Settings {
    Settings { write_mode: WriteMode::Batch { linger: LINGER }, ..settings() }
}

fn uncached() -> Settings {
    Settings { cache_entries: 0, ..batches() }
}

/// The verbs of every attempt on a key.
fn verbs(world: &World, port: u16) -> Vec<Option<Verb>> {
    world.state().table.calls_of(port).map(|call| call.verb).collect()
}

/// A record as old as can be, so that every scan is newer.
fn has_row(world: &World, port: u16) {
    let row = Row { timestamp: PUBLISHED - 2000, response: "of before".to_owned() };
    world.state().table.rows.insert(port, row);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_missing_is_inserted_and_one_that_is_known_updated() {
    let world = World::new();
    world.publish([scan(1, 5)]);
    let script = async {
        world.acked(1).await;
        world.publish([scan(1, 6)]);
        world.acked(2).await;
    };
    Instance::new(&world, batches()).during(script).await;
    assert_eq!(verbs(&world, 1), [UPDATE, INSERT, UPDATE]);
    assert_eq!(world.state().table.rows[&1].response, "message 1");
}

#[tokio::test(start_paused = true)]
async fn an_insert_that_meets_a_record_becomes_an_update() {
    let world = World::new();
    has_row(&world, 200);
    world.publish((1..=100).map(|port| scan(port, 5)));
    let script = async {
        world.acked(100).await;
        world.publish([scan(200, 5)]);
        world.acked(101).await;
    };
    Instance::new(&world, batches()).during(script).await;
    assert_eq!(verbs(&world, 200), [INSERT, UPDATE]);
    assert_eq!(world.state().table.rows[&200].response, "message 100");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_comes_between_both_is_for_a_write_by_itself() {
    let world = World::new();
    world.slow_store(|_| (LATENCY, Answer::Truly));
    world.publish([scan(1, 5)]);
    let script = async {
        world.until("inserting", |state| state.table.calls.len() == 2).await;
        has_row(&world, 1);
        world.acked(1).await;
    };
    Instance::new(&world, batches()).during(script).await;
    assert_eq!(verbs(&world, 1), [UPDATE, INSERT, PUT]);
    assert_eq!(world.state().table.rows[&1].response, "message 0");
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_is_not_newer_is_stale_and_known() {
    let world = World::new();
    world.publish([scan(1, 9)]);
    Instance::new(&world, batches()).during(world.acked(1)).await;
    world.publish([scan(1, 5)]);
    let other = Instance::new(&world, batches()).numbered(1);
    let script = async {
        world.acked(2).await;
        world.publish([scan(1, 8)]);
        world.acked(3).await;
    };
    other.during(script).await;
    let metrics = other.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.stale, metrics.known), (0, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_statement_is_judged_by_the_answer_to_a_write_by_itself() {
    let world = World::new();
    world.store(|attempt| match (attempt.port, attempt.verb) {
        (1, Some(_)) => Answer::Refused,
        _ => Answer::Truly,
    });
    world.publish([scan(1, 5), scan(2, 5)]);
    let instance = Instance::new(&world, batches());
    instance.during(world.acked(2)).await;
    assert_eq!(verbs(&world, 1), [UPDATE, PUT]);
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.retries), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refused_item_is_condemned_beside_others_of_its_calls() {
    let world = World::new();
    world.store(|attempt| if attempt.port == 1 { Answer::Refused } else { Answer::Truly });
    world.publish([scan(1, 5)]);
    let script = async {
        let others = async {
            for port in 100.. {
                world.publish([scan(port, 5)]);
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = others => {}
            () = world.until("lettered", |state| !state.topic.letters.is_empty()) => {}
        }
        world.until("acked", |state| state.subscription.messages[0].acked).await;
    };
    Instance::new(&world, batches()).during(script).await;
    assert_eq!(world.state().topic.reasons(), ["refused_by_store"]);
    assert_eq!(verbs(&world, 1), [UPDATE, PUT, PUT, PUT]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_as_a_whole_judges_nobody() {
    let world = World::new();
    world.batches(|_| Some(Answer::Refused));
    world.publish((1..=60).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, batches());
    instance.during(world.acked(60)).await;
    assert!((1..=60).all(|port| verbs(&world, port) == [UPDATE, PUT]));
    assert_eq!(instance.metrics.snapshot().stored, 60);
    assert!(instance.process.health.conditions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_throttled_statement_beside_others_delays_its_key_alone() {
    let world = World::new();
    world.slow_store(|attempt| {
        (LATENCY, if attempt.port == 1 && attempt.of_key <= 3 { Answer::HotKey } else { Answer::Truly })
    });
    (1..=25).for_each(|port| has_row(&world, port));
    world.publish((1..=25).map(|port| scan(port, 5)));
    let script = async {
        world.acked(24).await;
        assert_eq!(world.state().start.elapsed(), LATENCY);
        world.acked(25).await;
    };
    let instance = Instance::new(&world, batches());
    instance.during(script).await;
    // Beside nobody its reasons are asked for.
    assert_eq!(verbs(&world, 1)[..3], [UPDATE, UPDATE, PUT]);
    assert_eq!(instance.metrics.snapshot().throttled, 2);
}

/// How many calls were in flight at once while a table throttled every statement for a minute, and after it.
#[tokio::test(start_paused = true)]
async fn a_table_that_throttles_whole_calls_gets_fewer_of_them() {
    let world = World::new();
    let spell = Duration::from_secs(60);
    world.slow_store(move |attempt| (LATENCY, if attempt.at < spell { Answer::Throttled } else { Answer::Truly }));
    world.publish((1..=400).map(|port| scan(port, 5)));
    let start = Instant::now();
    let bounds = Settings { max_outstanding: n(400), max_writes: n(16), ..batches() };
    let instance = Instance::new(&world, bounds);
    instance.during(world.acked(400)).await;
    let state = world.state();
    let calls = state.table.calls_between(start, Duration::from_secs(20), spell) / 25;
    assert!(calls <= 40 * 11, "{calls} calls in 40 s, where one at a time makes 10 a second");
    assert!(instance.process.health.conditions().is_empty(), "throttling is an answer");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_after_a_part_was_written_is_one_failure_and_loses_nothing() {
    let world = World::new();
    world.batches(|calling| (calling.number <= 7).then_some(Answer::Never { written: true }));
    (1..=25).for_each(|port| has_row(&world, port));
    world.publish((1..=25).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, batches());
    let script = async {
        let no_outage = world.until("an outage", |_| !instance.process.health.conditions().is_empty());
        tokio::select! {
            () = no_outage => panic!("seven failures are no outage"),
            () = world.acked(25) => {}
        }
    };
    instance.during(script).await;
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.stale), (25, 0), "an answer that was lost is no other scan");
    assert_eq!(world.state().subscription.deliveries.len(), 25);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_probed_by_one_call_a_second_and_ends_for_all_at_once() {
    let world = World::new();
    let away = Duration::from_secs(60);
    world.batches(move |calling| (calling.at < away).then_some(Answer::Unavailable { written: false }));
    (1..=100).for_each(|port| has_row(&world, port));
    world.publish((1..=100).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, batches());
    instance.during(world.acked(100)).await;
    let state = world.state();
    assert!(state.start.elapsed() < away + Duration::from_secs(2), "{:?}", state.start.elapsed());
    assert_eq!(state.subscription.deliveries.len(), 100, "an outage nacks nothing");
    assert!(state.table.batches.len() < 90, "{} calls", state.table.batches.len());
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_waits_for_a_call_is_given_back_at_its_age() {
    let world = World::new();
    world.store(|_| Answer::Unavailable { written: false });
    world.state().subscription.retry_delay = Duration::from_secs(3600);
    world.publish((1..=50).map(|port| scan(port, 5)));
    let start = Instant::now();
    let bounds = Settings { max_retry_time: Duration::from_secs(60), max_writes: n(1), ..batches() };
    let nacked = world.until("nacked", |state| state.subscription.settled(Settlement::Nack) == 50);
    Instance::new(&world, bounds).during(nacked).await;
    assert!((54..=61).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_one_turn_and_all_that_wait() {
    let world = World::new();
    world.slow_store(|_| (LATENCY, Answer::Truly));
    (1..=100).for_each(|port| has_row(&world, port));
    world.publish((1..=100).map(|port| scan(port, 5)));
    Instance::new(&world, Settings { max_writes: n(2), ..batches() }).during(world.acked(100)).await;
    let state = world.state();
    assert_eq!(state.table.batches, [25; 4]);
    assert_eq!(state.table.most_in_flight, 2);
    // The first call goes alone, for what is to be learned from it.
    let sent: Vec<_> = state.table.calls.iter().step_by(25).map(|call| call.at - state.start).collect();
    assert_eq!(sent, [Duration::ZERO, LATENCY, LATENCY, 2 * LATENCY]);
}

#[tokio::test(start_paused = true)]
async fn beside_a_call_in_flight_a_scan_lingers_for_others_and_not_for_the_call() {
    let world = World::new();
    (1..=5).for_each(|port| has_row(&world, port));
    world.publish([scan(1, 5)]);
    let script = async {
        world.acked(1).await;
        world.slow_store(|_| (LATENCY, Answer::Truly));
        let start = Instant::now();
        for port in 2..=5 {
            world.publish([scan(port, 5)]);
            sleep(Duration::from_millis(1)).await;
        }
        world.acked(5).await;
        let sent: Vec<_> = (2..=5)
            .map(|port| world.state().table.calls_of(port).map(|call| call.at - start).next().unwrap().as_millis())
            .collect();
        assert_eq!((sent[0], sent[1], sent[2]), (0, sent[2], sent[1]), "{sent:?}");
        assert!((2..=5).contains(&sent[1]), "{sent:?}");
    };
    Instance::new(&world, batches()).during(script).await;
}

/// Write units a message where this share of the keys is missing and nothing is remembered.
async fn write_units(missing: f64) -> f64 {
    const KEYS: u16 = 8000;
    let world = World::new();
    // A stride that is prime to it mixes them.
    let is_missing = |port: u16| f64::from(u32::from(port) * 3_571 % u32::from(KEYS)) < missing * f64::from(KEYS);
    (1..=KEYS).filter(|port| *port != 666 && !is_missing(*port)).for_each(|port| has_row(&world, port));
    let ports: Vec<_> = (1..=KEYS).filter(|port| *port != 666).collect();
    world.publish(ports.iter().map(|port| scan(*port, 5)));
    Instance::new(&world, uncached()).during(world.acked(ports.len())).await;
    world.state().table.calls.len() as f64 / ports.len() as f64
}

#[tokio::test(start_paused = true)]
async fn known_and_missing_keys_in_any_share_cost_at_most_one_unit_and_the_smaller_share() {
    for missing in [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0] {
        let units = write_units(missing).await;
        let most = 1.0 + f64::min(missing, 1.0 - missing);
        assert!(units <= most + 0.02, "{units} units a message with {missing} missing");
    }
}
