//! Writes in batches: the content of a call, and the effects of its answers.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::{PUBLISHED, row, scan};
use super::pubsub::Settlement;
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

/// Returns the verbs of all attempts to write a key.
fn verbs(world: &World, port: u16) -> Vec<Option<Verb>> {
    world.state().table.calls_of(port).map(|call| call.verb).collect()
}

/// Inserts a record that is older than every scan.
fn insert_old_row(world: &World, port: u16) {
    world.state().table.rows.insert(port, row(port, PUBLISHED - 2000, "old"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_key_is_inserted_and_a_known_key_is_updated() {
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
async fn an_insert_is_followed_by_an_update_if_the_record_exists() {
    let world = World::new();
    insert_old_row(&world, 200);
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
async fn a_record_inserted_between_update_and_insert_is_replaced_by_put_item() {
    let world = World::new();
    world.slow_store(|_| (LATENCY, Answer::Normal));
    world.publish([scan(1, 5)]);
    let script = async {
        world.until("inserting", |state| state.table.calls.len() == 2).await;
        insert_old_row(&world, 1);
        world.acked(1).await;
    };
    Instance::new(&world, batches()).during(script).await;
    assert_eq!(verbs(&world, 1), [UPDATE, INSERT, PUT]);
    assert_eq!(world.state().table.rows[&1].response, "message 0");
}

#[tokio::test(start_paused = true)]
async fn an_older_scan_is_stale_and_its_record_is_cached() {
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
async fn a_refused_statement_is_repeated_as_put_item_whose_answer_decides() {
    let world = World::new();
    world.store(|attempt| match (attempt.port, attempt.verb) {
        (1, Some(_)) => Answer::Refused,
        _ => Answer::Normal,
    });
    world.publish([scan(1, 5), scan(2, 5)]);
    let instance = Instance::new(&world, batches());
    instance.during(world.acked(2)).await;
    assert_eq!(verbs(&world, 1), [UPDATE, PUT]);
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.retries), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refused_item_is_dead_lettered_while_others_in_its_batches_are_stored() {
    let world = World::new();
    world.store(|attempt| if attempt.port == 1 { Answer::Refused } else { Answer::Normal });
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
            () = world.until("dead-lettered", |state| !state.topic.dead_letters.is_empty()) => {}
        }
        world.until("acked", |state| state.subscription.messages[0].acked).await;
    };
    Instance::new(&world, batches()).during(script).await;
    assert_eq!(world.state().topic.reasons(), ["refused_by_store"]);
    assert_eq!(verbs(&world, 1), [UPDATE, PUT, PUT]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_as_a_whole_counts_against_none_of_its_scans() {
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
async fn a_single_throttled_statement_of_a_call_delays_only_its_key() {
    let world = World::new();
    world.slow_store(|attempt| {
        (LATENCY, if attempt.port == 1 && attempt.of_key <= 3 { Answer::HotKey } else { Answer::Normal })
    });
    (1..=25).for_each(|port| insert_old_row(&world, port));
    world.publish((1..=25).map(|port| scan(port, 5)));
    let script = async {
        world.acked(24).await;
        assert_eq!(world.state().start.elapsed(), LATENCY);
        world.acked(25).await;
    };
    let instance = Instance::new(&world, batches());
    instance.during(script).await;
    // Alone in a call it is repeated as PutItem, whose error has reasons.
    assert_eq!(verbs(&world, 1)[..3], [UPDATE, UPDATE, PUT]);
    assert_eq!(instance.metrics.snapshot().throttled, 2);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_throttles_whole_calls_gets_fewer_calls() {
    let world = World::new();
    let throttled_for = Duration::from_secs(60);
    world.slow_store(move |attempt| {
        (LATENCY, if attempt.at < throttled_for { Answer::Throttled } else { Answer::Normal })
    });
    world.publish((1..=400).map(|port| scan(port, 5)));
    let start = Instant::now();
    let bounds = Settings { max_outstanding: n(400), max_writes: n(16), ..batches() };
    let instance = Instance::new(&world, bounds);
    instance.during(world.acked(400)).await;
    let state = world.state();
    let calls = state.table.calls_between(start, Duration::from_secs(20), throttled_for) / 25;
    assert!(calls <= 40 * 11, "{calls} calls in 40 s, but one call in flight allows only 10 per second");
    assert!(instance.process.health.conditions().is_empty(), "throttling is not an outage");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_after_a_partial_write_is_one_failure_and_loses_nothing() {
    let world = World::new();
    world.batches(|call| (call.number <= 7).then_some(Answer::Hang { written: true }));
    (1..=25).for_each(|port| insert_old_row(&world, port));
    world.publish((1..=25).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, batches());
    let script = async {
        let outage = world.until("an outage", |_| !instance.process.health.conditions().is_empty());
        tokio::select! {
            () = outage => panic!("seven failures are not an outage"),
            () = world.acked(25) => {}
        }
    };
    instance.during(script).await;
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.stale), (25, 0), "a lost response is not another scan");
    assert_eq!(world.state().subscription.deliveries.len(), 25);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_probed_by_one_call_per_second_and_ends_for_all_scans_together() {
    let world = World::new();
    let outage = Duration::from_secs(60);
    world.batches(move |call| (call.at < outage).then_some(Answer::Unavailable { written: false }));
    (1..=100).for_each(|port| insert_old_row(&world, port));
    world.publish((1..=100).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, batches());
    instance.during(world.acked(100)).await;
    let state = world.state();
    assert!(state.start.elapsed() < outage + Duration::from_secs(2), "{:?}", state.start.elapsed());
    assert_eq!(state.subscription.deliveries.len(), 100, "an outage nacks nothing");
    assert!(state.table.batches.len() < 90, "{} calls", state.table.batches.len());
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_waits_for_a_call_is_nacked_after_max_retry_time() {
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
async fn a_call_needs_one_write_permit_and_takes_all_waiting_scans() {
    let world = World::new();
    world.slow_store(|_| (LATENCY, Answer::Normal));
    (1..=100).for_each(|port| insert_old_row(&world, port));
    world.publish((1..=100).map(|port| scan(port, 5)));
    Instance::new(&world, Settings { max_writes: n(2), ..batches() }).during(world.acked(100)).await;
    let state = world.state();
    assert_eq!(state.table.batches, [25; 4]);
    assert_eq!(state.table.max_in_flight, 2);
    // The first call is sent alone, because its result decides the verbs of the next ones.
    let sent: Vec<_> = state.table.calls.iter().step_by(25).map(|call| call.at - state.start).collect();
    assert_eq!(sent, [Duration::ZERO, LATENCY, LATENCY, 2 * LATENCY]);
}

#[tokio::test(start_paused = true)]
async fn while_a_call_is_in_flight_a_scan_lingers_for_other_scans_but_does_not_wait_for_the_call() {
    let world = World::new();
    (1..=5).for_each(|port| insert_old_row(&world, port));
    world.publish([scan(1, 5)]);
    let script = async {
        world.acked(1).await;
        world.slow_store(|_| (LATENCY, Answer::Normal));
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

/// The cache must not answer for rows of a table that was deleted. The table is missing for a statement or for a call.
#[tokio::test(start_paused = true)]
async fn a_table_that_is_deleted_and_created_again_gets_its_scans_again() {
    for of_call in [false, true] {
        let world = World::new();
        world.publish([scan(1, 5)]);
        let instance = Instance::new(&world, batches());
        let script = async {
            world.acked(1).await;
            world.publish([scan(1, 4)]);
            world.acked(2).await;
            assert_eq!(instance.metrics.snapshot().known, 1);

            world.state().table.delete(Instant::now());
            let mut is_missing = true;
            match of_call {
                true => world.batches(move |_| std::mem::take(&mut is_missing).then_some(Answer::MissingTable)),
                false => world.store(move |_| match std::mem::take(&mut is_missing) {
                    true => Answer::MissingTable,
                    false => Answer::Normal,
                }),
            }
            world.publish([scan(2, 5)]);
            world.acked(3).await;
            world.publish([scan(1, 5)]);
            world.acked(4).await;
        };
        instance.during(script).await;
        assert_eq!(world.state().table.rows.keys().collect::<Vec<_>>(), [&1, &2], "of_call: {of_call}");
        assert!(world.state().table.calls.iter().all(|call| call.verb.is_some()), "every write was in a batch");
        assert_eq!(instance.metrics.snapshot().known, 1);
    }
}

/// Returns the write units per message without a cache, if this share of the keys is missing.
async fn write_units(missing: f64) -> f64 {
    const KEYS: u16 = 8000;
    let world = World::new();
    // The stride has no common factor with the number of keys, which mixes them.
    let is_missing = |port: u16| f64::from(u32::from(port) * 3_571 % u32::from(KEYS)) < missing * f64::from(KEYS);
    (1..=KEYS).filter(|port| *port != 666 && !is_missing(*port)).for_each(|port| insert_old_row(&world, port));
    let ports: Vec<_> = (1..=KEYS).filter(|port| *port != 666).collect();
    world.publish(ports.iter().map(|port| scan(*port, 5)));
    Instance::new(&world, uncached()).during(world.acked(ports.len())).await;
    world.state().table.calls.len() as f64 / ports.len() as f64
}

#[tokio::test(start_paused = true)]
async fn a_message_costs_at_most_one_write_unit_plus_the_smaller_share_of_known_or_missing_keys() {
    for missing in [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0] {
        let units = write_units(missing).await;
        let most = 1.0 + f64::min(missing, 1.0 - missing);
        assert!(units <= most + 0.02, "{units} units per message with {missing} missing");
    }
}
