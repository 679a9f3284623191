//! The JSON forms of the API's messages, by protobuf's JSON mapping: camel case, durations as `10s`, bytes as base64.
//! Unknown fields are refused, as Google refuses them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use prost::Message as _;
use prost_types::{Duration, FieldMask};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::message::rfc3339;
use super::super::wire;

type Strings = HashMap<String, String>;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Topic {
    name: String,
    #[serde(skip_serializing_if = "is_default")]
    labels: Strings,
    #[serde(skip_serializing_if = "is_default", with = "duration")]
    message_retention_duration: Option<Duration>,
    #[serde(skip_serializing_if = "is_default")]
    kms_key_name: String,
    state: OutputOnly,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Subscription {
    name: String,
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    push_config: Option<PushConfig>,
    #[serde(deserialize_with = "number")]
    ack_deadline_seconds: i32,
    #[serde(skip_serializing_if = "is_default")]
    retain_acked_messages: bool,
    #[serde(skip_serializing_if = "is_default", with = "duration")]
    message_retention_duration: Option<Duration>,
    #[serde(skip_serializing_if = "is_default")]
    labels: Strings,
    #[serde(skip_serializing_if = "is_default")]
    enable_message_ordering: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_policy: Option<ExpirationPolicy>,
    #[serde(skip_serializing_if = "is_default")]
    filter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_policy: Option<DeadLetterPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicy>,
    #[serde(skip_serializing_if = "is_default")]
    detached: bool,
    #[serde(skip_serializing_if = "is_default")]
    enable_exactly_once_delivery: bool,
    state: OutputOnly,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct PushConfig {
    #[serde(skip_serializing_if = "is_default")]
    push_endpoint: String,
    #[serde(skip_serializing_if = "is_default")]
    attributes: Strings,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ExpirationPolicy {
    #[serde(skip_serializing_if = "is_default", with = "duration")]
    ttl: Option<Duration>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct DeadLetterPolicy {
    dead_letter_topic: String,
    #[serde(deserialize_with = "number")]
    max_delivery_attempts: i32,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RetryPolicy {
    #[serde(skip_serializing_if = "is_default", with = "duration")]
    minimum_backoff: Option<Duration>,
    #[serde(skip_serializing_if = "is_default", with = "duration")]
    maximum_backoff: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct TopicChanges {
    pub(super) topic: Topic,
    update_mask: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct SubscriptionChanges {
    pub(super) subscription: Subscription,
    update_mask: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct ToPublish {
    pub(super) messages: Vec<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Published {
    pub(super) message_ids: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Message {
    #[serde(skip_serializing_if = "is_default", with = "bytes_as_base64")]
    data: bytes::Bytes,
    #[serde(skip_serializing_if = "is_default")]
    attributes: Strings,
    #[serde(skip_serializing_if = "is_default")]
    message_id: String,
    #[serde(skip_serializing_if = "is_default")]
    publish_time: String,
    #[serde(skip_serializing_if = "is_default")]
    ordering_key: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct PullOptions {
    pub(super) return_immediately: bool,
    #[serde(deserialize_with = "number")]
    pub(super) max_messages: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pulled {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) received_messages: Vec<ReceivedMessage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReceivedMessage {
    ack_id: String,
    message: Message,
    #[serde(skip_serializing_if = "is_default")]
    delivery_attempt: i32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct AckIds {
    pub(super) ack_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Deadline {
    pub(super) ack_ids: Vec<String>,
    #[serde(deserialize_with = "number")]
    pub(super) ack_deadline_seconds: i32,
}

impl TopicChanges {
    pub(super) fn mask(&self) -> FieldMask {
        mask(&self.update_mask)
    }
}

impl SubscriptionChanges {
    pub(super) fn mask(&self) -> FieldMask {
        mask(&self.update_mask)
    }
}

fn mask(paths: &str) -> FieldMask {
    FieldMask { paths: paths.split(',').filter(|path| !path.is_empty()).map(str::to_owned).collect() }
}

impl From<Topic> for wire::Topic {
    fn from(topic: Topic) -> wire::Topic {
        wire::Topic {
            name: topic.name,
            labels: topic.labels,
            message_retention_duration: topic.message_retention_duration,
            kms_key_name: topic.kms_key_name,
            ..wire::Topic::default()
        }
    }
}

impl From<wire::Topic> for Topic {
    fn from(topic: wire::Topic) -> Topic {
        Topic {
            state: OutputOnly(topic.state().as_str_name()),
            name: topic.name,
            labels: topic.labels,
            message_retention_duration: topic.message_retention_duration,
            kms_key_name: topic.kms_key_name,
        }
    }
}

impl From<Subscription> for wire::Subscription {
    fn from(it: Subscription) -> wire::Subscription {
        wire::Subscription {
            name: it.name,
            topic: it.topic,
            push_config: it.push_config.map(|push| wire::PushConfig {
                push_endpoint: push.push_endpoint,
                attributes: push.attributes,
                ..wire::PushConfig::default()
            }),
            ack_deadline_seconds: it.ack_deadline_seconds,
            retain_acked_messages: it.retain_acked_messages,
            message_retention_duration: it.message_retention_duration,
            labels: it.labels,
            enable_message_ordering: it.enable_message_ordering,
            expiration_policy: it.expiration_policy.map(|policy| wire::ExpirationPolicy { ttl: policy.ttl }),
            filter: it.filter,
            dead_letter_policy: it.dead_letter_policy.map(|policy| wire::DeadLetterPolicy {
                dead_letter_topic: policy.dead_letter_topic,
                max_delivery_attempts: policy.max_delivery_attempts,
            }),
            retry_policy: it.retry_policy.map(|policy| wire::RetryPolicy {
                minimum_backoff: policy.minimum_backoff,
                maximum_backoff: policy.maximum_backoff,
            }),
            detached: it.detached,
            enable_exactly_once_delivery: it.enable_exactly_once_delivery,
            ..wire::Subscription::default()
        }
    }
}

impl From<wire::Subscription> for Subscription {
    fn from(it: wire::Subscription) -> Subscription {
        Subscription {
            state: OutputOnly(it.state().as_str_name()),
            name: it.name,
            topic: it.topic,
            push_config: it
                .push_config
                .map(|push| PushConfig { push_endpoint: push.push_endpoint, attributes: push.attributes }),
            ack_deadline_seconds: it.ack_deadline_seconds,
            retain_acked_messages: it.retain_acked_messages,
            message_retention_duration: it.message_retention_duration,
            labels: it.labels,
            enable_message_ordering: it.enable_message_ordering,
            expiration_policy: it.expiration_policy.map(|policy| ExpirationPolicy { ttl: policy.ttl }),
            filter: it.filter,
            dead_letter_policy: it.dead_letter_policy.map(|policy| DeadLetterPolicy {
                dead_letter_topic: policy.dead_letter_topic,
                max_delivery_attempts: policy.max_delivery_attempts,
            }),
            retry_policy: it.retry_policy.map(|policy| RetryPolicy {
                minimum_backoff: policy.minimum_backoff,
                maximum_backoff: policy.maximum_backoff,
            }),
            detached: it.detached,
            enable_exactly_once_delivery: it.enable_exactly_once_delivery,
        }
    }
}

impl From<Message> for wire::PubsubMessage {
    /// Id and publish time are the server's to give.
    fn from(message: Message) -> wire::PubsubMessage {
        wire::PubsubMessage {
            data: message.data,
            attributes: message.attributes,
            ordering_key: message.ordering_key,
            ..wire::PubsubMessage::default()
        }
    }
}

impl TryFrom<wire::ReceivedMessage> for ReceivedMessage {
    type Error = prost::DecodeError;

    fn try_from(received: wire::ReceivedMessage) -> Result<ReceivedMessage, prost::DecodeError> {
        let message = wire::PubsubMessage::decode(received.message)?;
        let message = Message {
            data: message.data,
            attributes: message.attributes,
            message_id: message.message_id,
            publish_time: message.publish_time.map(rfc3339).unwrap_or_default(),
            ordering_key: message.ordering_key,
        };
        Ok(ReceivedMessage { ack_id: received.ack_id, message, delivery_attempt: received.delivery_attempt })
    }
}

/// The name of a value that only the server sets: a client that sends back what it got may send anything there.
#[derive(Default, Serialize)]
struct OutputOnly(&'static str);

impl<'de> Deserialize<'de> for OutputOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OutputOnly, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| OutputOnly::default())
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The mapping lets a number come as a string.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Plain(i32),
        Quoted(String),
    }
    match Number::deserialize(deserializer)? {
        Number::Plain(number) => Ok(number),
        Number::Quoted(text) => text.parse().map_err(D::Error::custom),
    }
}

mod duration {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(|duration| duration.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(|_| D::Error::custom(format!("not a duration: {text:?}")))).transpose()
    }
}

mod bytes_as_base64 {
    use super::*;

    // The mapping accepts either alphabet, with and without padding.
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );

    pub(super) fn serialize<S: Serializer>(value: &bytes::Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bytes::Bytes, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        if text.contains(['-', '_']) {
            text = text.replace('-', "+").replace('_', "/");
        }
        LENIENT.decode(text).map(bytes::Bytes::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_subscription_keeps_what_it_was_given() {
        let given = json!({
            "name": "projects/p/subscriptions/sub",
            "topic": "projects/p/topics/top",
            "pushConfig": {},
            "ackDeadlineSeconds": 60,
            "messageRetentionDuration": "604800s",
            "labels": {"a": "b"},
            "enableMessageOrdering": true,
            "expirationPolicy": {},
            "deadLetterPolicy": {"deadLetterTopic": "projects/p/topics/dead", "maxDeliveryAttempts": 100},
            "retryPolicy": {"minimumBackoff": "1.500s", "maximumBackoff": "600s"},
            "enableExactlyOnceDelivery": true,
        });
        let subscription: Subscription = serde_json::from_value(given.clone()).unwrap();
        let wire = wire::Subscription::from(subscription);
        assert_eq!(wire.retry_policy.unwrap().minimum_backoff, Some(Duration { seconds: 1, nanos: 500_000_000 }));
        let mut back = serde_json::to_value(Subscription::from(wire)).unwrap();
        assert_eq!(back.as_object_mut().unwrap().remove("state").unwrap(), "STATE_UNSPECIFIED");
        assert_eq!(back, given);
    }

    #[test]
    fn what_the_server_sent_may_be_sent_back() {
        for state in [json!("ACTIVE"), json!(1)] {
            assert!(serde_json::from_value::<Topic>(json!({ "name": "", "state": state })).is_ok());
        }
    }

    #[test]
    fn data_comes_in_either_alphabet_with_and_without_padding() {
        for text in ["+/8=", "-_8=", "+/8", "-_8"] {
            let message: Message = serde_json::from_value(json!({ "data": text })).unwrap();
            assert_eq!(message.data[..], [0xfb, 0xff], "{text}");
        }
    }

    #[test]
    fn a_number_may_be_quoted_and_an_unknown_field_may_not_be() {
        let options: PullOptions = serde_json::from_value(json!({ "maxMessages": "7" })).unwrap();
        assert_eq!(options.max_messages, 7);
        assert!(serde_json::from_value::<PullOptions>(json!({ "maxMessage": 7 })).is_err());
    }
}
