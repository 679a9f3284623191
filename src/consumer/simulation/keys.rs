//! Scripts of one key: its scans are written one at a time, the newest of those that wait, and none that is known to be
//! durable.

use std::time::Duration;

use tokio::time::{advance, sleep};

use super::faults::{Answer, Delivering, Script};
use super::instance::{Instance, n, settings};
use super::messages::{Template, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::settings::Settings;

const LATENCY: Duration = Duration::from_millis(20);

fn slow() -> World {
    let world = World::new();
    world.slow_store(|_| (LATENCY, Answer::Truly));
    world
}

fn uncached() -> Settings {
    Settings { cache_entries: 0, ..settings() }
}

/// The writes of port 1 that it takes until each of these is acked.
async fn writes(settings: Settings, scans: impl IntoIterator<Item = Template>) -> usize {
    let world = slow();
    world.publish(scans);
    let count = world.state().subscription.messages.len();
    Instance::new(&world, settings).during(world.acked(count)).await;
    world.state().table.calls_of(1).count()
}

#[tokio::test(start_paused = true)]
async fn copies_that_arrive_together_are_one_write_whichever_stream_brings_them() {
    let streams = Settings { consumers: n(10), ..uncached() };
    assert_eq!(writes(streams, (0..10).map(|_| scan(1, 5))).await, 1);
}

#[tokio::test(start_paused = true)]
async fn ten_timestamps_in_order_are_the_write_of_the_first_and_of_the_last() {
    assert_eq!(writes(uncached(), (0..10).map(|second| scan(1, second))).await, 2);
}

#[tokio::test(start_paused = true)]
async fn ten_timestamps_in_reverse_order_are_one_write() {
    assert_eq!(writes(uncached(), (0..10).rev().map(|second| scan(1, second))).await, 1);
}

#[tokio::test(start_paused = true)]
async fn of_equal_timestamps_the_first_that_arrives_stays() {
    let world = slow();
    world.publish([scan(1, 1), scan(1, 5), scan(1, 5), scan(1, 4)]);
    Instance::new(&world, uncached()).during(world.acked(4)).await;
    assert_eq!(world.state().table.rows[&1].response, "message 1");
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_acked_only_with_a_write_at_least_as_new() {
    let world = World::new();
    world.slow_store(|attempt| (if attempt.of_key == 1 { LATENCY } else { 100 * LATENCY }, Answer::Truly));
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
async fn a_failed_condition_settles_what_waits_as_far_as_the_stored_record_reaches() {
    let world = slow();
    let elsewhere = Instance::new(&world, uncached());
    world.publish([scan(1, 9)]);
    elsewhere.during(world.acked(1)).await;
    world.publish([scan(1, 5), scan(1, 7)]);
    Instance::new(&world, uncached()).numbered(1).during(world.acked(3)).await;
    assert_eq!(world.state().table.calls_of(1).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_between_attempts_gives_way_to_a_newer_scan() {
    let world = World::new();
    world.store(|attempt| if attempt.of_key <= 3 { Answer::HotKey } else { Answer::Truly });
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    let script = async {
        world.until("tried", |state| state.table.calls.len() == 1).await;
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
async fn a_write_that_is_given_up_gives_up_only_itself_and_what_it_carried() {
    let world = World::new();
    world.store(|attempt| if attempt.at < Duration::from_secs(100) { Answer::HotKey } else { Answer::Truly });
    world.state().subscription.retry_delay = Duration::from_secs(1000);
    world.publish([scan(1, 5), scan(1, 4)]);
    let instance = Instance::new(&world, Settings { max_retry_time: Duration::from_secs(60), ..settings() });
    let script = async {
        sleep(Duration::from_millis(1)).await;
        world.until("given up", |state| state.subscription.settled(Settlement::Nack) == 2).await;
        world.publish([scan(1, 6)]);
        world.until("stored", |state| state.subscription.messages[2].acked).await;
    };
    instance.during(script).await;
    assert_eq!(world.state().subscription.settled(Settlement::Nack), 2);
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_waits_gives_itself_up_at_its_age() {
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
        // Each newer scan takes the write over, and the older ones age as what it carries.
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
async fn what_a_refused_write_carried_comes_again_and_is_judged_by_itself() {
    let world = World::new();
    world.store(|attempt| if attempt.of_key == 1 { Answer::Refused } else { Answer::Truly });
    world.publish([scan(1, 5), scan(1, 4)]);
    let instance = Instance::new(&world, uncached());
    instance.during(world.acked(2)).await;
    let state = world.state();
    assert_eq!(state.subscription.deliveries_of(1).count(), 2);
    assert_eq!(state.subscription.settled(Settlement::Nack), 1);
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_refused_write_goes_on() {
    let world = World::new();
    world.slow_store(|attempt| (LATENCY, if attempt.of_key == 1 { Answer::Refused } else { Answer::Truly }));
    world.publish([scan(1, 5), scan(1, 6)]);
    let script = async {
        world.until("the newer is acked", |state| state.subscription.messages[1].acked).await;
        assert!(world.state().start.elapsed() < Duration::from_secs(1));
        world.acked(2).await;
    };
    Instance::new(&world, settings()).during(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_scan_of_a_key_that_is_known_to_be_as_new_is_acked_without_a_write() {
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
async fn a_failed_condition_teaches_what_the_record_holds() {
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
async fn what_is_known_is_believed_for_its_age_only() {
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

/// The row of a table that was deleted and made again is gone, and with it what was known.
#[tokio::test(start_paused = true)]
async fn a_missing_table_empties_what_is_known() {
    let world = slow();
    world.store(|attempt| if attempt.port == 2 && attempt.of_key == 1 { Answer::Misconfigured } else { Answer::Truly });
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

/// The answer comes from the table that was, after another write has seen that it is gone.
#[tokio::test(start_paused = true)]
async fn an_answer_that_was_asked_for_before_the_table_went_is_not_remembered() {
    let world = World::new();
    world.slow_store(|attempt| match (attempt.port, attempt.of_key) {
        (1, 1) => (Duration::from_secs(2), Answer::Truly),
        (2, 1) => (Duration::from_secs(1), Answer::Misconfigured),
        _ => (LATENCY, Answer::Truly),
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
async fn a_write_whose_answer_was_lost_counts_as_stored() {
    let world = World::new();
    world.store(|attempt| if attempt.number == 1 { Answer::Unavailable { written: true } } else { Answer::Truly });
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    instance.during(world.acked(1)).await;
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.stored, metrics.stale), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn two_instances_with_one_key_in_hand_leave_the_newest() {
    let world = World::new();
    // The older write arrives last.
    world.slow_store(|attempt| (if attempt.number == 1 { 10 * LATENCY } else { LATENCY }, Answer::Truly));
    world.state().subscription.fault = Script::new(|_| Delivering::Well);
    world.publish([scan(1, 5)]);
    let (first, second) = (Instance::new(&world, settings()), Instance::new(&world, settings()).numbered(1));
    let script = async {
        world.until("in flight", |state| state.table.in_flight == 1).await;
        let newer = async {
            world.publish([scan(1, 6)]);
            world.acked(2).await;
        };
        second.during(newer).await;
    };
    // The first reads no more once it has its scan: its only slot is in use.
    first.during(script).await;
    assert_eq!(world.state().table.rows[&1].response, "message 1");
}

#[tokio::test(start_paused = true)]
async fn at_drain_the_newest_that_waits_is_written_and_beyond_the_grace_all_of_the_key_goes_back() {
    for (grace, stored, released) in [(Duration::from_secs(30), 2, 0), (Duration::from_secs(2), 1, 2)] {
        let world = World::new();
        world.slow_store(|_| (Duration::from_secs(2), Answer::Truly));
        world.publish([scan(1, 5), scan(1, 6), scan(1, 7)]);
        let bounds = Settings { consumers: n(3), shutdown_grace: grace, ..settings() };
        let instance = Instance::new(&world, bounds);
        instance.during(sleep(Duration::from_secs(1))).await;
        let metrics = instance.metrics.snapshot();
        assert_eq!((metrics.stored, metrics.released), (stored, released), "{metrics:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_given_up_without_an_answer_is_not_known() {
    let world = World::new();
    let outage = Duration::from_secs(100);
    world.store(move |attempt| match attempt.at < outage {
        true => Answer::Unavailable { written: false },
        false => Answer::Truly,
    });
    world.publish([scan(1, 5)]);
    Instance::new(&world, Settings { max_retry_time: Duration::from_secs(60), ..settings() })
        .during(world.acked(1))
        .await;
    let state = world.state();
    assert!(state.subscription.settled(Settlement::Nack) > 0);
}

#[tokio::test(start_paused = true)]
async fn ever_newer_scans_of_a_key_that_is_always_refused_are_each_judged_and_none_is_lost() {
    let world = World::new();
    world.slow_store(|attempt| (LATENCY, if attempt.port == 1 { Answer::ForeignRow } else { Answer::Truly }));
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
