//! Single writes: when a message is acked, and the effects of failed attempts.

use std::time::Duration;

use tokio::time::Instant;

use super::faults::{Answer, DeliveryFault, PublishAnswer, Script};
use super::instance::{Instance, settings};
use super::messages::{broken, expired, panicking, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::settings::Settings;

#[tokio::test(start_paused = true)]
async fn a_scan_is_acked_only_after_the_answer_of_the_store() {
    let world = World::new();
    world.slow_store(|_| (Duration::from_secs(2), Answer::Normal));
    world.publish([scan(1, 5)]);
    Instance::new(&world, settings()).during(world.acked(1)).await;
    let state = world.state();
    let (_, at) = state.subscription.deliveries[0].settled.unwrap();
    assert!(at - state.start >= Duration::from_secs(2));
    assert_eq!(state.table.calls.len(), 1);
    assert_eq!(state.table.rows[&1].response, "message 0");
}

#[tokio::test(start_paused = true)]
async fn a_scan_whose_condition_fails_is_acked() {
    let world = World::new();
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    instance
        .during(async {
            world.acked(1).await;
            world.publish([scan(1, 4), scan(1, 5)]);
            world.acked(3).await;
        })
        .await;
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.stale), (1, 2));
    assert_eq!(world.state().table.rows[&1].response, "message 0");
}

#[tokio::test(start_paused = true)]
async fn an_expired_scan_is_acked_without_a_write() {
    let world = World::new();
    world.publish([expired(1)]);
    let instance = Instance::new(&world, settings());
    instance.during(world.acked(1)).await;
    assert_eq!(instance.metrics.snapshot().expired, 1);
    assert!(world.state().table.calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_causes_a_panic_is_rejected_and_the_worker_continues() {
    let world = World::new();
    world.publish([panicking(), scan(1, 5)]);
    Instance::new(&world, settings()).during(world.acked(2)).await;
    assert_eq!(world.state().topic.reasons(), ["handler_panicked"]);
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_scan_is_stale() {
    let world = World::new();
    world.slow_store(|_| (Duration::from_secs(1), Answer::Normal));
    world.state().subscription.fault = Script::new(|_| DeliveryFault::RedeliverAfter(Duration::from_millis(500)));
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    instance.during(world.until("both settled", |state| state.subscription.settled(Settlement::Ack) >= 2)).await;
    let metrics = instance.metrics.snapshot();
    assert_eq!(metrics.stored, 1);
    assert_eq!(metrics.stale, metrics.received - 1);
}

/// The store fails seven attempts. The eighth failure would be an outage.
#[tokio::test(start_paused = true)]
async fn transient_errors_are_retried_without_a_redelivery() {
    for answer in [
        Answer::Unavailable { written: false },
        Answer::Unavailable { written: true },
        Answer::Throttled,
        Answer::HotKey,
        Answer::MissingTable,
    ] {
        let world = World::new();
        world.store(move |attempt| if attempt.number <= 7 { answer } else { Answer::Normal });
        world.publish([scan(1, 5)]);
        let instance = Instance::new(&world, settings());
        instance.during(world.acked(1)).await;
        let state = world.state();
        assert_eq!(state.subscription.deliveries.len(), 1, "{answer:?}");
        assert_eq!(state.table.calls.len(), 8, "{answer:?}");
        // At most the sum of the backoffs of 50, 100, … 3,200 ms, and the latencies of eight attempts.
        assert!(state.start.elapsed() < Duration::from_millis(6_350 + 100), "{answer:?}");
        assert_eq!(instance.metrics.snapshot().retries, 7);
        assert!(instance.process.health.conditions().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_backoff_of_a_hot_key_never_exceeds_two_seconds() {
    let world = World::new();
    world.store(|attempt| if attempt.number <= 100 { Answer::HotKey } else { Answer::Normal });
    world.publish([scan(1, 5)]);
    Instance::new(&world, settings()).during(world.acked(1)).await;
    let state = world.state();
    let longest = state.table.calls.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
    assert!(longest <= Duration::from_millis(2_010), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_times_out_after_three_seconds_and_is_retried() {
    let world = World::new();
    let hang = Answer::Hang { written: true };
    world.store(move |attempt| if attempt.number == 1 { hang } else { Answer::Normal });
    world.publish([scan(1, 5)]);
    Instance::new(&world, settings()).during(world.acked(1)).await;
    let state = world.state();
    let pause = state.table.calls[1].at - state.table.calls[0].at;
    assert!((3_000..=3_060).contains(&pause.as_millis()), "{pause:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_is_nacked_after_max_retry_time_and_counted_as_given_up() {
    let world = World::new();
    world.store(|_| Answer::Throttled);
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    instance.during(world.until("nacked", |state| state.subscription.settled(Settlement::Nack) == 1)).await;
    let state = world.state();
    let kept = state.subscription.deliveries[0].settled.unwrap().1 - state.start;
    assert!((1619..=1800).contains(&kept.as_secs()), "{kept:?}");
    assert_eq!(instance.metrics.snapshot().given_up, 1);
}

#[tokio::test(start_paused = true)]
async fn an_undecoded_message_is_nacked_after_max_retry_time() {
    let world = World::new();
    let start = Instant::now();
    world.store(|_| Answer::Throttled);
    world.publish((1..=50).map(|port| scan(port, 5)));
    let one_slot = Settings { max_outstanding: super::instance::n(1), ..settings() };
    let instance = Instance::new(&world, one_slot);
    world.state().subscription.retry_delay = Duration::from_secs(3600);
    instance.during(world.until("nacked", |state| state.subscription.settled(Settlement::Nack) == 50)).await;
    assert!((1619..=1802).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(instance.metrics.snapshot().given_up, 50);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_row_rejects_the_scan_at_the_first_attempt() {
    let world = World::new();
    world.store(|_| Answer::ForeignRow);
    world.topic(|_| PublishAnswer::Normal);
    world.publish([scan(1, 5), broken()]);
    Instance::new(&world, settings()).during(world.acked(2)).await;
    let state = world.state();
    let mut reasons = state.topic.reasons();
    reasons.sort_unstable();
    assert_eq!(reasons, ["malformed_json", "refused_by_store"]);
    assert_eq!(state.table.calls.len(), 1);
}
