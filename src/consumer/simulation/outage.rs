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

#[tokio::test(start_paused = true)]
async fn the_rate_recovers_within_five_seconds_after_writes_that_hung_for_a_minute() {
    const LATENCY: Duration = Duration::from_millis(50);
    let world = World::new();
    let outage = Duration::from_secs(2)..Duration::from_secs(2) + OUTAGE;
    world.slow_store(move |attempt| {
        let hangs = outage.contains(&attempt.at);
        (LATENCY, if hangs { Answer::Hang { written: false } } else { Answer::Normal })
    });
    let start = Instant::now();
    world.publish((1000..11_000).map(|port| scan(port, 5)));
    let script = sleep(Duration::from_secs(70));
    let bounds = Settings { consumers: n(2), threads: n(2), max_outstanding: n(50), max_writes: n(50), ..settings() };
    Instance::new(&world, bounds).during(script).await;
    let calls =
        |second| world.state().table.calls_between(start, Duration::from_secs(second), Duration::from_secs(second + 1));
    let (before, after) = (calls(1), calls(67));
    assert!(10 * after >= 9 * before, "{before} writes per second before the outage, {after} after it");
}

#[tokio::test(start_paused = true)]
async fn few_writes_on_a_slow_path_time_out() {
    const SCANS: usize = 2_000;
    const PER_SECOND: f64 = 41.0;
    for threads in [1, 4, 8] {
        let world = World::new();
        world.slow_store(|attempt| (Duration::from_secs_f64((attempt.others + 1) as f64 / PER_SECOND), Answer::Normal));
        let start = Instant::now();
        world.publish((1000..1000 + SCANS as u16).map(|port| scan(port, 5)));
        let bounds = Settings {
            consumers: n(threads),
            threads: n(threads),
            max_outstanding: n(1000),
            max_writes: n(1000),
            ..settings()
        };
        Instance::new(&world, bounds).during(world.acked(SCANS)).await;
        let (attempts, took) = (world.state().table.calls.len(), start.elapsed());
        assert!(2 * attempts <= 3 * SCANS, "{attempts} attempts by {threads} threads");
        let rate = SCANS as f64 / took.as_secs_f64();
        assert!(rate >= 0.8 * PER_SECOND, "{rate} writes per second by {threads} threads");
    }
}
