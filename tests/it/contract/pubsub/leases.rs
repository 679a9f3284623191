//! Leases: how long a delivered message is not redelivered, and what ends a lease.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::inbox::Inbox;
use crate::support::pubsub::Pubsub;
use crate::support::{QUIET_PERIOD, with_timeout};

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
    let (finished, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), token.shutdown()), async {
        assert!(inbox.ended().await, "the stream goes on after its shutdown token");
        handler.ack();
    });
    finished.expect("the shutdown finishes when the last receipt is settled");

    let (topic, unsettled) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, ["unsettled"]).await;
    let first = pull_one(&pubsub, &unsettled).await;
    let leased = Instant::now();
    let second = pull_one(&pubsub, &unsettled).await;
    assert_eq!(first["message"], second["message"]);
    assert!(leased.elapsed() > Duration::from_secs(8), "the lease ended after {:?}", leased.elapsed());

    let mut inbox = pubsub.open(&subscription);
    assert!(inbox.next_within(QUIET_PERIOD).await.is_none(), "an acked message was redelivered");
}

#[tokio::test]
async fn a_deadline_of_zero_nacks_the_message() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, ["payload"]).await;
    let received = pull_one(&pubsub, &subscription).await;

    let nacked = Instant::now();
    set_deadline(&pubsub, &subscription, &received, 0).await;

    pubsub.open(&subscription).next().await.1.ack();
    assert!(nacked.elapsed() < Duration::from_secs(5), "{:?}", nacked.elapsed());
}

#[tokio::test]
async fn a_deadline_can_be_shortened_and_extended() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, ["payload"]).await;
    let received = pull_one(&pubsub, &subscription).await;

    let leased = Instant::now();
    set_deadline(&pubsub, &subscription, &received, 1).await;
    set_deadline(&pubsub, &subscription, &received, 3).await;

    pubsub.open(&subscription).next().await.1.ack();
    let waited = leased.elapsed();
    assert!((2_500..8_000).contains(&waited.as_millis()), "{waited:?}");
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
    assert!(second.next_within(QUIET_PERIOD).await.is_none(), "a late nack caused a redelivery of an acked message");
}
