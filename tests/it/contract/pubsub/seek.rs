//! Seek to a time, over gRPC and REST.

use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::model::Message;
use serde_json::json;

use crate::support::pubsub::{Pubsub, code};
use crate::support::servers::PubsubServer;
use crate::support::unique;

/// Publishes two messages one after the other, takes them, acks or nacks both, and returns them.
async fn published(pubsub: &Pubsub, topic: &str, subscription: &str, acks: bool) -> [Message; 2] {
    let mut inbox = pubsub.open(subscription);
    pubsub.publish(topic, ["first"]).await;
    let first = inbox.next().await;
    // The publish times must differ, whatever the precision of the server.
    tokio::time::sleep(Duration::from_millis(20)).await;
    pubsub.publish(topic, ["second"]).await;
    let second = inbox.next().await;
    let messages = [first, second].map(|(message, handler)| {
        if acks {
            handler.ack();
        } else {
            handler.nack();
        }
        message
    });
    inbox.close().await;
    messages
}

fn time_of(message: &Message) -> google_cloud_wkt::Timestamp {
    message.publish_time.expect("the server sets the publish time")
}

/// Returns false if the server is Google's emulator and does not implement Seek.
async fn seeks(pubsub: &Pubsub, subscription: &str, time: google_cloud_wkt::Timestamp) -> bool {
    let sought = pubsub.subscriptions.seek().set_subscription(subscription).set_time(time).send().await;
    match sought {
        Err(error) if code(&error) == Some(Code::Unimplemented) => {
            assert!(pubsub.skips(PubsubServer::GoogleEmulator, "a seek to a time succeeds"), "{error:?}");
            false
        }
        sought => {
            sought.expect("the seek succeeds");
            true
        }
    }
}

#[tokio::test]
async fn a_seek_acknowledges_messages_that_were_published_before_its_time() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let [_, second] = published(&pubsub, &topic, &subscription, false).await;

    if !seeks(&pubsub, &subscription, time_of(&second)).await {
        return;
    }

    let mut inbox = pubsub.open(&subscription);
    let (message, handler) = inbox.next().await;
    handler.ack();
    assert_eq!(message.data, "second");
    inbox.close().await;
    pubsub.drained(&subscription).await;
}

#[tokio::test]
async fn a_seek_redelivers_retained_messages_that_were_acknowledged() {
    let pubsub = Pubsub::connect().await;
    if pubsub.skips(PubsubServer::GoogleEmulator, "acknowledged messages are retained") {
        return;
    }
    let topic = pubsub.topic().await;
    let subscription = pubsub.subscription_with(&topic, |plain| plain.set_retain_acked_messages(true)).await;
    let [first, second] = published(&pubsub, &topic, &subscription, true).await;
    pubsub.drained(&subscription).await;

    assert!(seeks(&pubsub, &subscription, time_of(&second)).await);
    let mut inbox = pubsub.open(&subscription);
    let (message, handler) = inbox.next().await;
    handler.ack();
    assert_eq!(message, second, "the same message, with its id");
    pubsub.drained(&subscription).await;

    assert!(seeks(&pubsub, &subscription, time_of(&first)).await);
    let mut again = Vec::new();
    for _ in 0..2 {
        let (message, handler) = inbox.next().await;
        handler.ack();
        again.push(message.message_id);
    }
    again.sort_unstable();
    assert_eq!(again, [first.message_id, second.message_id]);
}

#[tokio::test]
async fn a_seek_does_not_restore_messages_that_are_not_retained() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let [first, _] = published(&pubsub, &topic, &subscription, true).await;
    pubsub.drained(&subscription).await;

    let sought = seeks(&pubsub, &subscription, time_of(&first)).await;
    if !sought || pubsub.skips(PubsubServer::GoogleEmulator, "without retention, acknowledged messages stay so") {
        return;
    }

    assert_eq!(pubsub.counts(&subscription).backlog(), 0);
}

#[tokio::test]
async fn a_seek_over_rest_discards_the_backlog() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, ["before"]).await;

    let (status, body) = pubsub.rest(&subscription, "seek", json!({ "time": "2999-01-01T00:00:00Z" })).await;
    if status != 200 && pubsub.skips(PubsubServer::GoogleEmulator, "a seek over REST succeeds") {
        return;
    }

    assert_eq!((status, body), (200, json!({})));
    pubsub.publish(&topic, ["after"]).await;
    let (message, handler) = pubsub.open(&subscription).next().await;
    handler.ack();
    assert_eq!(message.data, "after");
}

#[tokio::test]
async fn a_seek_on_a_missing_subscription_fails_with_not_found() {
    let pubsub = Pubsub::connect().await;
    let subscription = pubsub.subscription_name(&unique("missing"));

    let seek =
        pubsub.subscriptions.seek().set_subscription(subscription).set_time(google_cloud_wkt::Timestamp::default());
    let error = seek.send().await.expect_err("missing");

    let skipped = code(&error) == Some(Code::Unimplemented)
        && pubsub.skips(PubsubServer::GoogleEmulator, "a seek on a missing subscription fails with NOT_FOUND");
    assert!(skipped || code(&error) == Some(Code::NotFound), "{error:?}");
}
