//! Scripts of refused writes: the item's fault, or the table's.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::{broken, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::Condition;
use crate::consumer::settings::Settings;

fn unready(instance: &Instance) -> bool {
    instance.process.health.conditions().iter().any(|(condition, _)| *condition == Condition::Refusals)
}

/// Publishes a scan of another key every second, for as long as it is polled.
async fn a_scan_a_second(world: &World, ports: std::ops::Range<u16>) {
    for port in ports {
        sleep(Duration::from_secs(1)).await;
        world.publish([scan(port, 5)]);
    }
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn a_scan_is_condemned_at_its_third_refusal_between_stored_writes_of_other_keys() {
    let world = World::new();
    world.store(|attempt| if attempt.port == 1 { Answer::Refused } else { Answer::Truly });
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    let lettered = world.until("lettered", |state| !state.topic.letters.is_empty());
    let script = async {
        tokio::select! {
            () = a_scan_a_second(&world, 100..200) => {}
            () = lettered => {}
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
async fn without_other_writes_no_refusal_condemns() {
    let world = World::new();
    world.store(|attempt| if attempt.of_key <= 20 { Answer::Refused } else { Answer::Truly });
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    instance.during(world.acked(1)).await;
    assert!(world.state().topic.calls.is_empty());
    assert!(world.state().start.elapsed() >= Duration::from_secs(200));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_refuses_everything_is_written_to_at_a_message_a_second_and_loses_nothing() {
    let world = World::new();
    let broken_until = Duration::from_secs(600);
    world.store(move |attempt| if attempt.at < broken_until { Answer::Refused } else { Answer::Truly });
    let start = Instant::now();
    world.publish((1..=200).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, Settings { consumers: n(2), ..settings() });
    let script = async {
        sleep_until(start + Duration::from_secs(120)).await;
        assert!(unready(&instance));
        let calls = world.state().table.calls_between(start, Duration::from_secs(20), Duration::from_secs(120));
        // A new message a second, and each of the ten held every 10 s until it makes room.
        assert!((90..=210).contains(&calls), "{calls} calls in 100 s");
        let nacked = world.state().subscription.settled(Settlement::Nack);
        assert!(nacked <= 230, "{nacked} nacked in 120 s");
        world.acked(200).await;
    };
    instance.during(script).await;
    assert!(!unready(&instance));
    assert!(world.state().topic.calls.is_empty(), "a dead letter for the table's fault");
    assert!(start.elapsed() < broken_until + Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_pace_ends_with_the_first_stored_write_even_if_nothing_is_held_by_then() {
    let world = World::new();
    let broken_until = Duration::from_secs(300);
    world.store(move |attempt| if attempt.at < broken_until { Answer::Refused } else { Answer::Truly });
    world.state().subscription.retry_delay = Duration::from_secs(3600);
    let start = Instant::now();
    world.publish((1..=20).map(|port| scan(port, 5)));
    let short = Settings { max_retry_time: Duration::from_secs(60), ..settings() };
    let instance = Instance::new(&world, short);
    let script = async {
        sleep_until(start + Duration::from_secs(400)).await;
        assert_eq!(world.state().subscription.unsettled(), 0);
        assert!(unready(&instance));
        world.publish((101..=200).map(|port| scan(port, 5)));
        let published = Instant::now();
        world.acked(100).await;
        assert!(published.elapsed() < Duration::from_secs(3), "{:?}", published.elapsed());
        assert!(!unready(&instance));
    };
    instance.during(script).await;
}

#[tokio::test(start_paused = true)]
async fn held_poison_does_not_make_one_refused_write_a_broken_table() {
    let world = World::new();
    world.store(|attempt| if attempt.port == 1 { Answer::Refused } else { Answer::Truly });
    world.publish((0..10).map(|_| broken()));
    let instance = Instance::new(&world, settings()).without_topic();
    let script = async {
        sleep(Duration::from_millis(100)).await;
        world.publish([scan(1, 5)]);
        sleep(Duration::from_millis(100)).await;
        assert!(!unready(&instance));
    };
    instance.during(script).await;
}

/// More refused keys than may be held: those that are held must stay for long enough to be condemned.
#[tokio::test(start_paused = true)]
async fn refused_keys_beyond_the_bound_do_not_keep_those_that_are_held_from_their_verdict() {
    let world = World::new();
    world.store(|attempt| if attempt.port <= 40 { Answer::Refused } else { Answer::Truly });
    world.publish((1..=40).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, settings());
    let script = async {
        let lettered = world.until("lettered", |state| state.topic.letters.len() >= 40);
        tokio::select! {
            () = a_scan_a_second(&world, 1000..2000) => {}
            () = lettered => {}
        }
    };
    instance.during(script).await;
    assert!(world.state().start.elapsed() < Duration::from_secs(4 * 30), "{:?}", world.state().start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_breaks_while_one_write_is_held_is_still_seen_to_be_broken() {
    let world = World::new();
    let breaks = Duration::from_secs(15);
    world.store(move |attempt| {
        let refused = attempt.port == 1 || attempt.at >= breaks;
        if refused { Answer::Refused } else { Answer::Truly }
    });
    world.publish([scan(1, 5), scan(2, 5)]);
    let instance = Instance::new(&world, settings());
    let script = async {
        sleep(Duration::from_secs(5)).await;
        world.publish([scan(3, 5)]);
        sleep(Duration::from_secs(15)).await;
        world.publish((11..=100).map(|port| scan(port, 5)));
        sleep(Duration::from_secs(60)).await;
        assert!(unready(&instance));
        let nacked = world.state().subscription.settled(Settlement::Nack);
        assert!(nacked < 200, "{nacked} nacked in a minute");
    };
    instance.during(script).await;
}
