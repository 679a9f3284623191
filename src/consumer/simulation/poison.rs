//! Rejected messages: their dead letters, and how they are parked while no dead letter can be published.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::faults::PublishAnswer;
use super::instance::{Instance, n, settings};
use super::messages::{broken, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::Condition;
use crate::consumer::settings::Settings;

/// Returns how long each delivery of a message was parked, in seconds.
fn parked_seconds(world: &World, message: usize) -> Vec<u64> {
    let state = world.state();
    let deliveries = state.subscription.deliveries_of(message);
    deliveries.filter_map(|delivery| Some((delivery.settled?.1 - delivery.at).as_secs())).collect()
}

fn conditions(instance: &Instance) -> Vec<Condition> {
    instance.process.health.conditions().into_iter().map(|(condition, _)| condition).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_acked_after_its_dead_letter() {
    let world = World::new();
    world.publish([broken()]);
    let instance = Instance::new(&world, settings());
    instance.during(world.acked(1)).await;
    let state = world.state();
    assert_eq!(state.topic.reasons(), ["malformed_json"]);
    assert_eq!(state.topic.dead_letters[0].payload, state.subscription.messages[0].payload);
    assert_eq!(instance.metrics.snapshot().dead_lettered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_whose_response_is_lost_is_published_again_before_the_ack() {
    let world = World::new();
    world.topic(|publish| if publish.number == 1 { PublishAnswer::ResponseLost } else { PublishAnswer::Normal });
    world.publish([broken()]);
    Instance::new(&world, settings()).during(world.acked(1)).await;
    assert_eq!(world.state().topic.dead_letters.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn valid_scans_are_written_during_an_outage_of_the_topic_and_all_dead_letters_are_published_afterwards() {
    for answer in [PublishAnswer::Unavailable, PublishAnswer::Hang] {
        let world = World::new();
        let outage = Duration::from_secs(300);
        world.topic(move |publish| if publish.at < outage { answer } else { PublishAnswer::Normal });
        let start = Instant::now();
        world.publish((0..50).map(|_| broken()));
        let instance = Instance::new(&world, Settings { consumers: n(2), ..settings() });
        let script = async {
            sleep(Duration::from_secs(60)).await;
            world.publish((1..=200).map(|port| scan(port, 5)));
            world.acked(200).await;
            assert!(start.elapsed() < Duration::from_secs(61), "{answer:?}: {:?}", start.elapsed());
            assert_eq!(conditions(&instance), [Condition::DeadLetters]);
            let attempts = world.state().topic.calls.len();
            // All 50 were in flight before the first failure. Then one probe per second follows.
            assert!((51..=112).contains(&attempts), "{answer:?}: {attempts} attempts to publish in 61 s");
            world.acked(250).await;
        };
        instance.during(script).await;
        assert!(conditions(&instance).is_empty());
        assert!(start.elapsed() < outage + Duration::from_secs(75), "{answer:?}: {:?}", start.elapsed());
        assert_eq!(world.state().topic.dead_letters.len(), 50);
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_dead_letter_is_published_with_its_reason_alone() {
    let world = World::new();
    world.topic(|publish| if publish.attributes > 1 { PublishAnswer::Invalid } else { PublishAnswer::Normal });
    world.publish([broken()]);
    let instance = Instance::new(&world, settings());
    instance.during(world.acked(1)).await;
    let state = world.state();
    assert_eq!(state.topic.dead_letters[0].attributes.len(), 1);
    assert_eq!(state.topic.reasons(), ["malformed_json"]);
    assert!(instance.process.health.conditions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_invalid_with_its_reason_alone_makes_the_instance_unhealthy() {
    let world = World::new();
    world.topic(|_| PublishAnswer::Invalid);
    world.publish([broken(), scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    let script = async {
        world.until("nacked", |state| state.subscription.settled(Settlement::Nack) == 3).await;
        assert_eq!(conditions(&instance), [Condition::DeadLetters]);
        assert_eq!(world.state().subscription.acked(), 1);
    };
    instance.during(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_invalid_with_its_reason_alone_is_not_counted_as_published() {
    let world = World::new();
    world.topic(|_| PublishAnswer::Invalid);
    world.publish([broken()]);
    let instance = Instance::new(&world, settings());
    instance.during(world.until("nacked", |state| state.subscription.settled(Settlement::Nack) == 1)).await;
    assert_eq!(world.state().subscription.acked(), 0);
    let metrics = instance.metrics.snapshot();
    assert_eq!((metrics.rejected, metrics.dead_lettered, metrics.dead_letter_failed), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_topic_a_rejected_message_is_parked_for_longer_each_time_and_nacked() {
    for counts_attempts in [true, false] {
        let world = World::new();
        world.state().subscription.counts_attempts = counts_attempts;
        world.publish([broken()]);
        let instance = Instance::new(&world, settings()).without_topic();
        instance.during(world.until("nacked", |state| state.subscription.settled(Settlement::Nack) == 8)).await;
        assert_eq!(parked_seconds(&world, 0)[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(instance.metrics.snapshot().dead_letter_failed as usize, parked_seconds(&world, 0).len());
        assert!(conditions(&instance).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_nacked_immediately_if_there_is_no_parking_permit() {
    let world = World::new();
    world.state().subscription.retry_delay = Duration::from_secs(600);
    world.publish((0..115).map(|_| broken()));
    let start = Instant::now();
    let instance = Instance::new(&world, settings()).without_topic();
    let script = async {
        sleep_until(start + Duration::from_millis(500)).await;
        assert_eq!(world.state().subscription.settled(Settlement::Nack), 15);
        world.until("nacked", |state| state.subscription.settled(Settlement::Nack) == 115).await;
    };
    instance.during(script).await;
}

#[tokio::test(start_paused = true)]
async fn poison_never_starves_valid_scans() {
    for retry_delay in [Duration::from_millis(10), Duration::from_secs(10)] {
        let world = World::new();
        world.state().subscription.retry_delay = retry_delay;
        world.publish((0..200).map(|_| broken()));
        let instance = Instance::new(&world, Settings { consumers: n(2), ..settings() }).without_topic();
        let script = async {
            sleep(Duration::from_secs(2)).await;
            let published = Instant::now();
            world.publish((1..=100).map(|port| scan(port, 5)));
            world.acked(100).await;
            assert!(published.elapsed() < Duration::from_secs(5), "{retry_delay:?}: {:?}", published.elapsed());
        };
        instance.during(script).await;
        assert!(world.state().table.calls.len() == 100);
    }
}
