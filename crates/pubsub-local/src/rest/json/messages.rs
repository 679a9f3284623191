//! What is published, pulled and settled, as JSON.

use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::super::super::message::rfc3339;
use super::super::super::wire;
use super::{Strings, bytes_as_base64, is_default, number};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in super::super) struct ToPublish {
    pub(in super::super) messages: Vec<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Published {
    pub(in super::super) message_ids: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in super::super) struct Message {
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
pub(in super::super) struct PullOptions {
    pub(in super::super) return_immediately: bool,
    #[serde(deserialize_with = "number")]
    pub(in super::super) max_messages: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Pulled {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in super::super) received_messages: Vec<ReceivedMessage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct ReceivedMessage {
    ack_id: String,
    message: Message,
    #[serde(skip_serializing_if = "is_default")]
    delivery_attempt: i32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in super::super) struct AckIds {
    pub(in super::super) ack_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in super::super) struct Deadline {
    pub(in super::super) ack_ids: Vec<String>,
    #[serde(deserialize_with = "number")]
    pub(in super::super) ack_deadline_seconds: i32,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
