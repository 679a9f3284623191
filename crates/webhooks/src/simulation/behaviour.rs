//! One behaviour of the engine per test.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::receivers::Behaviour;
use super::world::{Faults, World, delivery, id};
use crate::delivery::{DeadReason, Delivery};
use crate::engine::Handled;
use crate::ports::{Clock, EndpointStatus};
use crate::sender::Failure;
use crate::settings::Settings;

const FAST: Behaviour = Behaviour::Healthy(Duration::from_millis(10));

fn world() -> World {
    World::new(1, Faults::default())
}

/// Runs the engine for some time beside what it delivers.
async fn run_for(world: &World, settings: Settings, time: Duration) {
    world.engine(settings, 1).run(sleep(time)).await;
}

fn stored(world: &World, delivery: &Delivery) -> Option<crate::delivery::StoredDelivery> {
    world.state().items.get(&(delivery.endpoint.clone(), delivery.id.clone())).cloned()
}

#[tokio::test(start_paused = true)]
async fn a_success_writes_nothing() {
    let world = world();
    let delivery = delivery(1, &world.add("a", FAST));
    let engine = world.engine(Settings::default(), 1);
    assert_eq!(engine.deliver(delivery.clone(), Instant::now()).await, Handled::Delivered);
    assert_eq!((world.received(&delivery), world.state().writes), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failed_delivery_is_stored_and_tried_by_the_schedule() {
    let world = world();
    let endpoint = world.add("a", Behaviour::Recovers(Instant::now() + Duration::from_secs(60), false));
    let delivery = delivery(1, &endpoint);
    let engine = world.engine(Settings::default(), 1);
    assert_eq!(engine.deliver(delivery.clone(), Instant::now()).await, Handled::Stored);
    engine.run(sleep(Duration::from_secs(290))).await;
    assert_eq!(stored(&world, &delivery).unwrap().attempts, 2);
    run_for(&world, Settings::default(), Duration::from_secs(90)).await;
    assert_eq!((world.received(&delivery), stored(&world, &delivery)), (1, None));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_late_is_stored_once_and_deleted_when_it_succeeds() {
    let world = world();
    let delivery = delivery(1, &world.add("a", Behaviour::Healthy(Duration::from_secs(8))));
    let engine = world.engine(Settings::default(), 1);
    let started = Instant::now();
    assert_eq!(engine.deliver(delivery.clone(), started).await, Handled::Stored);
    assert_eq!(started.elapsed().as_secs(), 5);
    assert!(stored(&world, &delivery).is_some());
    // Another instance polls meanwhile. The item is claimed, so it does not try.
    run_for(&world, Settings::default(), Duration::from_secs(5)).await;
    assert_eq!((world.received(&delivery), stored(&world, &delivery)), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_late_attempt_whose_owner_crashed_is_tried_after_its_claim() {
    let world = world();
    let delivery = delivery(1, &world.add("a", Behaviour::Healthy(Duration::from_secs(8))));
    let engine = world.engine(Settings::default(), 1);
    assert_eq!(engine.deliver(delivery.clone(), Instant::now()).await, Handled::Stored);
    drop(engine);
    run_for(&world, Settings::default(), Duration::from_secs(90)).await;
    assert_eq!((world.received(&delivery), stored(&world, &delivery)), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_delivery_writes_nothing_and_ends_its_attempt() {
    let world = world();
    let delivery = delivery(1, &world.add("a", Behaviour::Healthy(Duration::from_secs(2))));
    let engine = world.engine(Settings::default(), 1);
    let lost = timeout(Duration::from_secs(1), engine.deliver(delivery.clone(), Instant::now())).await;
    assert!(lost.is_err());
    sleep(Duration::from_secs(60)).await;
    assert_eq!((world.received(&delivery), world.state().writes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_read_long_ago_is_stored_at_once() {
    let world = world();
    let delivery = delivery(1, &world.add("a", FAST));
    let engine = world.engine(Settings::default(), 1);
    sleep(Duration::from_secs(10)).await;
    let read_at = Instant::now() - Duration::from_secs(6);
    assert_eq!(engine.deliver(delivery.clone(), read_at).await, Handled::Stored);
    assert_eq!(world.received(&delivery), 0);
}

#[tokio::test(start_paused = true)]
async fn deliveries_of_paused_disabled_and_missing_endpoints_are_not_sent() {
    let world = world();
    let engine = world.engine(Settings::default(), 1);
    let (paused, disabled, missing) = (world.add("paused", FAST), world.add("disabled", FAST), id("missing"));
    world.change_endpoint(&paused, |endpoint| endpoint.status = EndpointStatus::Paused);
    world.change_endpoint(&disabled, |endpoint| endpoint.status = EndpointStatus::Disabled);
    let now = Instant::now();
    assert_eq!(engine.deliver(delivery(1, &paused), now).await, Handled::Stored);
    assert_eq!(engine.deliver(delivery(1, &disabled), now).await, Handled::Dead(DeadReason::Disabled));
    assert_eq!(engine.deliver(delivery(1, &missing), now).await, Handled::Dead(DeadReason::Missing));
    run_for(&world, Settings::default(), Duration::from_secs(100)).await;
    assert!(world.state().received.is_empty());
    world.change_endpoint(&paused, |endpoint| endpoint.status = EndpointStatus::Active);
    run_for(&world, Settings::default(), Duration::from_secs(5)).await;
    assert_eq!(world.received(&delivery(1, &paused)), 1);
}

#[tokio::test(start_paused = true)]
async fn status_410_disables_the_endpoint_and_ends_its_backlog() {
    let world = world();
    let endpoint = world.add("a", Behaviour::Failing(500));
    let engine = world.engine(Settings::default(), 1);
    assert_eq!(engine.deliver(delivery(1, &endpoint), Instant::now()).await, Handled::Stored);
    world.state().behaviours.insert(endpoint.clone(), Behaviour::Failing(410));
    assert_eq!(engine.deliver(delivery(2, &endpoint), Instant::now()).await, Handled::Dead(DeadReason::Gone));
    assert_eq!(world.state().endpoints[&endpoint].status, EndpointStatus::Disabled);
    engine.run(sleep(Duration::from_secs(20))).await;
    let dead: Vec<_> = world.state().dead.values().copied().collect();
    assert_eq!(dead.len(), 2);
    assert!(dead.contains(&(DeadReason::Gone, 1)) && dead.contains(&(DeadReason::Disabled, 1)), "{dead:?}");
}

#[tokio::test(start_paused = true)]
async fn five_days_of_failures_disable_an_endpoint_and_less_do_not() {
    let world = world();
    let endpoint = world.add("a", Behaviour::Failing(500));
    let settings = Settings { poll_interval: Duration::from_secs(600), ..Settings::default() };
    let engine = world.engine(settings, 1);
    let hour = Duration::from_secs(3600);
    let start = Instant::now();
    let failing = async {
        for record in 0.. {
            engine.deliver(delivery(record, &endpoint), Instant::now()).await;
            sleep(hour / 4).await;
            if world.state().endpoints[&endpoint].status == EndpointStatus::Disabled {
                return start.elapsed();
            }
        }
        unreachable!()
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (_, after) = tokio::join!(engine.run(async { drop(stopped.await) }), async {
        let after = failing.await;
        drop(stop);
        after
    });
    assert!(after >= 5 * 24 * hour && after < 5 * 24 * hour + 12 * hour, "{:?} hours", after.as_secs() / 3600);
    assert!(world.state().counts.contains_key("disabled: Failing"));
}

#[tokio::test(start_paused = true)]
async fn a_time_of_failures_from_before_the_last_success_disables_nothing() {
    let world = world();
    let endpoint = world.add("a", FAST);
    let engine = world.engine(Settings::default(), 1);
    engine.deliver(delivery(0, &endpoint), Instant::now()).await;
    // The write that clears the time was lost.
    let long_ago = world.now() - Duration::from_secs(6 * 24 * 3600);
    world.change_endpoint(&endpoint, |endpoint| endpoint.failing_since = Some(long_ago));
    world.state().behaviours.insert(endpoint.clone(), Behaviour::Failing(500));
    for record in 1..10 {
        engine.deliver(delivery(record, &endpoint), Instant::now()).await;
    }
    assert_eq!(world.state().counts["opened circuits"], 1);
    assert_eq!(world.state().endpoints[&endpoint].status, EndpointStatus::Active);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_delays_only_itself() {
    let world = world();
    let healthy: Vec<_> = (0..9).map(|number| world.add(&format!("healthy-{number}"), FAST)).collect();
    let others = [world.add("hanging", Behaviour::Hanging), world.add("failing", Behaviour::Failing(500))];
    let engine = std::sync::Arc::new(world.engine(Settings::default(), 1));
    let mut deliveries = JoinSet::new();
    for record in 0..500 {
        for endpoint in healthy.iter().chain(&others) {
            let (engine, delivery) = (std::sync::Arc::clone(&engine), delivery(record, endpoint));
            deliveries.spawn(async move {
                let (started, name) = (Instant::now(), delivery.endpoint.to_string());
                let handled = engine.deliver(delivery, started).await;
                (name, handled, started.elapsed())
            });
        }
        sleep(Duration::from_millis(20)).await;
    }
    while let Some(ended) = deliveries.join_next().await {
        let (name, handled, took) = ended.unwrap();
        if name.starts_with("healthy") {
            assert_eq!((handled, took), (Handled::Delivered, Duration::from_millis(10)), "{name}");
        }
        assert!(took <= Duration::from_secs(5), "{name}: {took:?}");
    }
    let counts = world.state().counts.clone();
    assert!(counts["deferred: Stalled"] > 200 && counts["deferred: CircuitOpen"] > 300, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_hang_or_are_slow_hold_few_records() {
    let world = world();
    // The healthy one takes 400 per second, and 1,000 come.
    let mut endpoints: Vec<_> = (0..10).map(|n| world.add(&format!("hanging-{n}"), Behaviour::Hanging)).collect();
    endpoints.push(world.add("healthy", FAST));
    let engine = std::sync::Arc::new(world.engine(Settings::default(), 1));
    let (mut records, mut most) = (JoinSet::new(), 0);
    for record in 0..5_000 {
        let (engine, endpoints) = (std::sync::Arc::clone(&engine), endpoints.clone());
        records.spawn(async move {
            let now = Instant::now();
            let all = endpoints.iter().map(|endpoint| engine.deliver(delivery(record, endpoint), now));
            futures_util::future::join_all(all).await
        });
        sleep(Duration::from_millis(1)).await;
        while records.try_join_next().is_some() {}
        most = most.max(records.len());
    }
    assert!((64..600).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_an_endpoint_is_bounded_by_bytes() {
    let world = world();
    let endpoint = world.add("slow", Behaviour::Healthy(Duration::from_secs(1)));
    let settings = Settings { max_bytes_per_endpoint: 20_000, ..Settings::default() };
    let engine = world.engine(settings, 1);
    let now = Instant::now();
    let all = (0..100).map(|record| engine.deliver(delivery(record, &endpoint), now));
    let handled = futures_util::future::join_all(all).await;
    let delivered = handled.iter().filter(|handled| **handled == Handled::Delivered).count();
    assert!((16..40).contains(&delivered), "{delivered}");
    // Each has a few bytes of a body, and an overhead of 512 bytes.
    assert_eq!(world.state().counts["deferred: QueueFull"], 100 - 20_000 / 524);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_delivered_slowly_at_first_and_once() {
    let world = world();
    let until = Instant::now() + Duration::from_secs(120);
    let endpoint = world.add("a", Behaviour::Recovers(until, false));
    let engines = [world.engine(Settings::default(), 1), world.engine(Settings::default(), 2)];
    for record in 0..300 {
        engines[record % 2].deliver(delivery(record, &endpoint), Instant::now()).await;
    }
    let stop = || sleep(Duration::from_secs(600));
    tokio::join!(engines[0].run(stop()), engines[1].run(stop()));
    let state = world.state();
    assert!(state.items.is_empty(), "{} items are left", state.items.len());
    let mut received: Vec<_> = state.received.values().flatten().copied().collect();
    received.sort();
    assert_eq!(received.len(), 300);
    let soon = received.iter().filter(|at| **at < received[0] + Duration::from_secs(3)).count();
    assert!(soon <= 20, "{soon} of 300 in the first three seconds");
}

#[tokio::test(start_paused = true)]
async fn a_drain_drops_what_waits_and_finishes_what_runs() {
    let world = world();
    let endpoint = world.add("a", Behaviour::Healthy(Duration::from_secs(3)));
    let engine = world.engine(Settings::default(), 1);
    let now = Instant::now();
    let all = futures_util::future::join_all((0..10).map(|record| engine.deliver(delivery(record, &endpoint), now)));
    let (handled, ()) = tokio::join!(all, engine.run(sleep(Duration::from_secs(1))));
    let count = |expected| handled.iter().filter(|handled| **handled == expected).count();
    assert_eq!((count(Handled::Delivered), count(Handled::Draining)), (4, 6));
    assert_eq!(world.state().writes, 0);
    assert_eq!(now.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_makes_a_delivery_unavailable_and_loses_nothing() {
    let faults = Faults { until: Some(Instant::now() + Duration::from_secs(60)), fails: 1.0, ..Faults::default() };
    let world = World::new(1, faults);
    let delivery = delivery(1, &world.add("a", Behaviour::Failing(500)));
    let engine = world.engine(Settings::default(), 1);
    let started = Instant::now();
    assert_eq!(engine.deliver(delivery.clone(), started).await, Handled::Unavailable);
    assert_eq!(started.elapsed().as_secs(), 15);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(engine.deliver(delivery.clone(), started).await, Handled::Stored);
    assert!(stored(&world, &delivery).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_a_late_insert_leaves_no_item() {
    let faults =
        Faults { until: Some(Instant::now() + Duration::from_secs(6)), loses_answer: 1.0, ..Faults::default() };
    let world = World::new(1, faults);
    let delivery = delivery(1, &world.add("a", Behaviour::Healthy(Duration::from_millis(5100))));
    let engine = world.engine(Settings::default(), 1);
    assert_eq!(engine.deliver(delivery.clone(), Instant::now()).await, Handled::Delivered);
    assert_eq!((world.received(&delivery), stored(&world, &delivery)), (1, None));
}

#[tokio::test(start_paused = true)]
async fn idle_endpoints_use_no_memory() {
    let world = world();
    let engine = world.engine(Settings::default(), 1);
    for number in 0..100 {
        let endpoint = world.add(&format!("endpoint-{number}"), FAST);
        engine.deliver(delivery(1, &endpoint), Instant::now()).await;
    }
    assert_eq!(engine.endpoints_in_memory(), 100);
    engine.run(sleep(Duration::from_secs(5))).await;
    assert_eq!(engine.endpoints_in_memory(), 0);
}

#[test]
fn debug_shows_neither_the_url_nor_the_secret_of_an_endpoint() {
    let world = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { world() });
    let endpoint = world.add("token-in-the-url", FAST);
    let shown = format!("{:?}", world.state().endpoints[&endpoint]);
    assert_eq!(shown, r#"Endpoint { id: EndpointId("token-in-the-url"), status: Active, .. }"#);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_without_a_secret() {
    let world = world();
    let endpoint = world.add("a", FAST);
    world.change_endpoint(&endpoint, |endpoint| endpoint.secrets.clear());
    let engine = world.engine(Settings::default(), 1);
    assert_eq!(engine.deliver(delivery(1, &endpoint), Instant::now()).await, Handled::Stored);
    assert_eq!(stored(&world, &delivery(1, &endpoint)).unwrap().last.unwrap().result, Err(Failure::NoSecret));
    assert!(world.state().received.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_rate_of_an_endpoint_is_kept() {
    let world = world();
    let endpoint = world.add("a", FAST);
    world.change_endpoint(&endpoint, |endpoint| endpoint.max_per_second = Some(5.0));
    let engine = world.engine(Settings::default(), 1);
    let now = Instant::now();
    let all = futures_util::future::join_all((0..100).map(|record| engine.deliver(delivery(record, &endpoint), now)));
    let handled = all.await;
    let delivered = handled.iter().filter(|handled| **handled == Handled::Delivered).count();
    assert!((24..=31).contains(&delivered), "{delivered} within five seconds");
    assert_eq!(world.state().items.len(), 100 - delivered);
}
