//! Refused writes: either the item or the table is the cause.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::{PUBLISHED, broken, row, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::Condition;
use crate::consumer::settings::{Settings, WriteMode};

fn is_unhealthy(instance: &Instance) -> bool {
    instance.process.health.conditions().iter().any(|(condition, _)| *condition == Condition::Refusals)
}

/// Publishes a scan of another key every second, while it is polled.
async fn publish_one_per_second(world: &World, ports: std::ops::Range<u16>) {
    for port in ports {
        sleep(Duration::from_secs(1)).await;
        world.publish([scan(port, 5)]);
    }
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn a_scan_is_dead_lettered_after_three_refusals_with_stored_writes_of_other_keys_between_them() {
    let world = World::new();
    world.store(|attempt| if attempt.port == 1 { Answer::Refused } else { Answer::Normal });
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    let dead_lettered = world.until("dead-lettered", |state| !state.topic.dead_letters.is_empty());
    let script = async {
        tokio::select! {
            () = publish_one_per_second(&world, 100..200) => {}
            () = dead_lettered => {}
        }
        world.until("acked", |state| state.subscription.messages[0].acked).await;
    };
    instance.during(script).await;
    let state = world.state();
    assert_eq!(state.topic.reasons(), ["refused_by_store"]);
    assert_eq!(state.table.calls_of(1).count(), 3);
    assert!(state.topic.calls[0] - state.start >= Duration::from_secs(20));
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

#[tokio::test(start_paused = true)]
async fn a_table_that_refuses_all_writes_gets_one_new_message_per_second_and_no_message_is_lost() {
    let world = World::new();
    let broken_until = Duration::from_secs(600);
    world.store(move |attempt| if attempt.at < broken_until { Answer::Refused } else { Answer::Normal });
    let start = Instant::now();
    world.publish((1..=200).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, Settings { consumers: n(2), ..settings() });
    let script = async {
        sleep_until(start + Duration::from_secs(120)).await;
        assert!(is_unhealthy(&instance));
        let calls = world.state().table.calls_between(start, Duration::from_secs(20), Duration::from_secs(120));
        // One new message per second, and each of the ten parked ones every 10 s.
        assert!((90..=210).contains(&calls), "{calls} calls in 100 s");
        let nacked = world.state().subscription.settled(Settlement::Nack);
        assert!(nacked <= 230, "{nacked} nacked in 120 s");
        world.acked(200).await;
    };
    instance.during(script).await;
    assert!(!is_unhealthy(&instance));
    assert!(world.state().topic.calls.is_empty(), "a dead letter although the table is the cause");
    assert!(start.elapsed() < broken_until + Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_first_stored_write_ends_the_slow_pace_even_if_no_message_is_parked() {
    let world = World::new();
    let broken_until = Duration::from_secs(300);
    world.store(move |attempt| if attempt.at < broken_until { Answer::Refused } else { Answer::Normal });
    world.state().subscription.retry_delay = Duration::from_secs(3600);
    let start = Instant::now();
    world.publish((1..=20).map(|port| scan(port, 5)));
    let short = Settings { max_retry_time: Duration::from_secs(60), ..settings() };
    let instance = Instance::new(&world, short);
    let script = async {
        sleep_until(start + Duration::from_secs(400)).await;
        assert_eq!(world.state().subscription.unsettled(), 0);
        assert!(is_unhealthy(&instance));
        world.publish((101..=200).map(|port| scan(port, 5)));
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
    world.publish((0..10).map(|_| broken()));
    let instance = Instance::new(&world, settings()).without_topic();
    let script = async {
        sleep(Duration::from_millis(100)).await;
        world.publish([scan(1, 5)]);
        sleep(Duration::from_millis(100)).await;
        assert!(!is_unhealthy(&instance));
    };
    instance.during(script).await;
}

/// There are more refused keys than parking permits. Parked messages must stay parked until they are dead-lettered.
#[tokio::test(start_paused = true)]
async fn refused_keys_without_a_parking_permit_do_not_prevent_the_dead_letters_of_parked_ones() {
    let world = World::new();
    world.store(|attempt| if attempt.port <= 40 { Answer::Refused } else { Answer::Normal });
    world.publish((1..=40).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, settings());
    let script = async {
        let dead_lettered = world.until("40 dead letters", |state| state.topic.dead_letters.len() >= 40);
        tokio::select! {
            () = publish_one_per_second(&world, 1000..2000) => {}
            () = dead_lettered => {}
        }
    };
    instance.during(script).await;
    assert!(world.state().start.elapsed() < Duration::from_secs(4 * 30), "{:?}", world.state().start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_starts_to_refuse_all_writes_is_noticed_while_one_write_is_parked() {
    let world = World::new();
    let breaks = Duration::from_secs(15);
    world.store(move |attempt| {
        let refused = attempt.port == 1 || attempt.at >= breaks;
        if refused { Answer::Refused } else { Answer::Normal }
    });
    world.publish([scan(1, 5), scan(2, 5)]);
    let instance = Instance::new(&world, settings());
    let script = async {
        sleep(Duration::from_secs(5)).await;
        world.publish([scan(3, 5)]);
        sleep(Duration::from_secs(15)).await;
        world.publish((11..=100).map(|port| scan(port, 5)));
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
    for write_mode in [WriteMode::Put, WriteMode::Batch { linger: Duration::from_millis(2) }] {
        let world = World::new();
        world.store(move |attempt| if is_refused(attempt.port) { Answer::Refused } else { Answer::Normal });
        world.state().subscription.retry_delay = Duration::from_secs(60);
        for port in (1..=2 * SCANS).filter(|port| !is_refused(*port)) {
            world.state().table.rows.insert(port, row(port, PUBLISHED, "newer"));
        }
        let instance = Instance::new(&world, Settings { write_mode, cache_entries: 0, ..settings() });
        let script = async {
            // The first scans fill the parking lot. No stale scan is among them.
            world.publish((1..=20).map(|n| scan(10 * n, 5)));
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
