//! Deduplication of one key: one write is in flight at a time, the newest waiting scan is written next, and a scan that
//! is known to be stale is not written.

use std::time::Duration;

use tokio::time::{advance, sleep};

use super::faults::{Answer, DeliveryFault, Script};
use super::instance::{Instance, n, settings};
use super::messages::{Template, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::settings::Settings;

const LATENCY: Duration = Duration::from_millis(20);

fn slow() -> World {
    let world = World::new();
    world.slow_store(|_| (LATENCY, Answer::Normal));
    world
}

fn uncached() -> Settings {
    Settings { cache_entries: 0, ..settings() }
}

/// Returns the number of writes of port 1 until all of these scans are acked.
async fn writes(settings: Settings, scans: impl IntoIterator<Item = Template>) -> usize {
    let world = slow();
    world.publish(scans);
    let count = world.state().subscription.messages.len();
    Instance::new(&world, settings).during(world.acked(count)).await;
    world.state().table.calls_of(1).count()
}

#[tokio::test(start_paused = true)]
async fn concurrent_copies_need_one_write_on_any_stream() {
    let streams = Settings { consumers: n(10), ..uncached() };
    assert_eq!(writes(streams, (0..10).map(|_| scan(1, 5))).await, 1);
}

#[tokio::test(start_paused = true)]
async fn of_ten_timestamps_in_order_only_the_first_and_the_last_are_written() {
    assert_eq!(writes(uncached(), (0..10).map(|second| scan(1, second))).await, 2);
}

#[tokio::test(start_paused = true)]
async fn ten_timestamps_in_reverse_order_need_one_write() {
    assert_eq!(writes(uncached(), (0..10).rev().map(|second| scan(1, second))).await, 1);
}

#[tokio::test(start_paused = true)]
async fn of_equal_timestamps_the_first_to_arrive_is_stored() {
    let world = slow();
    world.publish([scan(1, 1), scan(1, 5), scan(1, 5), scan(1, 4)]);
    Instance::new(&world, uncached()).during(world.acked(4)).await;
    assert_eq!(world.state().table.rows[&1].response, "message 1");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_scan_is_acked_only_after_a_write_that_is_at_least_as_new() {
    let world = World::new();
    world.slow_store(|attempt| (if attempt.of_key == 1 { LATENCY } else { 100 * LATENCY }, Answer::Normal));
    world.publish([scan(1, 5), scan(1, 7), scan(1, 6), scan(1, 4)]);
    let script = async {
        sleep(2 * LATENCY).await;
        let acked = |message: usize| world.state().subscription.messages[message].acked;
        assert_eq!([0, 1, 2, 3].map(acked), [true, false, false, true]);
        world.acked(4).await;
    };
    Instance::new(&world, uncached()).during(script).await;
    assert_eq!(world.state().subscription.settled(Settlement::Nack), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_condition_settles_the_waiting_scans_that_are_not_newer_than_the_record() {
    let world = slow();
    let other = Instance::new(&world, uncached());
    world.publish([scan(1, 9)]);
    other.during(world.acked(1)).await;
    world.publish([scan(1, 5), scan(1, 7)]);
    Instance::new(&world, uncached()).numbered(1).during(world.acked(3)).await;
    assert_eq!(world.state().table.calls_of(1).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_newer_scan_supersedes_a_write_in_backoff() {
    let world = World::new();
    world.store(|attempt| if attempt.of_key <= 3 { Answer::HotKey } else { Answer::Normal });
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    let script = async {
        world.until("a first attempt", |state| state.table.calls.len() == 1).await;
        world.publish([scan(1, 6)]);
        world.acked(2).await;
    };
    instance.during(script).await;
    assert_eq!(world.state().table.calls_of(1).count(), 4);
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.superseded, metrics.retries), (1, 1, 3));
    assert_eq!(world.state().table.rows[&1].response, "message 1");
}

#[tokio::test(start_paused = true)]
async fn after_max_retry_time_a_write_nacks_only_its_scan_and_the_scans_it_superseded() {
    let world = World::new();
    world.store(|attempt| if attempt.at < Duration::from_secs(100) { Answer::HotKey } else { Answer::Normal });
    world.state().subscription.retry_delay = Duration::from_secs(1000);
    world.publish([scan(1, 5), scan(1, 4)]);
    let instance = Instance::new(&world, Settings { max_retry_time: Duration::from_secs(60), ..settings() });
    let script = async {
        sleep(Duration::from_millis(1)).await;
        world.until("nacked", |state| state.subscription.settled(Settlement::Nack) == 2).await;
        world.publish([scan(1, 6)]);
        world.until("stored", |state| state.subscription.messages[2].acked).await;
    };
    instance.during(script).await;
    assert_eq!(world.state().subscription.settled(Settlement::Nack), 2);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_scan_is_nacked_after_its_own_max_retry_time() {
    let world = World::new();
    world.slow_store(|_| (Duration::from_secs(1), Answer::HotKey));
    world.state().subscription.retry_delay = Duration::from_secs(1000);
    world.publish([scan(1, 1)]);
    let instance = Instance::new(&world, Settings { max_retry_time: Duration::from_secs(60), ..settings() });
    let script = async {
        for second in 2..10 {
            sleep(Duration::from_secs(10)).await;
            world.publish([scan(1, second)]);
        }
        // Each newer scan supersedes the write. The older scans wait for it, each with its own retry time.
        let state = world.state();
        assert_eq!(state.subscription.settled(Settlement::Nack), 3);
        for delivery in state.subscription.deliveries.iter().filter(|delivery| delivery.settled.is_some()) {
            let (_, at) = delivery.settled.unwrap();
            assert!((54..=61).contains(&(at - delivery.at).as_secs()), "{:?}", at - delivery.at);
        }
    };
    instance.during(script).await;
}

#[tokio::test(start_paused = true)]
async fn scans_that_a_refused_write_superseded_are_nacked_and_written_by_themselves() {
    let world = World::new();
    world.store(|attempt| if attempt.of_key == 1 { Answer::Refused } else { Answer::Normal });
    world.publish([scan(1, 5), scan(1, 4)]);
    let instance = Instance::new(&world, uncached());
    instance.during(world.acked(2)).await;
    let state = world.state();
    assert_eq!(state.subscription.deliveries_of(1).count(), 2);
    assert_eq!(state.subscription.settled(Settlement::Nack), 1);
}

#[tokio::test(start_paused = true)]
async fn a_newer_scan_does_not_wait_for_a_refused_write() {
    let world = World::new();
    world.slow_store(|attempt| (LATENCY, if attempt.of_key == 1 { Answer::Refused } else { Answer::Normal }));
    world.publish([scan(1, 5), scan(1, 6)]);
    let script = async {
        world.until("an ack of the newer scan", |state| state.subscription.messages[1].acked).await;
        assert!(world.state().start.elapsed() < Duration::from_secs(1));
        world.acked(2).await;
    };
    Instance::new(&world, settings()).during(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_the_cache_knows_to_be_stale_is_acked_without_a_write() {
    let world = slow();
    let instance = Instance::new(&world, settings());
    let script = async {
        world.publish([scan(1, 5)]);
        world.acked(1).await;
        world.publish([scan(1, 5), scan(1, 4), scan(1, 6)]);
        world.acked(4).await;
    };
    instance.during(script).await;
    assert_eq!(world.state().table.calls_of(1).count(), 2);
    assert_eq!(instance.metrics.snapshot().known, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_condition_caches_the_timestamp_of_the_record() {
    let world = slow();
    world.publish([scan(1, 9)]);
    Instance::new(&world, settings()).during(world.acked(1)).await;
    let instance = Instance::new(&world, settings()).numbered(1);
    let script = async {
        world.publish([scan(1, 5)]);
        world.acked(2).await;
        world.publish([scan(1, 9), scan(1, 6)]);
        world.acked(4).await;
    };
    instance.during(script).await;
    assert_eq!(world.state().table.calls_of(1).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cache_entry_expires_after_cache_max_age() {
    let world = slow();
    let instance = Instance::new(&world, Settings { cache_max_age: Duration::from_secs(60), ..settings() });
    let script = async {
        for count in 1..=3 {
            world.publish([scan(1, 5)]);
            world.acked(count).await;
            advance(Duration::from_secs(40)).await;
        }
    };
    instance.during(script).await;
    assert_eq!(world.state().table.calls_of(1).count(), 2);
}

/// The rows of a table that was deleted and created again are gone, so that the cache is wrong.
#[tokio::test(start_paused = true)]
async fn a_missing_table_clears_the_cache() {
    let world = slow();
    world.store(|attempt| if attempt.port == 2 && attempt.of_key == 1 { Answer::MissingTable } else { Answer::Normal });
    let instance = Instance::new(&world, settings());
    let script = async {
        world.publish([scan(1, 5)]);
        world.acked(1).await;
        world.publish([scan(2, 5)]);
        world.acked(2).await;
        world.publish([scan(1, 5)]);
        world.acked(3).await;
    };
    instance.during(script).await;
    assert_eq!(world.state().table.calls_of(1).count(), 2);
}

/// The answer is about the deleted table, but it arrives after another write has noticed that the table is missing.
#[tokio::test(start_paused = true)]
async fn the_answer_to_a_write_that_began_before_the_table_was_missing_is_not_cached() {
    let world = World::new();
    world.slow_store(|attempt| match (attempt.port, attempt.of_key) {
        (1, 1) => (Duration::from_secs(2), Answer::Normal),
        (2, 1) => (Duration::from_secs(1), Answer::MissingTable),
        _ => (LATENCY, Answer::Normal),
    });
    world.publish([scan(1, 5), scan(2, 5)]);
    let instance = Instance::new(&world, settings());
    let script = async {
        world.acked(2).await;
        world.publish([scan(1, 5)]);
        world.acked(3).await;
    };
    instance.during(script).await;
    assert_eq!(world.state().table.calls_of(1).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_response_was_lost_counts_as_stored() {
    let world = World::new();
    world.store(|attempt| if attempt.number == 1 { Answer::Unavailable { written: true } } else { Answer::Normal });
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    instance.during(world.acked(1)).await;
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.stale), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn concurrent_writes_of_a_key_by_two_instances_leave_the_newest_scan() {
    let world = World::new();
    // The older write completes last.
    world.slow_store(|attempt| (if attempt.number == 1 { 10 * LATENCY } else { LATENCY }, Answer::Normal));
    world.state().subscription.fault = Script::new(|_| DeliveryFault::None);
    world.publish([scan(1, 5)]);
    // The first instance cannot take the newer scan.
    let first = Instance::new(&world, Settings { max_outstanding: n(1), ..settings() });
    let second = Instance::new(&world, settings()).numbered(1);
    let script = async {
        world.until("a write in flight", |state| state.table.in_flight == 1).await;
        let newer = async {
            world.publish([scan(1, 6)]);
            world.until("concurrent writes", |state| state.table.in_flight == 2).await;
            world.acked(2).await;
        };
        second.during(newer).await;
    };
    first.during(script).await;
    assert_eq!(world.state().table.rows[&1].response, "message 1");
}

#[tokio::test(start_paused = true)]
async fn a_drain_writes_the_newest_waiting_scan_and_releases_all_scans_of_the_key_after_the_grace() {
    for (grace, stored, released) in [(Duration::from_secs(30), 2, 0), (Duration::from_secs(2), 1, 2)] {
        let world = World::new();
        world.slow_store(|_| (Duration::from_secs(2), Answer::Normal));
        world.publish([scan(1, 5), scan(1, 6), scan(1, 7)]);
        let bounds = Settings { consumers: n(3), shutdown_grace: grace, ..settings() };
        let instance = Instance::new(&world, bounds);
        instance.during(sleep(Duration::from_secs(1))).await;
        let metrics = instance.metrics.snapshot();
        assert_eq!((metrics.stored, metrics.released), (stored, released), "{metrics:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_nacked_without_an_answer_is_not_cached() {
    let world = World::new();
    let outage = Duration::from_secs(100);
    world.store(move |attempt| match attempt.at < outage {
        true => Answer::Unavailable { written: false },
        false => Answer::Normal,
    });
    world.publish([scan(1, 5)]);
    Instance::new(&world, Settings { max_retry_time: Duration::from_secs(60), ..settings() })
        .during(world.acked(1))
        .await;
    let state = world.state();
    assert!(state.subscription.settled(Settlement::Nack) > 0);
}

#[tokio::test(start_paused = true)]
async fn every_scan_of_a_key_with_a_foreign_row_is_settled_while_newer_ones_keep_arriving() {
    let world = World::new();
    world.slow_store(|attempt| (LATENCY, if attempt.port == 1 { Answer::ForeignRow } else { Answer::Normal }));
    let instance = Instance::new(&world, settings());
    let script = async {
        for second in 0..2000 {
            world.publish([scan(1, second)]);
            sleep(LATENCY / 2).await;
        }
        world.acked(2000).await;
    };
    instance.during(script).await;
    assert!(world.state().topic.reasons().iter().all(|reason| *reason == "refused_by_store"));
}
