//! Health of the instance: it is alive during every outage, and ready when it can work or has nothing to do.

use std::time::Duration;

use tokio::time::sleep;

use super::faults::{Answer, PublishAnswer};
use super::instance::{Instance, n, settings};
use super::messages::{broken, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::settings::Settings;

fn reasons(instance: &Instance) -> Vec<String> {
    instance.process.unready().into_iter().map(|unready| unready.condition).collect()
}

#[tokio::test(start_paused = true)]
async fn is_alive_and_names_its_conditions_during_an_outage_of_ten_minutes_and_a_drain() {
    let world = World::new();
    world.store(|_| Answer::Hang { written: false });
    let grace = Duration::from_secs(300);
    world.publish((1..=100).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, Settings { consumers: n(3), shutdown_grace: grace, ..settings() });
    assert_eq!(reasons(&instance), ["starting"]);
    let drain = async {
        instance.process.drain.requested().await;
        while instance.process.census.reading_workers() > 0 {
            assert!(instance.process.liveness.is_alive());
            assert_eq!(reasons(&instance), ["stopping", "DynamoDB"]);
            sleep(Duration::from_secs(1)).await;
        }
    };
    let outage = async {
        sleep(Duration::from_secs(60)).await;
        for _ in 0..600 {
            assert!(instance.process.liveness.is_alive());
            assert_eq!(reasons(&instance), ["DynamoDB"]);
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::join!(drain, instance.during(outage));
    assert!(instance.process.liveness.is_alive());
}

#[tokio::test(start_paused = true)]
async fn is_alive_and_ready_while_idle_and_after_an_outage() {
    let world = World::new();
    world.store(|attempt| if attempt.number <= 20 { Answer::Unavailable { written: false } } else { Answer::Normal });
    let instance = Instance::new(&world, Settings { consumers: n(3), ..settings() });
    let script = async {
        sleep(Duration::from_secs(600)).await;
        assert!(instance.process.liveness.is_alive());
        assert!(reasons(&instance).is_empty());
        world.publish((1..=8).map(|port| scan(port, 5)));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(reasons(&instance), ["DynamoDB"]);
        world.acked(8).await;
        assert!(reasons(&instance).is_empty());
    };
    instance.during(script).await;
}

/// Waits until every message has been nacked, which is not redelivered within the next hours. Then checks the condition, and
/// that it ends without another attempt.
async fn assert_it_expires(instance: &Instance, condition: &str, within: Duration) {
    let all_nacked = instance
        .world
        .until("nacked", |state| state.subscription.settled(Settlement::Nack) == state.subscription.messages.len());
    all_nacked.await;
    assert_eq!(reasons(instance), [condition]);
    let attempts = |instance: &Instance| {
        let state = instance.world.state();
        (state.table.calls.len(), state.topic.calls.len())
    };
    let before = attempts(instance);
    sleep(within).await;
    assert_eq!(attempts(instance), before);
    assert_eq!(reasons(instance), [""; 0], "{condition} does not expire");
}

/// Returns settings for an outage that ends with nacked messages.
fn short() -> Settings {
    Settings { max_retry_time: Duration::from_secs(120), ..settings() }
}

fn never_redeliver(world: &World) {
    world.state().subscription.retry_delay = Duration::from_secs(3 * 3600);
}

#[tokio::test(start_paused = true)]
async fn is_ready_a_minute_after_the_last_failed_write_if_no_message_waits() {
    let world = World::new();
    let outage = Duration::from_secs(600);
    world.store(move |attempt| match attempt.at < outage {
        true => Answer::Unavailable { written: false },
        false => Answer::Normal,
    });
    never_redeliver(&world);
    world.publish((1..=20).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, short());
    let script = async {
        assert_it_expires(&instance, "DynamoDB", Duration::from_secs(62)).await;
        assert!(!instance.process.load().circuit_breaker_open);
        // The outage lasts, and the next messages show it again.
        world.publish((21..=30).map(|port| scan(port, 5)));
        sleep(Duration::from_secs(10)).await;
        assert_eq!(reasons(&instance), ["DynamoDB"]);
        assert!(world.state().start.elapsed() < outage);
        sleep(outage).await;
        world.publish((31..=40).map(|port| scan(port, 5)));
        world.acked(10).await;
        assert_eq!(reasons(&instance), [""; 0]);
    };
    instance.during(script).await;
}

#[tokio::test(start_paused = true)]
async fn is_not_ready_while_a_probe_fails_every_second() {
    let world = World::new();
    world.store(|_| Answer::Hang { written: false });
    world.publish([scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    let script = async {
        sleep(Duration::from_secs(120)).await;
        for _ in 0..1200 {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(reasons(&instance), ["DynamoDB"]);
        }
    };
    instance.during(script).await;
}

#[tokio::test(start_paused = true)]
async fn is_ready_five_minutes_after_the_last_dead_letter_that_failed() {
    for answer in [PublishAnswer::Unavailable, PublishAnswer::Invalid, PublishAnswer::Hang] {
        let world = World::new();
        world.topic(move |_| answer);
        never_redeliver(&world);
        world.publish([broken()]);
        let instance = Instance::new(&world, settings());
        let script = async {
            assert_it_expires(&instance, "the dead-letter topic", Duration::from_secs(302)).await;
            // The permission is granted meanwhile.
            world.topic(|_| PublishAnswer::Normal);
            world.publish([broken()]);
            world.acked(1).await;
            assert_eq!(reasons(&instance), [""; 0]);
        };
        instance.during(script).await;
    }
}

#[tokio::test(start_paused = true)]
async fn is_ready_ten_minutes_after_the_last_refused_write() {
    let world = World::new();
    world.store(|_| Answer::Refused);
    never_redeliver(&world);
    world.publish((1..=130).map(|port| scan(port, 5)));
    let instance = Instance::new(&world, short());
    instance.during(assert_it_expires(&instance, "the table", Duration::from_secs(602))).await;
    assert!(!instance.process.refusals.breaker.is_open());
}
