//! Nacks: when a message is redelivered, and how often.

use std::time::Duration;

use google_cloud_pubsub::model::{DeadLetterPolicy, RetryPolicy};
use tokio::time::Instant;

use crate::support::inbox::Inbox;
use crate::support::pubsub::Pubsub;
use crate::support::servers::PubsubServer;
use crate::support::with_timeout;

fn backoff(minimum: Duration) -> RetryPolicy {
    let minimum = google_cloud_wkt::Duration::try_from(minimum).expect("a few seconds");
    RetryPolicy::new().set_minimum_backoff(minimum).set_maximum_backoff(google_cloud_wkt::Duration::clamp(600, 0))
}

/// Longer than every test. If it is a lease or a backoff, its end does not explain a redelivery.
const TEN_MINUTES: Duration = Duration::from_secs(600);

fn with_long_leases(pubsub: &Pubsub, subscription: &str) -> Inbox {
    Inbox::open(pubsub.subscribe(subscription).set_max_lease_extension(TEN_MINUTES))
}

#[tokio::test]
async fn without_a_retry_policy_a_nacked_message_is_redelivered_promptly() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, ["payload"]).await;
    let mut inbox = with_long_leases(&pubsub, &subscription);

    let redeliveries = async {
        for _ in 0..10 {
            let (message, handler) = inbox.next().await;
            assert_eq!(message.data, "payload");
            handler.nack();
        }
    };
    // The shortest backoff, 10 s for each redelivery, would take three times the timeout.
    with_timeout("nine redeliveries without a backoff", redeliveries).await;
}

#[tokio::test]
async fn with_a_retry_policy_a_nacked_message_is_redelivered_after_the_minimum_backoff() {
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
        let skipped = redelivery == "first"
            && pubsub.skips(PubsubServer::GoogleEmulator, "the first redelivery waits for the minimum backoff");
        assert!(skipped || waited >= minimum, "the {redelivery} redelivery came after {waited:?}");
    }
}

#[tokio::test]
async fn a_backoff_delays_only_its_own_message() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic().await;
    let policy = backoff(TEN_MINUTES);
    let subscription = pubsub.subscription_with(&topic, |plain| plain.set_retry_policy(policy)).await;
    pubsub.publish(&topic, ["nacked"]).await;
    let mut inbox = with_long_leases(&pubsub, &subscription);
    inbox.next().await.1.nack();

    pubsub.publish(&topic, ["acked"]).await;

    loop {
        let (message, handler) = inbox.next().await;
        if message.data == "acked" {
            handler.ack();
            break;
        }
        handler.nack();
    }
}

#[tokio::test]
async fn dropping_the_handler_nacks_the_message() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, ["payload"]).await;
    let mut inbox = with_long_leases(&pubsub, &subscription);

    drop(inbox.next().await);

    let (message, handler) = inbox.next().await;
    handler.ack();
    assert_eq!(message.data, "payload");
}

#[tokio::test]
async fn with_a_dead_letter_policy_attempts_are_counted_and_the_message_is_forwarded_after_the_last() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic().await;
    let (dead_letter_topic, dead_letter_subscription) = pubsub.topic_with_subscription().await;
    let policy = DeadLetterPolicy::new().set_dead_letter_topic(&dead_letter_topic).set_max_delivery_attempts(5);
    let subscription = pubsub.subscription_with(&topic, |plain| plain.set_dead_letter_policy(policy)).await;
    let sent = google_cloud_pubsub::model::Message::new().set_data("payload").set_attributes([("source", "probe")]);
    pubsub.try_publish(&topic, [sent.clone()]).await;
    let mut inbox = pubsub.open(&subscription);

    for attempt in 1..=5 {
        let (_, handler) = inbox.next().await;
        assert_eq!(handler.delivery_attempt(), Some(attempt));
        handler.nack();
    }

    let (dead_letter, handler) = pubsub.open(&dead_letter_subscription).next().await;
    handler.ack();
    assert_eq!(dead_letter.data, sent.data);
    assert_eq!(dead_letter.attributes.get("source").map(String::as_str), Some("probe"), "{dead_letter:?}");
    inbox.close().await;
    pubsub.drained(&subscription).await;
}
