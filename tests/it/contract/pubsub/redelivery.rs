//! Nacks: when a message comes again, and how often.

use std::time::Duration;

use google_cloud_pubsub::model::{DeadLetterPolicy, RetryPolicy};
use tokio::time::Instant;

use crate::support::pubsub::Pubsub;
use crate::support::servers::PubsubServer;

fn backoff(minimum: Duration) -> RetryPolicy {
    let minimum = google_cloud_wkt::Duration::try_from(minimum).expect("a few seconds");
    RetryPolicy::new().set_minimum_backoff(minimum).set_maximum_backoff(google_cloud_wkt::Duration::clamp(600, 0))
}

/// Long for a server, short for any backoff or deadline: the shortest of these is 10 s.
const PROMPTLY: Duration = Duration::from_secs(5);

#[tokio::test]
async fn without_a_retry_policy_a_nacked_message_comes_back_promptly() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;
    pubsub.publish(&topic, ["payload"]).await;
    let mut inbox = pubsub.open(&subscription);

    for _ in 0..5 {
        let nacked = Instant::now();
        inbox.next().await.1.nack();
        let (message, handler) = inbox.next().await;
        assert!(nacked.elapsed() < PROMPTLY, "{:?}", nacked.elapsed());
        assert_eq!(message.data, "payload");
        handler.nack();
    }
}

#[tokio::test]
async fn with_a_retry_policy_a_nacked_message_waits_for_the_minimum_backoff() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic().await;
    let minimum = Duration::from_secs(1);
    let subscription = pubsub.subscription_with(&topic, |plain| plain.set_retry_policy(backoff(minimum))).await;
    pubsub.publish(&topic, ["payload"]).await;
    let mut inbox = pubsub.open(&subscription);

    let (_, mut handler) = inbox.next().await;
    for redelivery in ["first", "second"] {
        let nacked = Instant::now();
        handler.nack();
        (_, handler) = inbox.next().await;
        let waited = nacked.elapsed();
        let excused = redelivery == "first"
            && pubsub.excuses(PubsubServer::GoogleEmulator, "the first redelivery waits for the minimum backoff");
        assert!(excused || waited >= minimum, "the {redelivery} redelivery came after {waited:?}");
    }
}

#[tokio::test]
async fn a_backoff_delays_its_own_message_only() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic().await;
    let policy = backoff(Duration::from_secs(20));
    let subscription = pubsub.subscription_with(&topic, |plain| plain.set_retry_policy(policy)).await;
    pubsub.publish(&topic, ["bad"]).await;
    let mut inbox = pubsub.open(&subscription);
    inbox.next().await.1.nack();

    pubsub.publish(&topic, ["good"]).await;

    let asked = Instant::now();
    loop {
        let (message, handler) = inbox.next().await;
        if message.data == "good" {
            handler.ack();
            break;
        }
        handler.nack();
    }
    assert!(asked.elapsed() < PROMPTLY, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_dropped_handler_nacks() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;
    pubsub.publish(&topic, ["payload"]).await;
    let mut inbox = pubsub.open(&subscription);

    let dropped = Instant::now();
    drop(inbox.next().await);

    let (message, handler) = inbox.next().await;
    handler.ack();
    assert_eq!(message.data, "payload");
    assert!(dropped.elapsed() < PROMPTLY, "{:?}", dropped.elapsed());
}

#[tokio::test]
async fn with_a_dead_letter_policy_deliveries_are_counted_and_then_forwarded() {
    let pubsub = Pubsub::connect().await;
    let (topic, (letters, letter_subscription)) = (pubsub.topic().await, pubsub.pair().await);
    let policy = DeadLetterPolicy::new().set_dead_letter_topic(&letters).set_max_delivery_attempts(5);
    let subscription = pubsub.subscription_with(&topic, |plain| plain.set_dead_letter_policy(policy)).await;
    let sent = google_cloud_pubsub::model::Message::new().set_data("payload").set_attributes([("source", "probe")]);
    pubsub.try_publish(&topic, [sent.clone()]).await;
    let mut inbox = pubsub.open(&subscription);

    for attempt in 1..=5 {
        let (_, handler) = inbox.next().await;
        assert_eq!(handler.delivery_attempt(), Some(attempt));
        handler.nack();
    }

    let (letter, handler) = pubsub.open(&letter_subscription).next().await;
    handler.ack();
    assert_eq!(letter.data, sent.data);
    assert_eq!(letter.attributes.get("source").map(String::as_str), Some("probe"), "{letter:?}");
    assert!(inbox.next_within(crate::support::QUIET).await.is_none(), "a forwarded message came once more");
}
