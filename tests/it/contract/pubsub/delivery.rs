//! The content of a delivery, and the results of a stream.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::model::Message;
use serde_json::json;

use crate::support::pubsub::{Pubsub, code};
use crate::support::servers::PubsubServer;
use crate::support::{unique, with_timeout};

#[tokio::test]
async fn a_delivery_has_the_published_payload_attributes_and_id() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let payload: Vec<u8> = (0..=255).rev().collect();
    let sent = Message::new().set_data(payload.clone()).set_attributes([("source", "probe ü\n"), ("empty", "")]);

    let published = pubsub.try_publish(&topic, [sent.clone()]).await;

    let (message, handler) = pubsub.open(&subscription).next().await;
    assert_eq!(handler.delivery_attempt(), None, "there is no dead-letter policy");
    handler.ack();
    assert_eq!(message.data, payload);
    assert_eq!(message.attributes, sent.attributes);
    assert_eq!(message.message_id, *published[0].as_ref().expect("the message is accepted"));
    assert_eq!(message.ordering_key, "");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test compares the server's clock with the local one")]
async fn a_redelivery_has_the_id_and_the_publish_time_of_the_first_delivery() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let second = Duration::from_secs(1);
    let before = SystemTime::now() - second;
    pubsub.publish(&topic, ["payload"]).await;
    let after = SystemTime::now() + second;
    let mut inbox = pubsub.open(&subscription);

    let (first, handler) = inbox.next().await;
    handler.nack();
    let (again, handler) = inbox.next().await;
    handler.ack();

    let published: SystemTime = first.publish_time.expect("a publish time").try_into().expect("a sane time");
    assert!((before..after).contains(&published), "{published:?} is not within {before:?} and {after:?}");
    assert_eq!(again.publish_time, first.publish_time);
    assert_eq!(again.message_id, first.message_id);
    assert_eq!(again.data, first.data);
}

#[tokio::test]
async fn a_stream_on_a_missing_subscription_returns_not_found_and_ends() {
    let pubsub = Pubsub::connect().await;
    let mut inbox = pubsub.open(&pubsub.subscription_name(&unique("missing")));

    let error = inbox.error().await;

    assert_eq!(code(&error), Some(Code::NotFound), "{error:?}");
    assert!(inbox.ended().await);
}

#[tokio::test]
async fn a_stream_returns_not_found_when_its_subscription_is_deleted() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let mut inbox = pubsub.open(&subscription);
    pubsub.publish(&topic, ["payload"]).await;
    inbox.next().await.1.ack();

    let delete = pubsub.subscriptions.delete_subscription().set_subscription(&subscription);
    delete.send().await.expect("the subscription is deleted");

    let error = inbox.error().await;
    assert_eq!(code(&error), Some(Code::NotFound), "{error:?}");
}

#[tokio::test]
async fn an_idle_stream_delivers_a_message_that_is_published_later() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let mut inbox = pubsub.open(&subscription);

    pubsub.wait_for_stream(&subscription).await;

    pubsub.publish(&topic, ["payload"]).await;
    let (message, handler) = inbox.next().await;
    handler.ack();
    assert_eq!(message.data, "payload");
}

#[tokio::test]
async fn every_subscription_of_a_topic_gets_every_message() {
    let pubsub = Pubsub::connect().await;
    let (topic, first) = pubsub.topic_with_subscription().await;
    let second = pubsub.subscription(&topic).await;
    pubsub.publish(&topic, ["payload"]).await;

    for subscription in [first, second] {
        let (message, handler) = pubsub.open(&subscription).next().await;
        handler.ack();
        assert_eq!(message.data, "payload");
    }
}

#[tokio::test]
async fn two_streams_of_a_subscription_receive_each_message_once() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let published: HashSet<String> =
        pubsub.publish(&topic, (0..300).map(|n| n.to_string())).await.into_iter().collect();
    let (mut one, mut two) = (pubsub.open(&subscription), pubsub.open(&subscription));

    let mut seen = Vec::new();
    while seen.len() < published.len() {
        let either = async {
            tokio::select! { delivery = one.next() => delivery, delivery = two.next() => delivery }
        };
        let (message, handler) = with_timeout("all messages", either).await;
        handler.ack();
        seen.push(message.message_id);
    }

    assert_eq!(seen.iter().cloned().collect::<HashSet<_>>(), published);
    tokio::join!(one.close(), two.close());
    pubsub.drained(&subscription).await;
}

/// Google's emulator 0.8.20 does not notice when a gRPC client ends a stream.
#[tokio::test]
async fn a_stream_that_its_client_has_ended_receives_nothing() {
    let pubsub = Pubsub::connect().await;
    if pubsub.skips(PubsubServer::GoogleEmulator, "a stream that its client has ended receives nothing") {
        return;
    }
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let ended = pubsub.open(&subscription);
    pubsub.wait_for_stream(&subscription).await;

    ended.close().await;

    pubsub.wait_for_no_stream(&subscription).await;
    pubsub.publish(&topic, (0..100).map(|n| n.to_string())).await;
    assert_eq!(pubsub.counts(&subscription).ready, 100);
    let mut next = pubsub.open(&subscription);
    next.take(100).await.into_iter().for_each(|(_, handler)| handler.ack());
    pubsub.drained(&subscription).await;
}

#[tokio::test]
async fn messages_can_be_pulled_and_acknowledged_over_rest() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let body = json!({"messages": [{"data": "aGVsbG8gd29ybGQ=", "attributes": {"source": "probe"}}]});

    let (status, published) = pubsub.rest(&topic, "publish", body).await;
    assert_eq!((status, published["messageIds"].as_array().map(Vec::len)), (200, Some(1)), "{published}");
    let (status, pulled) = pubsub.rest(&subscription, "pull", json!({"maxMessages": 10})).await;
    assert_eq!((status, pulled["receivedMessages"].as_array().map(Vec::len)), (200, Some(1)), "{pulled}");
    let received = &pulled["receivedMessages"][0];
    let acknowledge = json!({"ackIds": [received["ackId"]]});
    let (status, response) = pubsub.rest(&subscription, "acknowledge", acknowledge).await;

    assert_eq!((status, response), (200, json!({})));
    assert_eq!(received["message"]["data"], "aGVsbG8gd29ybGQ=");
    assert_eq!(received["message"]["attributes"], json!({"source": "probe"}));
    assert_eq!(received["message"]["messageId"], published["messageIds"][0]);
    assert!(received["message"]["publishTime"].as_str().is_some_and(|time| time.ends_with('Z')), "{received}");
}

#[tokio::test]
async fn pulling_from_a_missing_subscription_over_rest_fails_with_not_found() {
    let pubsub = Pubsub::connect().await;
    let missing = pubsub.subscription_name(&unique("missing"));

    let (status, response) = pubsub.rest(&missing, "pull", json!({"maxMessages": 1})).await;

    assert_eq!((status, &response["error"]["status"]), (404, &json!("NOT_FOUND")), "{response}");
}
