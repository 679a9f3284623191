//! Publishing, as the scanner and the publisher of dead letters use it.

use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model::Message;

use crate::support::pubsub::{Pubsub, publish_code};
use crate::support::servers::PubsubServer;
use crate::support::{unique, with_timeout};

/// Pub/Sub's limits, from <https://cloud.google.com/pubsub/quotas#resource_limits>.
const MESSAGE_BYTES: usize = 10_000_000;
const ATTRIBUTES: usize = 100;
const ATTRIBUTE_KEY_BYTES: usize = 256;
const ATTRIBUTE_VALUE_BYTES: usize = 1_024;

/// Publishes one message to a new topic.
async fn publish(pubsub: &Pubsub, message: Message) -> Result<String, PublishError> {
    let topic = pubsub.topic().await;
    pubsub.try_publish(&topic, [message]).await.remove(0)
}

fn assert_rejected(result: &Result<String, PublishError>, what: &str) {
    assert_eq!(publish_code(result), Some(Code::InvalidArgument), "{what}: {result:?}");
}

fn with_attributes(count: usize, key_bytes: usize, value_bytes: usize) -> Message {
    let attributes = (0..count).map(|n| (format!("{n:0key_bytes$}"), "v".repeat(value_bytes)));
    Message::new().set_data("payload").set_attributes(attributes)
}

#[tokio::test]
async fn publishing_to_a_missing_topic_fails_with_not_found() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic_name(&unique("missing"));

    let results = pubsub.try_publish(&topic, [Message::new().set_data("payload")]).await;

    assert_eq!(publish_code(&results[0]), Some(Code::NotFound), "{results:?}");
}

#[tokio::test]
async fn every_message_gets_a_unique_id() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic().await;

    let mut ids = pubsub.publish(&topic, (0..500).map(|n| n.to_string())).await;

    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 500);
    assert!(ids.iter().all(|id| !id.is_empty()));
}

#[tokio::test]
async fn a_message_with_attributes_at_all_limits_is_accepted_and_delivered() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let message = with_attributes(ATTRIBUTES, ATTRIBUTE_KEY_BYTES, ATTRIBUTE_VALUE_BYTES);

    let results = pubsub.try_publish(&topic, [message.clone()]).await;

    assert!(results[0].is_ok(), "{results:?}");
    let (delivered, handler) = pubsub.open(&subscription).next().await;
    handler.ack();
    assert_eq!(delivered.attributes, message.attributes);
}

#[tokio::test]
async fn a_message_with_attributes_above_a_limit_is_rejected() {
    let pubsub = Pubsub::connect().await;
    let beyond = [
        ("101 attributes are rejected", with_attributes(ATTRIBUTES + 1, 8, 8)),
        ("a key of 257 bytes is rejected", with_attributes(1, ATTRIBUTE_KEY_BYTES + 1, 8)),
        ("a value of 1,025 bytes is rejected", with_attributes(1, 8, ATTRIBUTE_VALUE_BYTES + 1)),
    ];

    for (what, message) in beyond {
        let skipped = pubsub.skips(PubsubServer::GoogleEmulator, what);
        if !skipped {
            assert_rejected(&publish(&pubsub, message).await, what);
        }
    }
}

/// Google's other clients write the trace context of a message into attributes with this prefix.
#[tokio::test]
async fn an_attribute_may_be_empty_or_contain_the_trace_context_of_another_client() {
    let pubsub = Pubsub::connect().await;
    let attributes =
        [("empty", ""), ("googclient_traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];

    let result = publish(&pubsub, Message::new().set_data("payload").set_attributes(attributes)).await;

    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn a_message_of_nearly_ten_megabytes_is_accepted_and_delivered() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let payload: Vec<u8> = (0..MESSAGE_BYTES - 10_000).map(|n| (n % 251) as u8).collect();

    pubsub.publish(&topic, [payload.clone()]).await;

    let (message, handler) = pubsub.open(&subscription).next().await;
    handler.ack();
    assert!(message.data == payload, "{} of {} bytes were delivered", message.data.len(), payload.len());
}

#[tokio::test]
async fn a_message_above_ten_megabytes_is_rejected() {
    let pubsub = Pubsub::connect().await;
    if pubsub.skips(PubsubServer::GoogleEmulator, "11 MB are rejected (it closes the connection, or hangs)") {
        return;
    }
    let payload = vec![b'x'; MESSAGE_BYTES + MESSAGE_BYTES / 10];

    let result = publish(&pubsub, Message::new().set_data(payload)).await;

    assert_rejected(&result, "11 MB");
}

#[tokio::test]
async fn a_message_without_payload_needs_an_attribute() {
    let pubsub = Pubsub::connect().await;

    let empty = publish(&pubsub, Message::new()).await;
    let attributed = publish(&pubsub, Message::new().set_attributes([("name", "value")])).await;

    assert_rejected(&empty, "neither payload nor attributes");
    assert!(attributed.is_ok(), "{attributed:?}");
}

#[tokio::test]
async fn a_batch_with_one_invalid_message_is_rejected_as_a_whole() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let publisher =
        pubsub.publisher(&topic).set_message_count_threshold(2).set_delay_threshold(Duration::from_secs(60));
    let publisher = publisher.build().await.expect("a publisher");

    let valid = publisher.publish(Message::new().set_data("valid"));
    let empty = publisher.publish(Message::new());
    let results = [with_timeout("a result", valid).await, with_timeout("a result", empty).await];

    for result in &results {
        assert_rejected(result, "a batch with an empty message");
    }
    pubsub.publish(&topic, ["later"]).await;
    let (message, handler) = pubsub.open(&subscription).next().await;
    handler.ack();
    assert_eq!(message.data, "later", "nothing of the rejected batch was published");
}
