//! The limits: slots, writes in flight, and how workers share them.

use std::time::Duration;

use tokio::time::Instant;

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::scan;
use super::pubsub::{Distribution, Settlement};
use super::world::World;
use crate::consumer::settings::Settings;

fn slow(world: &World, latency: Duration) {
    world.slow_store(move |_| (latency, Answer::Normal));
}

#[tokio::test(start_paused = true)]
async fn never_writes_more_messages_than_max_outstanding() {
    let world = World::new();
    slow(&world, Duration::from_secs(1));
    world.publish((1..=200).map(|port| scan(port, 5)));
    let bounds = Settings { consumers: n(3), max_outstanding: n(20), ..settings() };
    Instance::new(&world, bounds).during(world.acked(200)).await;
    let state = world.state();
    assert_eq!(state.table.max_in_flight, 20);
    assert!(state.start.elapsed() < Duration::from_millis(10_500), "some slots were not used");
}

#[tokio::test(start_paused = true)]
async fn never_has_more_writes_in_flight_than_max_writes() {
    let world = World::new();
    slow(&world, Duration::from_secs(1));
    world.publish((1..=70).map(|port| scan(port, 5)));
    Instance::new(&world, Settings { max_writes: n(7), ..settings() }).during(world.acked(70)).await;
    assert_eq!(world.state().table.max_in_flight, 7);
}

#[tokio::test(start_paused = true)]
async fn a_write_in_backoff_has_no_write_permit() {
    let world = World::new();
    world.store(|attempt| if attempt.port == 1 { Answer::HotKey } else { Answer::Normal });
    world.publish((1..=100).map(|port| scan(port, 5)));
    let script = async {
        world.acked(99).await;
        assert!(world.state().start.elapsed() < Duration::from_secs(2));
    };
    Instance::new(&world, Settings { max_writes: n(1), ..settings() }).during(script).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_has_no_slot() {
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

/// Each stream reads ahead of the only slot. The message that has waited longest gets the slot next.
#[tokio::test(start_paused = true)]
async fn two_workers_share_the_only_slot_fairly() {
    let world = World::new();
    slow(&world, Duration::from_millis(10));
    world.state().subscription.distribution = Distribution::RoundRobin;
    world.publish((1..=200).map(|port| scan(port, 5)));
    let bounds = Settings { consumers: n(2), max_outstanding: n(1), ..settings() };
    let instance = Instance::new(&world, bounds);
    instance.during(world.acked(100)).await;
    let state = world.state();
    let acked_by = |stream: usize| {
        let is_acked = |settled: Option<(Settlement, Instant)>| matches!(settled, Some((Settlement::Ack, _)));
        let deliveries = state.subscription.deliveries.iter().filter(|delivery| delivery.stream == stream);
        deliveries.filter(|delivery| is_acked(delivery.settled)).count()
    };
    assert!(acked_by(0).abs_diff(acked_by(1)) <= 2, "{} and {}", acked_by(0), acked_by(1));
}
