//! The end of an instance: drain, and a deleted subscription.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::faults::{Answer, PublishAnswer};
use super::instance::{Instance, n, settings};
use super::messages::{broken, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::settings::Settings;

#[tokio::test(start_paused = true)]
async fn a_drain_releases_undecoded_messages_immediately_and_completes_the_writes_in_flight() {
    let world = World::new();
    world.slow_store(|_| (Duration::from_secs(2), Answer::Normal));
    world.publish((1..=100).map(|port| scan(port, 5)));
    let bounds = Settings { consumers: n(3), max_outstanding: n(10), ..settings() };
    let instance = Instance::new(&world, bounds);
    instance.during(sleep(Duration::from_secs(1))).await;
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.released), (10, 90));
    let state = world.state();
    let nacked = state.subscription.deliveries.iter().filter_map(|delivery| delivery.settled);
    let immediately =
        nacked.filter(|(how, at)| *how == Settlement::Nack && *at - state.start < Duration::from_millis(1010));
    assert_eq!(immediately.count(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_drain_releases_the_messages_that_a_stopped_stream_still_delivers() {
    let world = World::new();
    world.slow_store(|_| (Duration::from_secs(2), Answer::Normal));
    let instance = Instance::new(&world, settings());
    let script = async {
        sleep(Duration::from_secs(1)).await;
        let mut state = world.state();
        state.subscription.read_ahead = 3;
        // Without `notify`, so that the stream finds them only after the stop.
        (1..=5).for_each(|port| state.subscription.publish(scan(port, 5)));
    };
    instance.during(script).await;
    assert_eq!(instance.metrics.snapshot().released, 3);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_within_the_grace_and_the_flush_timeout_even_if_ports_hang() {
    for (answer, publish_answer) in [
        (Answer::Hang { written: false }, PublishAnswer::Hang),
        (Answer::Unavailable { written: false }, PublishAnswer::Unavailable),
        (Answer::Throttled, PublishAnswer::Invalid),
        (Answer::Refused, PublishAnswer::Hang),
    ] {
        for stop_after in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(4), Duration::from_secs(100)] {
            let world = World::new();
            world.store(move |_| answer);
            world.topic(move |_| publish_answer);
            world.state().subscription.flush = Duration::from_secs(3600);
            world.publish((1..=100).flat_map(|port| [scan(port, 5), broken()]));
            let bounds = Settings { consumers: n(3), max_outstanding: n(40), ..settings() };
            let instance = Instance::new(&world, Settings { shutdown_grace: Duration::from_secs(5), ..bounds });
            // `during` checks the duration of the drain and that everything is settled.
            instance.during(sleep(stop_after)).await;
            assert_eq!(world.state().subscription.acked(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_in_time_even_if_a_stopped_stream_never_ends() {
    let world = World::new();
    world.state().subscription.never_ends = true;
    world.slow_store(|_| (Duration::from_secs(2), Answer::Normal));
    world.publish((1..=10).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, settings());
    instance.during(sleep(Duration::from_secs(1))).await;
    assert_eq!(instance.metrics.snapshot().stored, 10);
}

#[tokio::test(start_paused = true)]
async fn a_drain_releases_parked_messages_immediately() {
    let world = World::new();
    world.store(|_| Answer::Refused);
    world.publish([scan(1, 5), broken()]);
    let instance = Instance::new(&world, settings()).without_topic();
    let stopped = instance.during(async {
        world.until("refused", |state| state.table.calls.len() == 1).await;
        sleep(Duration::from_millis(500)).await;
        Instant::now()
    });
    let stopped = stopped.await;
    assert!(stopped.elapsed() < Duration::from_millis(100), "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_instance_stops_immediately() {
    let world = World::new();
    let instance = Instance::new(&world, Settings { consumers: n(10), ..settings() });
    let stopped = instance.during(async { Instant::now() }).await;
    assert!(stopped.elapsed() < Duration::from_millis(100), "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_subscription_ends_the_worker_and_nacks_its_messages() {
    let world = World::new();
    world.slow_store(|_| (Duration::from_secs(60), Answer::Normal));
    world.publish((1..=30).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, Settings { max_outstanding: n(10), ..settings() });
    let script = async {
        sleep(Duration::from_secs(1)).await;
        world.state().subscription.is_gone = true;
        world.notify();
    };
    let both = async { tokio::join!(instance.work(), script) };
    let (ends, ()) = timeout(Duration::from_secs(2), both).await.unwrap();
    assert_eq!(ends[0].as_ref().unwrap_err().to_string(), "the subscription was deleted");
    assert_eq!(world.state().subscription.settled(Settlement::Nack), 30);
    assert_eq!(instance.process.census.unsettled(), 0);
}
