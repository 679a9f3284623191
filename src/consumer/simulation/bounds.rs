//! Scripts of the bounds: slots, writes in flight, and how workers share them.

use std::time::Duration;

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::scan;
use super::world::World;
use crate::consumer::settings::Settings;

fn slow(world: &World, latency: Duration) {
    world.slow_store(move |_| (latency, Answer::Truly));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_max_outstanding_are_being_written() {
    let world = World::new();
    slow(&world, Duration::from_secs(1));
    world.publish((1..=200).map(|port| scan(port, 5)));
    let bounds = Settings { consumers: n(3), max_outstanding: n(20), ..settings() };
    Instance::new(&world, bounds).during(world.acked(200)).await;
    let state = world.state();
    assert_eq!(state.table.most_in_flight, 20);
    assert!(state.start.elapsed() < Duration::from_millis(10_500), "the slots were not all used");
}

#[tokio::test(start_paused = true)]
async fn writes_in_flight_stay_within_their_own_bound() {
    let world = World::new();
    slow(&world, Duration::from_secs(1));
    world.publish((1..=70).map(|port| scan(port, 5)));
    Instance::new(&world, Settings { max_writes: n(7), ..settings() }).during(world.acked(70)).await;
    assert_eq!(world.state().table.most_in_flight, 7);
}

#[tokio::test(start_paused = true)]
async fn a_backoff_holds_no_write_permit() {
    let world = World::new();
    world.store(|attempt| if attempt.port == 1 { Answer::HotKey } else { Answer::Truly });
    world.publish((1..=100).map(|port| scan(port, 5)));
    let script = async {
        world.acked(99).await;
        assert!(world.state().start.elapsed() < Duration::from_secs(2));
    };
    Instance::new(&world, Settings { max_writes: n(1), ..settings() }).during(script).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_holds_no_slot() {
    let world = World::new();
    world.publish((1..=50).map(|port| scan(port, 5)));
    let bounds = Settings { consumers: n(10), max_outstanding: n(1), ..settings() };
    let instance = Instance::new(&world, bounds);
    let spare = async {
        world.acked(50).await;
        instance.process.slots.available_permits()
    };
    assert_eq!(instance.during(spare).await, 1);
}

/// Each stream reads ahead of the only slot; whose message waits longest has the next turn.
#[tokio::test(start_paused = true)]
async fn one_of_two_workers_cannot_starve_the_other_of_the_only_slot() {
    let world = World::new();
    slow(&world, Duration::from_millis(10));
    let share = super::pubsub::Streams::InTurn;
    world.state().subscription.streams = share;
    world.publish((1..=200).map(|port| scan(port, 5)));
    let bounds = Settings { consumers: n(2), max_outstanding: n(1), ..settings() };
    let instance = Instance::new(&world, bounds);
    instance.during(world.acked(100)).await;
    let state = world.state();
    let acked_of = |stream: usize| {
        let acked = state.subscription.deliveries.iter().filter(|delivery| {
            delivery.stream == stream && matches!(delivery.settled, Some((super::pubsub::Settlement::Ack, _)))
        });
        acked.count()
    };
    assert!(acked_of(0).abs_diff(acked_of(1)) <= 2, "{} and {}", acked_of(0), acked_of(1));
}
