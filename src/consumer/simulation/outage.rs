//! Outages of the store: the circuit breaker and the condition of the instance.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::scan;
use super::world::World;
use crate::consumer::Condition;
use crate::consumer::settings::Settings;

const OUTAGE: Duration = Duration::from_secs(60);

/// Lets all attempts during the first minute get this answer.
fn fail_during_outage(world: &World, answer: Answer) {
    world.store(move |attempt| if attempt.at < OUTAGE { answer } else { Answer::Normal });
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_probed_once_per_second_and_ends_for_all_waiting_writes_together() {
    for answer in [Answer::Unavailable { written: false }, Answer::MissingTable, Answer::Hang { written: false }] {
        let world = World::new();
        fail_during_outage(&world, answer);
        let start = Instant::now();
        world.publish((1..=100).map(|port| scan(port, 5)));
        let instance = Instance::new(&world, settings());
        let script = async {
            sleep_until(start + Duration::from_secs(30)).await;
            let conditions: Vec<_> = instance.process.health.conditions().into_iter().map(|(name, _)| name).collect();
            assert_eq!(conditions, [Condition::Store], "{answer:?}");
            world.acked(100).await;
        };
        instance.during(script).await;
        assert!(start.elapsed() < OUTAGE + Duration::from_secs(5), "{answer:?}: {:?}", start.elapsed());
        assert!(instance.process.health.conditions().is_empty());
        let state = world.state();
        assert_eq!(state.subscription.deliveries.len(), 100, "an outage nacks nothing");
        let probes = state.table.calls_between(start, Duration::from_secs(10), OUTAGE);
        assert!((48..=50).contains(&probes), "{answer:?}: {probes} probes in 50 s");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_arrive_during_an_outage_wait_for_the_circuit_breaker() {
    let world = World::new();
    fail_during_outage(&world, Answer::Unavailable { written: false });
    let start = Instant::now();
    world.publish((1..=20).map(|port| scan(port, 5)));
    let script = async {
        sleep(Duration::from_secs(10)).await;
        world.publish((21..=80).map(|port| scan(port, 5)));
        world.acked(80).await;
    };
    Instance::new(&world, settings()).during(script).await;
    let probes = world.state().table.calls_between(start, Duration::from_secs(10), OUTAGE);
    assert!((48..=50).contains(&probes), "{probes} probes in 50 s");
}

#[tokio::test(start_paused = true)]
async fn writes_that_waited_for_a_permit_respect_a_circuit_breaker_that_opened_meanwhile() {
    let world = World::new();
    fail_during_outage(&world, Answer::Unavailable { written: false });
    let start = Instant::now();
    world.publish((1..=100).map(|port| scan(port, 5)));
    Instance::new(&world, Settings { max_writes: n(4), ..settings() }).during(world.acked(100)).await;
    let before = world.state().table.calls_between(start, Duration::ZERO, Duration::from_secs(10));
    assert!(before <= 8 + 4 + 10, "{before} attempts in the first 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_single_waiting_write_is_probed_once_per_second() {
    let world = World::new();
    let outage = Duration::from_secs(600);
    world.store(move |attempt| match attempt.at < outage {
        true => Answer::Unavailable { written: false },
        false => Answer::Normal,
    });
    let start = Instant::now();
    world.publish([scan(1, 5)]);
    Instance::new(&world, settings()).during(world.acked(1)).await;
    assert!(start.elapsed() < outage + Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn throttling_does_not_open_the_circuit_breaker() {
    let world = World::new();
    fail_during_outage(&world, Answer::Throttled);
    world.publish((1..=100).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, settings());
    let script = async {
        sleep(Duration::from_secs(30)).await;
        assert!(instance.process.health.conditions().is_empty());
        world.acked(100).await;
    };
    instance.during(script).await;
    assert!(instance.metrics.snapshot().throttled > 100);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_nacked_after_max_retry_time_while_the_circuit_breaker_is_open() {
    let world = World::new();
    world.store(|_| Answer::Unavailable { written: false });
    let start = Instant::now();
    world.state().subscription.retry_delay = Duration::from_secs(7200);
    world.publish((1..=100).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, settings());
    let all = world.until("given up", |state| state.subscription.unsettled() == 0 && state.table.calls.len() > 100);
    instance.during(all).await;
    assert!((1700..=1804).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(instance.metrics.snapshot().given_up, 100);
}
