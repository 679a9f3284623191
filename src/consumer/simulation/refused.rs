//! Refused writes: either the item or the table is the cause.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::{PANICKING_PORT, PUBLISHED, broken, row, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::Condition;
use crate::consumer::ports::{Fit, StoreErrorKind};
use crate::consumer::settings::{Settings, WriteMode};

const MODES: [WriteMode; 2] = [WriteMode::Put, WriteMode::Batch { linger: Duration::from_millis(2) }];

/// Returns why the table makes the instance unready.
fn fault(instance: &Instance) -> Option<String> {
    let conditions = instance.process.health.conditions();
    conditions.into_iter().find_map(|(condition, detail)| (condition == Condition::Refusals).then_some(detail))
}

fn is_unhealthy(instance: &Instance) -> bool {
    fault(instance).is_some()
}

/// Publishes a scan of another key every second, while it is polled.
async fn publish_one_per_second(world: &World, ports: std::ops::Range<u16>) {
    for port in ports {
        sleep(Duration::from_secs(1)).await;
        world.publish([scan(port, 5)]);
    }
    std::future::pending().await
}

/// Waits for this number of dead letters while a scan of another key is stored every second.
async fn dead_lettered_beside_others(world: &World, count: usize) {
    tokio::select! {
        () = publish_one_per_second(world, 1000..3000) => {}
        () = world.until("dead-lettered", |state| state.topic.dead_letters.len() >= count) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_scan_is_dead_lettered_after_a_fitting_description_and_a_stored_write_of_another_key() {
    for max_outstanding in [1, 100] {
        let world = World::new();
        world.store(|attempt| if attempt.port == 1 { Answer::Refused } else { Answer::Normal });
        world.publish([scan(1, 5)]);
        let instance = Instance::new(&world, Settings { max_outstanding: n(max_outstanding), ..settings() });
        let script = async {
            dead_lettered_beside_others(&world, 1).await;
            world.until("acked", |state| state.subscription.messages[0].acked).await;
        };
        instance.during(script).await;
        let state = world.state();
        assert_eq!(state.topic.reasons(), ["refused_by_store"]);
        assert_eq!(state.table.calls_of(1).count(), 2);
        // The first description came before the first stored write, and nothing else wakes the message before its retry.
        assert_eq!((state.topic.calls[0] - state.start).as_secs(), 10);
        assert_eq!(state.table.descriptions.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_stored_writes_of_other_keys_no_scan_is_dead_lettered() {
    let world = World::new();
    world.store(|attempt| if attempt.of_key <= 20 { Answer::Refused } else { Answer::Normal });
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    instance.during(world.acked(1)).await;
    assert!(world.state().topic.calls.is_empty());
    assert!(world.state().start.elapsed() >= Duration::from_secs(200));
}

/// E.g. because an index was deleted meanwhile.
#[tokio::test(start_paused = true)]
async fn a_refused_scan_that_the_table_takes_later_is_stored_and_not_dead_lettered() {
    let world = World::new();
    world.store(|attempt| if attempt.port <= 50 && attempt.of_key == 1 { Answer::Refused } else { Answer::Normal });
    world.publish((1..=50).map(|port| scan(port, 5)));
    let script = async {
        tokio::select! {
            () = publish_one_per_second(&world, 1000..3000) => {}
            () = world.until("stored", |state| (1..=50).all(|port| state.table.rows.contains_key(&port))) => {}
        }
    };
    Instance::new(&world, settings()).during(script).await;
    assert!(world.state().topic.calls.is_empty());
}

/// Another error proves nothing, and a table in trouble must not get all proven writes at once again.
#[tokio::test(start_paused = true)]
async fn a_retry_that_is_throttled_or_unanswered_is_repeated_after_ten_seconds() {
    for answer in [Answer::Throttled, Answer::Hang { written: false }] {
        let world = World::new();
        world.store(move |attempt| match (attempt.port, attempt.of_key) {
            (1, 2) => answer,
            (1, _) => Answer::Refused,
            _ => Answer::Normal,
        });
        world.publish([scan(1, 5)]);
        Instance::new(&world, settings()).during(dead_lettered_beside_others(&world, 1)).await;
        let state = world.state();
        let calls: Vec<u64> = state.table.calls_of(1).map(|call| (call.at - state.start).as_secs()).collect();
        let timeout = if answer == Answer::Throttled { 0 } else { 3 };
        assert_eq!(calls, [0, 10, 20 + timeout], "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_the_scans_are_dead_lettered_at_100_per_second_while_the_others_are_stored() {
    const SCANS: u16 = 8000;
    let is_refused = |port: u16| port.is_multiple_of(2);
    for write_mode in MODES {
        let world = World::new();
        world.store(move |attempt| if is_refused(attempt.port) { Answer::Refused } else { Answer::Normal });
        let instance = Instance::new(&world, Settings { write_mode, max_outstanding: n(1000), ..settings() });
        let script = async {
            for first in (1..SCANS).step_by(40) {
                world.publish((first..first + 40).filter(|port| *port != PANICKING_PORT).map(|port| scan(port, 5)));
                sleep(Duration::from_millis(100)).await;
            }
            let state = world.state();
            let dead_letters = state.topic.dead_letters.len();
            assert!(dead_letters >= 100 * 20, "{write_mode:?}: {dead_letters} in 20 s");
            let ports: std::collections::BTreeSet<u16> = state.table.rows.keys().copied().collect();
            let published = (1..SCANS).filter(|port| *port != PANICKING_PORT && !is_refused(*port));
            assert!(published.into_iter().all(|port| ports.contains(&port)), "{write_mode:?}");
            for delivery in &state.subscription.deliveries {
                if let Some((Settlement::Ack, at)) = delivery.settled
                    && !state.topic.has(&state.subscription.messages[delivery.message].payload)
                {
                    assert!(at - delivery.at <= Duration::from_millis(100), "{write_mode:?}: {:?}", at - delivery.at);
                }
            }
        };
        instance.during(script).await;
        assert!(!is_unhealthy(&instance));
    }
}

#[tokio::test(start_paused = true)]
async fn refused_scans_are_parked_and_others_flow_while_the_table_may_not_be_described() {
    for write_mode in MODES {
        let world = World::new();
        world.store(|attempt| if attempt.port >= 10_000 { Answer::Refused } else { Answer::Normal });
        world.descriptions(|_| Err(StoreErrorKind::Permission));
        world.state().subscription.retry_delay = Duration::from_secs(10);
        let instance = Instance::new(&world, Settings { write_mode, ..settings() });
        let script = async {
            for second in 0..200 {
                let published = Instant::now();
                world.publish((0..5).map(|n| scan(10_000 + 5 * second + n, 5)));
                world.publish((1000..1020).map(|port| scan(port + 20 * second, 5)));
                let stored = 20 * usize::from(second + 1);
                world.until("stored", |state| state.table.rows.len() == stored).await;
                assert!(published.elapsed() <= Duration::from_millis(100), "{write_mode:?}: {:?}", published.elapsed());
                sleep_until(published + Duration::from_secs(1)).await;
                assert_eq!(instance.process.load().parked, 100.min(5 * usize::from(second + 1)));
                assert!(!is_unhealthy(&instance));
            }
        };
        instance.during(script).await;
        let state = world.state();
        assert!(state.topic.calls.is_empty());
        assert_eq!(state.table.descriptions.len(), 4, "one per minute");
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_does_not_fit_makes_the_instance_unready_and_dead_letters_nothing() {
    let (from, until) = (Duration::from_secs(5), Duration::from_secs(60));
    let is_present = move |at: Duration| at >= from && at < until;
    // With the shorter time, no message is parked any more when the index is deleted.
    for max_retry_time in [20, 1800].map(Duration::from_secs) {
        let world = World::new();
        let start = Instant::now();
        world.state().subscription.retry_delay = Duration::from_secs(120);
        world.store(move |attempt| match is_present(attempt.at) && attempt.port.is_multiple_of(2) {
            true => Answer::Refused,
            false => Answer::Normal,
        });
        world.descriptions(move |at| match is_present(at) {
            true => Ok(Fit::DoesNotFit("its index by-port needs port (S)".to_owned())),
            false => Ok(Fit::Fits),
        });
        let instance = Instance::new(&world, Settings { max_retry_time, ..settings() });
        let script = async {
            world.publish((1..=50).map(|port| scan(port, 5)));
            sleep_until(start + from).await;
            assert!(!is_unhealthy(&instance));
            world.publish((51..=100).map(|port| scan(port, 5)));
            sleep_until(start + from + Duration::from_secs(3)).await;
            let fault = fault(&instance).expect("the instance is unready");
            assert!(fault.contains("its index by-port needs port (S)"), "{fault}");
            sleep_until(start + Duration::from_secs(30)).await;
            world.publish((101..=150).filter(|port| port % 2 == 1).map(|port| scan(port, 5)));
            sleep_until(start + until - Duration::from_secs(1)).await;
            assert!(is_unhealthy(&instance));
            assert_eq!(instance.process.load().parked, if max_retry_time > until { 25 } else { 0 });
            sleep_until(start + until + Duration::from_secs(3)).await;
            assert!(!is_unhealthy(&instance));
            world.acked(125).await;
        };
        instance.during(script).await;
        let state = world.state();
        assert!(state.topic.calls.is_empty());
        assert!(state.table.descriptions.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(2)));
        assert!((27..=32).contains(&state.table.descriptions.len()), "{:?}", state.table.descriptions.len());
    }
}

/// DescribeTable may show the table as it was before a change.
#[tokio::test(start_paused = true)]
async fn a_table_that_refuses_everything_although_its_description_fits_dead_letters_nothing() {
    for write_mode in MODES {
        let world = World::new();
        let broken = 10..30;
        world.store(move |attempt| match broken.contains(&attempt.at.as_secs()) {
            true => Answer::Refused,
            false => Answer::Normal,
        });
        let instance = Instance::new(&world, Settings { write_mode, ..settings() });
        let script = async {
            for second in 0..60 {
                world.publish((1001..=1020).map(|port| scan(port + 20 * second, 5)));
                sleep(Duration::from_secs(1)).await;
            }
            world.acked(1200).await;
        };
        instance.during(script).await;
        assert!(world.state().topic.calls.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_refuses_all_writes_gets_one_write_per_second_and_no_message_is_lost() {
    let world = World::new();
    let broken_until = Duration::from_secs(600);
    world.store(move |attempt| if attempt.at < broken_until { Answer::Refused } else { Answer::Normal });
    let start = Instant::now();
    world.publish((1..=400).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, Settings { consumers: n(2), ..settings() });
    let script = async {
        sleep_until(start + Duration::from_secs(120)).await;
        assert!(fault(&instance).is_some_and(|fault| fault.contains("refuses every write")));
        let calls = world.state().table.calls_between(start, Duration::from_secs(20), Duration::from_secs(120));
        assert!((95..=101).contains(&calls), "{calls} calls in 100 s");
        let nacked = world.state().subscription.settled(Settlement::Nack);
        // Those in flight when the circuit breaker opened, and one per second.
        assert!(nacked <= 100 + 120, "{nacked} nacked in 120 s");
        world.acked(400).await;
    };
    instance.during(script).await;
    assert!(!is_unhealthy(&instance));
    assert!(world.state().topic.calls.is_empty(), "a dead letter although the table is the cause");
    assert!(start.elapsed() < broken_until + Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_first_stored_write_closes_the_circuit_breaker_even_if_no_message_is_parked() {
    let world = World::new();
    let broken_until = Duration::from_secs(300);
    world.store(move |attempt| if attempt.at < broken_until { Answer::Refused } else { Answer::Normal });
    world.state().subscription.retry_delay = Duration::from_secs(3600);
    let start = Instant::now();
    world.publish((1..=120).map(|port| scan(port, 5)));
    let short = Settings { max_retry_time: Duration::from_secs(60), ..settings() };
    let instance = Instance::new(&world, short);
    let script = async {
        sleep_until(start + Duration::from_secs(400)).await;
        assert_eq!(world.state().subscription.unsettled(), 0);
        assert!(is_unhealthy(&instance));
        world.publish((201..=300).map(|port| scan(port, 5)));
        let published = Instant::now();
        world.acked(100).await;
        assert!(published.elapsed() < Duration::from_secs(3), "{:?}", published.elapsed());
        assert!(!is_unhealthy(&instance));
    };
    instance.during(script).await;
}

#[tokio::test(start_paused = true)]
async fn one_refused_write_beside_parked_poison_does_not_make_the_instance_unhealthy() {
    let world = World::new();
    world.store(|attempt| if attempt.port == 1 { Answer::Refused } else { Answer::Normal });
    world.publish((0..100).map(|_| broken()));
    let instance = Instance::new(&world, settings()).without_topic();
    let script = async {
        sleep(Duration::from_millis(100)).await;
        world.publish([scan(1, 5)]);
        sleep(Duration::from_millis(100)).await;
        assert_eq!(world.state().subscription.settled(Settlement::Nack), 1, "no permit is left for it");
        assert!(!is_unhealthy(&instance));
    };
    instance.during(script).await;
}

/// There are more refused keys than parking permits. The table stores a write every second.
#[tokio::test(start_paused = true)]
async fn all_refused_scans_are_dead_lettered_although_they_need_more_parking_permits_than_there_are() {
    let world = World::new();
    world.store(|attempt| if attempt.port <= 150 { Answer::Refused } else { Answer::Normal });
    world.publish((1..=150).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, settings());
    instance.during(dead_lettered_beside_others(&world, 150)).await;
    assert!(world.state().start.elapsed() < Duration::from_secs(300), "{:?}", world.state().start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_starts_to_refuse_all_writes_is_noticed_while_one_write_is_parked() {
    let world = World::new();
    let breaks = Duration::from_secs(15);
    world.store(move |attempt| {
        let refused = attempt.port == 1 || attempt.at >= breaks;
        if refused { Answer::Refused } else { Answer::Normal }
    });
    world.descriptions(|_| Err(StoreErrorKind::Permission));
    world.publish([scan(1, 5), scan(2, 5)]);
    let instance = Instance::new(&world, settings());
    let script = async {
        sleep(Duration::from_secs(5)).await;
        world.publish([scan(3, 5)]);
        sleep(Duration::from_secs(15)).await;
        world.publish((11..=130).map(|port| scan(port, 5)));
        sleep(Duration::from_secs(60)).await;
        assert!(is_unhealthy(&instance));
        let nacked = world.state().subscription.settled(Settlement::Nack);
        assert!(nacked < 200, "{nacked} nacked in a minute");
    };
    instance.during(script).await;
}

/// Nothing is stored: nine of ten scans are stale, and the table refuses the others.
#[tokio::test(start_paused = true)]
async fn stale_scans_keep_their_rate_while_the_parking_lot_is_full_of_refused_ones() {
    const SCANS: u16 = 2000;
    let is_refused = |port: u16| port.is_multiple_of(10);
    for write_mode in MODES {
        let world = World::new();
        world.store(move |attempt| if is_refused(attempt.port) { Answer::Refused } else { Answer::Normal });
        world.state().subscription.retry_delay = Duration::from_secs(120);
        for port in (1..=2 * SCANS).filter(|port| !is_refused(*port)) {
            world.state().table.rows.insert(port, row(port, PUBLISHED, "newer"));
        }
        let instance = Instance::new(&world, Settings { write_mode, cache_entries: 0, ..settings() });
        let script = async {
            // The first scans fill the parking lot. No stale scan is among them.
            world.publish((1..=100).map(|n| scan(10 * n, 5)));
            sleep(Duration::from_secs(1)).await;
            assert!(is_unhealthy(&instance), "the table has refused every write");
            let published = Instant::now();
            world.publish((SCANS..2 * SCANS).map(|port| scan(port, 5)));
            let stale = usize::from(SCANS) * 9 / 10;
            while world.state().subscription.acked() < stale {
                sleep(Duration::from_millis(100)).await;
                let is_late = published.elapsed() > Duration::from_secs(3);
                assert!(!is_late, "{write_mode:?}: {} acked", world.state().subscription.acked());
                assert!(!is_unhealthy(&instance) || published.elapsed() < Duration::from_millis(1500));
            }
            // The parked writes are refused again, and more refused scans arrive beside stale ones.
            for round in 0..60 {
                world.publish([scan(10, 6 + round), scan(SCANS + 1, 6)]);
                sleep(Duration::from_secs(1)).await;
                assert!(!is_unhealthy(&instance), "{write_mode:?}, round {round}");
            }
        };
        instance.during(script).await;
        assert!(world.state().topic.calls.is_empty(), "a dead letter, although no write of another key was stored");
    }
}
