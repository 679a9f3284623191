//! Scripts of the end: drain, and a subscription that is gone.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::faults::{Answer, Publishing};
use super::instance::{Instance, n, settings};
use super::messages::{broken, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::settings::Settings;

#[tokio::test(start_paused = true)]
async fn at_drain_what_is_not_decoded_goes_back_and_what_is_being_written_is_finished() {
    let world = World::new();
    world.slow_store(|_| (Duration::from_secs(2), Answer::Truly));
    world.publish((1..=100).map(|port| scan(port, 5)));
    let bounds = Settings { consumers: n(3), max_outstanding: n(10), ..settings() };
    let instance = Instance::new(&world, bounds);
    instance.during(sleep(Duration::from_secs(1))).await;
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.released), (10, 90));
    let state = world.state();
    let nacked = state.subscription.deliveries.iter().filter_map(|delivery| delivery.settled);
    let at_once =
        nacked.filter(|(how, at)| *how == Settlement::Nack && *at - state.start < Duration::from_millis(1010));
    assert_eq!(at_once.count(), 90);
}

#[tokio::test(start_paused = true)]
async fn at_drain_what_the_stream_still_gives_goes_back_too() {
    let world = World::new();
    world.slow_store(|_| (Duration::from_secs(2), Answer::Truly));
    let instance = Instance::new(&world, settings());
    let script = async {
        sleep(Duration::from_secs(1)).await;
        let mut state = world.state();
        state.subscription.read_ahead = 3;
        // Not noted, so that the stream finds them only once it is stopped.
        (1..=5).for_each(|port| state.subscription.publish(scan(port, 5)));
    };
    instance.during(script).await;
    assert_eq!(instance.metrics.snapshot().released, 3);
}

#[tokio::test(start_paused = true)]
async fn drain_ends_within_the_grace_and_the_flush_whatever_hangs() {
    for (answer, letter) in [
        (Answer::Never { written: false }, Publishing::Never),
        (Answer::Unavailable { written: false }, Publishing::Unavailable),
        (Answer::Throttled, Publishing::Invalid),
        (Answer::Refused, Publishing::Never),
    ] {
        for stop_after in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(4), Duration::from_secs(100)] {
            let world = World::new();
            world.store(move |_| answer);
            world.topic(move |_| letter);
            world.state().subscription.flush = Duration::from_secs(3600);
            world.publish((1..=100).flat_map(|port| [scan(port, 5), broken()]));
            let bounds = Settings { consumers: n(3), max_outstanding: n(40), ..settings() };
            let instance = Instance::new(&world, Settings { shutdown_grace: Duration::from_secs(5), ..bounds });
            // How long it takes, and that nothing is left unsettled, is checked for every script.
            instance.during(sleep(stop_after)).await;
            assert_eq!(world.state().subscription.acked(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn drain_ends_in_time_though_a_stopped_stream_never_ends() {
    let world = World::new();
    world.state().subscription.never_ends = true;
    world.slow_store(|_| (Duration::from_secs(2), Answer::Truly));
    world.publish((1..=10).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, settings());
    instance.during(sleep(Duration::from_secs(1))).await;
    assert_eq!(instance.metrics.snapshot().stored, 10);
}

#[tokio::test(start_paused = true)]
async fn at_drain_the_held_go_back_at_once() {
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
async fn an_idle_instance_stops_at_once() {
    let world = World::new();
    let instance = Instance::new(&world, Settings { consumers: n(10), ..settings() });
    let stopped = instance.during(async { Instant::now() }).await;
    assert!(stopped.elapsed() < Duration::from_millis(100), "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_gone_ends_the_worker_and_gives_back_what_it_holds() {
    let world = World::new();
    world.slow_store(|_| (Duration::from_secs(60), Answer::Truly));
    world.publish((1..=30).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, Settings { max_outstanding: n(10), ..settings() });
    let script = async {
        sleep(Duration::from_secs(1)).await;
        world.state().subscription.is_gone = true;
        world.note();
    };
    let both = async { tokio::join!(instance.work(), script) };
    let (ends, ()) = timeout(Duration::from_secs(2), both).await.unwrap();
    assert_eq!(ends[0].as_ref().unwrap_err().to_string(), "the subscription is gone");
    assert_eq!(world.state().subscription.settled(Settlement::Nack), 30);
    assert_eq!(instance.process.census.unsettled(), 0);
}
