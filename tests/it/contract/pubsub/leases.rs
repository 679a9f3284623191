//! Leases: how long a delivered message is not redelivered, and what ends a lease.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::inbox::Inbox;
use crate::support::pubsub::Pubsub;
use crate::support::with_timeout;

/// Pulls one message over REST, so that nothing extends its lease.
async fn pull_one(pubsub: &Pubsub, subscription: &str) -> Value {
    let pulling = async {
        loop {
            let (status, mut pulled) = pubsub.rest(subscription, "pull", json!({"maxMessages": 1})).await;
            assert_eq!(status, 200, "{pulled}");
            let received = pulled["receivedMessages"][0].take();
            // A pull may return no message although one exists.
            if !received.is_null() {
                return received;
            }
        }
    };
    with_timeout("a message over REST", pulling).await
}

/// Creates a subscription whose leases outlast every test, and publishes a message to it.
async fn with_long_leases(pubsub: &Pubsub) -> String {
    let topic = pubsub.topic().await;
    let subscription = pubsub.subscription_with(&topic, |plain| plain.set_ack_deadline_seconds(600)).await;
    pubsub.publish(&topic, ["payload"]).await;
    subscription
}

async fn set_deadline(pubsub: &Pubsub, subscription: &str, received: &Value, seconds: u32) {
    let body = json!({"ackIds": [received["ackId"]], "ackDeadlineSeconds": seconds});
    let (status, response) = pubsub.rest(subscription, "modifyAckDeadline", body).await;
    assert_eq!(status, 200, "{response}");
}

/// The unsettled message is on another subscription and is leased last. When it is redelivered, all deadlines are over.
#[tokio::test]
async fn an_unsettled_message_is_redelivered_after_the_ack_deadline_and_acked_ones_are_not() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;

    pubsub.publish(&topic, ["acked", "acked after its stream was told to end"]).await;
    let mut inbox = pubsub.open(&subscription);
    inbox.next().await.1.ack();
    let (_, handler) = inbox.next().await;
    let token = inbox.shutdown_token();
    tokio::join!(with_timeout("the shutdown, which ends when the last receipt is settled", token.shutdown()), async {
        assert!(inbox.ended().await, "the stream goes on after its shutdown token");
        handler.ack();
    });

    let (topic, unsettled) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, ["unsettled"]).await;
    let before = Instant::now();
    let first = pull_one(&pubsub, &unsettled).await;
    let second = pull_one(&pubsub, &unsettled).await;
    assert_eq!(first["message"], second["message"]);
    assert!(before.elapsed() > Duration::from_secs(8), "the lease ended after {:?}", before.elapsed());
    pubsub.drained(&subscription).await;
}

#[tokio::test]
async fn a_deadline_of_zero_nacks_the_message() {
    let pubsub = Pubsub::connect().await;
    let subscription = with_long_leases(&pubsub).await;
    let received = pull_one(&pubsub, &subscription).await;

    set_deadline(&pubsub, &subscription, &received, 0).await;

    pubsub.open(&subscription).next().await.1.ack();
}

#[tokio::test]
async fn a_deadline_can_be_shortened_and_extended() {
    let pubsub = Pubsub::connect().await;
    let subscription = with_long_leases(&pubsub).await;
    let received = pull_one(&pubsub, &subscription).await;

    let before = Instant::now();
    set_deadline(&pubsub, &subscription, &received, 5).await;
    set_deadline(&pubsub, &subscription, &received, 8).await;

    pubsub.open(&subscription).next().await.1.ack();
    assert!(before.elapsed() > Duration::from_millis(7_500), "the lease ended after {:?}", before.elapsed());
}

/// A killed instance settles nothing. Its messages are redelivered when their leases end.
#[tokio::test]
async fn a_message_that_a_client_abandons_is_redelivered_when_its_lease_ends() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, ["payload"]).await;
    let mut first = Inbox::open(pubsub.subscribe(&subscription).set_max_lease(Duration::from_secs(1)));
    let (_, abandoned) = first.next().await;

    let mut second = pubsub.open(&subscription);
    let redelivered = async {
        tokio::select! { delivery = first.next() => delivery, delivery = second.next() => delivery }
    };
    let (message, handler) = with_timeout("the redelivery", redelivered).await;

    handler.ack();
    assert_eq!(message.data, "payload");
    // A settlement after the end of the lease has no effect.
    abandoned.nack();
    tokio::join!(first.close(), second.close());
    pubsub.drained(&subscription).await;
}
