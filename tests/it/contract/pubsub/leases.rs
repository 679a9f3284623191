//! Leases: how long a delivered message stays away, and what ends that.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::inbox::Inbox;
use crate::support::pubsub::Pubsub;
use crate::support::{QUIET, within_patience};

/// Pulls one message over REST, where nothing extends its lease.
async fn pull_one(pubsub: &Pubsub, subscription: &str) -> Value {
    let pulling = async {
        loop {
            let (status, mut pulled) = pubsub.rest(subscription, "pull", json!({"maxMessages": 1})).await;
            assert_eq!(status, 200, "{pulled}");
            let received = pulled["receivedMessages"][0].take();
            // A pull may answer with nothing before there is something.
            if !received.is_null() {
                return received;
            }
        }
    };
    within_patience("a message over REST", pulling).await
}

async fn set_deadline(pubsub: &Pubsub, subscription: &str, received: &Value, seconds: u32) {
    let body = json!({"ackIds": [received["ackId"]], "ackDeadlineSeconds": seconds});
    let (status, answer) = pubsub.rest(subscription, "modifyAckDeadline", body).await;
    assert_eq!(status, 200, "{answer}");
}

/// The witness, on a subscription of its own, is leased last: when it comes back, the deadlines of all have passed.
#[tokio::test]
async fn beyond_the_ack_deadline_an_unsettled_message_comes_back_and_acked_ones_do_not() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;

    pubsub.publish(&topic, ["acked", "acked after its stream was told to end"]).await;
    let mut inbox = pubsub.open(&subscription);
    inbox.next().await.1.ack();
    let (_, handler) = inbox.next().await;
    let token = inbox.shutdown_token();
    let (finished, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), token.shutdown()), async {
        assert!(inbox.ended().await, "the stream goes on after its shutdown token");
        handler.ack();
    });
    finished.expect("the token finishes once the last receipt is settled");

    let (topic, witness) = pubsub.pair().await;
    pubsub.publish(&topic, ["witness"]).await;
    let first = pull_one(&pubsub, &witness).await;
    let leased = Instant::now();
    let second = pull_one(&pubsub, &witness).await;
    assert_eq!(first["message"], second["message"]);
    assert!(leased.elapsed() > Duration::from_secs(8), "its lease ended after {:?}", leased.elapsed());

    let mut inbox = pubsub.open(&subscription);
    assert!(inbox.next_within(QUIET).await.is_none(), "an acked message came again");
}

#[tokio::test]
async fn a_deadline_of_zero_gives_the_message_back_at_once() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;
    pubsub.publish(&topic, ["payload"]).await;
    let received = pull_one(&pubsub, &subscription).await;

    let nacked = Instant::now();
    set_deadline(&pubsub, &subscription, &received, 0).await;

    pubsub.open(&subscription).next().await.1.ack();
    assert!(nacked.elapsed() < Duration::from_secs(5), "{:?}", nacked.elapsed());
}

#[tokio::test]
async fn a_deadline_can_be_shortened_and_prolonged() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;
    pubsub.publish(&topic, ["payload"]).await;
    let received = pull_one(&pubsub, &subscription).await;

    let leased = Instant::now();
    set_deadline(&pubsub, &subscription, &received, 1).await;
    set_deadline(&pubsub, &subscription, &received, 3).await;

    pubsub.open(&subscription).next().await.1.ack();
    let waited = leased.elapsed();
    assert!((2_500..8_000).contains(&waited.as_millis()), "{waited:?}");
}

/// A killed instance settles nothing: its messages come to another once their leases end.
#[tokio::test]
async fn what_a_client_has_forgotten_comes_to_another_once_its_lease_ends() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;
    pubsub.publish(&topic, ["payload"]).await;
    let mut first = Inbox::open(pubsub.subscribe(&subscription).set_max_lease(Duration::from_secs(1)));
    let (_, forgotten) = first.next().await;

    let mut second = pubsub.open(&subscription);
    let redelivered = async {
        tokio::select! { delivery = first.next() => delivery, delivery = second.next() => delivery }
    };
    let (message, handler) = within_patience("the redelivery", redelivered).await;

    handler.ack();
    assert_eq!(message.data, "payload");
    // Settling what the server has taken back changes nothing.
    forgotten.nack();
    assert!(second.next_within(QUIET).await.is_none(), "a stale nack brought an acked message back");
}
