//! Scripts of rejected messages: their letters, and how they are held where no letter can be published.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::faults::Publishing;
use super::instance::{Instance, n, settings};
use super::messages::{broken, scan};
use super::pubsub::Settlement;
use super::world::World;
use crate::consumer::Condition;
use crate::consumer::settings::Settings;

/// How long each delivery of a message was held, in seconds.
fn held(world: &World, message: usize) -> Vec<u64> {
    let state = world.state();
    let of_message = state.subscription.deliveries_of(message);
    of_message.filter_map(|delivery| Some((delivery.settled?.1 - delivery.at).as_secs())).collect()
}

fn conditions(instance: &Instance) -> Vec<Condition> {
    instance.process.health.conditions().into_iter().map(|(condition, _)| condition).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_acked_after_its_letter() {
    let world = World::new();
    world.publish([broken()]);
    let instance = Instance::new(&world, settings());
    instance.during(world.acked(1)).await;
    let state = world.state();
    assert_eq!(state.topic.reasons(), ["malformed_json"]);
    assert_eq!(state.topic.letters[0].payload, state.subscription.messages[0].payload);
    assert_eq!(instance.metrics.snapshot().dead_lettered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_answer_is_lost_is_published_again_before_the_ack() {
    let world = World::new();
    world.topic(|letter| if letter.number == 1 { Publishing::Unanswered } else { Publishing::Well });
    world.publish([broken()]);
    Instance::new(&world, settings()).during(world.acked(1)).await;
    assert_eq!(world.state().topic.letters.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_the_topic_is_away_good_scans_go_on_and_afterwards_every_letter_is_published() {
    for answer in [Publishing::Unavailable, Publishing::Never] {
        let world = World::new();
        let away = Duration::from_secs(300);
        world.topic(move |letter| if letter.at < away { answer } else { Publishing::Well });
        let start = Instant::now();
        world.publish((0..50).map(|_| broken()));
        let instance = Instance::new(&world, Settings { consumers: n(2), ..settings() });
        let script = async {
            sleep(Duration::from_secs(60)).await;
            world.publish((1..=200).map(|port| scan(port, 5)));
            world.acked(200).await;
            assert!(start.elapsed() < Duration::from_secs(61), "{answer:?}: {:?}", start.elapsed());
            assert_eq!(conditions(&instance), [Condition::DeadLetters]);
            let so_far = world.state().topic.calls.len();
            // All 50 were on their way before the first failure; then a probe a second.
            assert!((51..=112).contains(&so_far), "{answer:?}: {so_far} letters tried in 61 s");
            world.acked(250).await;
        };
        instance.during(script).await;
        assert!(conditions(&instance).is_empty());
        assert!(start.elapsed() < away + Duration::from_secs(75), "{answer:?}: {:?}", start.elapsed());
        assert_eq!(world.state().topic.letters.len(), 50);
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_refused_goes_with_its_reason_alone() {
    let world = World::new();
    world.topic(|letter| if letter.attributes > 1 { Publishing::Invalid } else { Publishing::Well });
    world.publish([broken()]);
    let instance = Instance::new(&world, settings());
    instance.during(world.acked(1)).await;
    let state = world.state();
    assert_eq!(state.topic.letters[0].attributes.len(), 1);
    assert_eq!(state.topic.reasons(), ["malformed_json"]);
    assert!(instance.process.health.conditions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_refused_bare_is_held_and_makes_the_instance_unready() {
    let world = World::new();
    world.topic(|_| Publishing::Invalid);
    world.publish([broken(), scan(1, 5)]);
    let instance = Instance::new(&world, settings());
    let script = async {
        world.until("given back", |state| state.subscription.settled(Settlement::Nack) == 3).await;
        assert_eq!(conditions(&instance), [Condition::DeadLetters]);
        assert_eq!(world.state().subscription.acked(), 1);
    };
    instance.during(script).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_topic_a_rejected_message_is_held_ever_longer_and_given_back() {
    for counts_attempts in [true, false] {
        let world = World::new();
        world.state().subscription.counts_attempts = counts_attempts;
        world.publish([broken()]);
        let instance = Instance::new(&world, settings()).without_topic();
        instance.during(world.until("held", |state| state.subscription.settled(Settlement::Nack) == 8)).await;
        assert_eq!(held(&world, 0)[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(instance.metrics.snapshot().dead_letter_failed as usize, held(&world, 0).len());
        assert!(conditions(&instance).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_of_the_held_a_rejected_message_is_given_back_at_once() {
    let world = World::new();
    world.state().subscription.retry_delay = Duration::from_secs(600);
    world.publish((0..25).map(|_| broken()));
    let start = Instant::now();
    let instance = Instance::new(&world, settings()).without_topic();
    let script = async {
        sleep_until(start + Duration::from_millis(500)).await;
        assert_eq!(world.state().subscription.settled(Settlement::Nack), 15);
        world.until("given back", |state| state.subscription.settled(Settlement::Nack) == 25).await;
    };
    instance.during(script).await;
}

#[tokio::test(start_paused = true)]
async fn poison_never_starves_good_scans() {
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
