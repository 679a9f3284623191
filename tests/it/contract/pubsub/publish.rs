//! Publishing: what the dead letters and the scanner rely on.

use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model::Message;

use crate::support::pubsub::{Pubsub, publish_code};
use crate::support::servers::PubsubServer;
use crate::support::{unique, within_patience};

/// Pub/Sub's own limits, from <https://cloud.google.com/pubsub/quotas#resource_limits>.
const MESSAGE_BYTES: usize = 10_000_000;
const ATTRIBUTES: usize = 100;
const ATTRIBUTE_KEY_BYTES: usize = 256;
const ATTRIBUTE_VALUE_BYTES: usize = 1_024;

/// Publishes one message on a topic of its own.
async fn publish(pubsub: &Pubsub, message: Message) -> Result<String, PublishError> {
    let topic = pubsub.topic().await;
    pubsub.try_publish(&topic, [message]).await.remove(0)
}

fn assert_refused(answer: &Result<String, PublishError>, what: &str) {
    assert_eq!(publish_code(answer), Some(Code::InvalidArgument), "{what}: {answer:?}");
}

fn with_attributes(count: usize, key_bytes: usize, value_bytes: usize) -> Message {
    let attributes = (0..count).map(|n| (format!("{n:0key_bytes$}"), "v".repeat(value_bytes)));
    Message::new().set_data("payload").set_attributes(attributes)
}

#[tokio::test]
async fn publishing_to_a_missing_topic_fails_with_not_found() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic_name(&unique("missing"));

    let answers = pubsub.try_publish(&topic, [Message::new().set_data("payload")]).await;

    assert_eq!(publish_code(&answers[0]), Some(Code::NotFound), "{answers:?}");
}

#[tokio::test]
async fn every_message_gets_an_id_of_its_own() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic().await;

    let mut ids = pubsub.publish(&topic, (0..500).map(|n| n.to_string())).await;

    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 500);
    assert!(ids.iter().all(|id| !id.is_empty()));
}

#[tokio::test]
async fn a_message_at_every_limit_of_its_attributes_is_accepted_and_delivered() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;
    let message = with_attributes(ATTRIBUTES, ATTRIBUTE_KEY_BYTES, ATTRIBUTE_VALUE_BYTES);

    let answers = pubsub.try_publish(&topic, [message.clone()]).await;

    assert!(answers[0].is_ok(), "{answers:?}");
    let (delivered, handler) = pubsub.open(&subscription).next().await;
    handler.ack();
    assert_eq!(delivered.attributes, message.attributes);
}

#[tokio::test]
async fn a_message_beyond_a_limit_of_its_attributes_is_refused() {
    let pubsub = Pubsub::connect().await;
    let beyond = [
        ("101 attributes are refused", with_attributes(ATTRIBUTES + 1, 8, 8)),
        ("a key of 257 bytes is refused", with_attributes(1, ATTRIBUTE_KEY_BYTES + 1, 8)),
        ("a value of 1,025 bytes is refused", with_attributes(1, 8, ATTRIBUTE_VALUE_BYTES + 1)),
    ];

    for (what, message) in beyond {
        let excused = pubsub.excuses(PubsubServer::GoogleEmulator, what);
        if !excused {
            assert_refused(&publish(&pubsub, message).await, what);
        }
    }
}

/// Google's other clients write the trace context of a message into attributes of this prefix.
#[tokio::test]
async fn an_attribute_may_be_empty_or_hold_the_trace_of_another_client() {
    let pubsub = Pubsub::connect().await;
    let attributes =
        [("empty", ""), ("googclient_traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];

    let answer = publish(&pubsub, Message::new().set_data("payload").set_attributes(attributes)).await;

    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn a_message_of_nearly_ten_megabytes_is_accepted_and_delivered_whole() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;
    let payload: Vec<u8> = (0..MESSAGE_BYTES - 10_000).map(|n| (n % 251) as u8).collect();

    pubsub.publish(&topic, [payload.clone()]).await;

    let (message, handler) = pubsub.open(&subscription).next().await;
    handler.ack();
    assert!(message.data == payload, "{} bytes came of {}", message.data.len(), payload.len());
}

#[tokio::test]
async fn a_message_beyond_ten_megabytes_is_refused() {
    let pubsub = Pubsub::connect().await;
    if pubsub.excuses(PubsubServer::GoogleEmulator, "11 MB are refused (it breaks the connection, or never answers)") {
        return;
    }
    let payload = vec![b'x'; MESSAGE_BYTES + MESSAGE_BYTES / 10];

    let answer = publish(&pubsub, Message::new().set_data(payload)).await;

    assert_refused(&answer, "11 MB");
}

#[tokio::test]
async fn a_message_without_payload_needs_an_attribute() {
    let pubsub = Pubsub::connect().await;

    let empty = publish(&pubsub, Message::new()).await;
    let attributed = publish(&pubsub, Message::new().set_attributes([("name", "value")])).await;

    assert_refused(&empty, "neither payload nor attributes");
    assert!(attributed.is_ok(), "{attributed:?}");
}

#[tokio::test]
async fn a_batch_with_one_bad_message_is_refused_as_a_whole() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;
    let publisher =
        pubsub.publisher(&topic).set_message_count_threshold(2).set_delay_threshold(Duration::from_secs(60));
    let publisher = publisher.build().await.expect("a publisher");

    let good = publisher.publish(Message::new().set_data("good"));
    let bad = publisher.publish(Message::new());
    let answers = [within_patience("an answer", good).await, within_patience("an answer", bad).await];

    for answer in &answers {
        assert_refused(answer, "a batch with an empty message");
    }
    pubsub.publish(&topic, ["later"]).await;
    let (message, handler) = pubsub.open(&subscription).next().await;
    handler.ack();
    assert_eq!(message.data, "later", "nothing of the refused batch was published");
}
