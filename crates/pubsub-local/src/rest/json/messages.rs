//! The requests and responses of publish, pull, acknowledge, modifyAckDeadline and seek as JSON.

use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::super::super::error::ApiError;
use super::super::super::message::rfc3339;
use super::super::super::wire::{self, seek_request::Target};
use super::{Strings, bytes_as_base64, is_default, number};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in super::super) struct PublishRequest {
    pub(in super::super) messages: Vec<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct PublishResponse {
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
pub(in super::super) struct PullRequest {
    pub(in super::super) return_immediately: bool,
    #[serde(deserialize_with = "number")]
    pub(in super::super) max_messages: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct PullResponse {
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
pub(in super::super) struct AcknowledgeRequest {
    pub(in super::super) ack_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in super::super) struct ModifyAckDeadlineRequest {
    pub(in super::super) ack_ids: Vec<String>,
    #[serde(deserialize_with = "number")]
    pub(in super::super) ack_deadline_seconds: i32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in super::super) struct SeekRequest {
    time: Option<String>,
    snapshot: Option<String>,
}

impl SeekRequest {
    pub(in super::super) fn target(self) -> Result<Option<Target>, ApiError> {
        match (self.time, self.snapshot) {
            (Some(_), Some(_)) => Err(ApiError::invalid_argument("A seek has a time or a snapshot, not both")),
            (Some(time), None) => match time.parse() {
                Ok(time) => Ok(Some(Target::Time(time))),
                Err(_) => Err(ApiError::invalid_argument(format_args!("Not a timestamp: {time:?}"))),
            },
            (None, snapshot) => Ok(snapshot.map(Target::Snapshot)),
        }
    }
}

impl From<Message> for wire::PubsubMessage {
    /// Drops the id and the publish time, which the server sets.
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
    fn data_may_use_either_alphabet_with_or_without_padding() {
        for text in ["+/8=", "-_8=", "+/8", "-_8"] {
            let message: Message = serde_json::from_value(json!({ "data": text })).unwrap();
            assert_eq!(message.data[..], [0xfb, 0xff], "{text}");
        }
    }

    #[test]
    fn a_seek_has_a_timestamp_or_a_snapshot() {
        let target = |request| serde_json::from_value::<SeekRequest>(request).unwrap().target();
        let time = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000 };
        let cases = ["2023-11-14T22:13:20.000005Z", "2023-11-14T23:13:20.000005+01:00"];
        for text in cases {
            assert_eq!(target(json!({ "time": text })), Ok(Some(Target::Time(time))), "{text}");
        }
        let snapshot = "projects/p/snapshots/s";
        assert_eq!(target(json!({ "snapshot": snapshot })), Ok(Some(Target::Snapshot(snapshot.into()))));
        assert_eq!(target(json!({})), Ok(None));
        assert!(target(json!({ "time": "yesterday" })).is_err());
        assert!(target(json!({ "time": cases[0], "snapshot": snapshot })).is_err());
    }

    #[test]
    fn numbers_may_be_quoted_and_unknown_fields_are_rejected() {
        let options: PullRequest = serde_json::from_value(json!({ "maxMessages": "7" })).unwrap();
        assert_eq!(options.max_messages, 7);
        assert!(serde_json::from_value::<PullRequest>(json!({ "maxMessage": 7 })).is_err());
    }
}
