//! The limits and the encoding of published messages. This module is pure: ids and times are arguments.

use bytes::Bytes;
use prost::Message as _;
use prost_types::Timestamp;

use super::error::ApiError;
use super::names;
use super::wire::{MessageId, PubsubMessage};

// https://cloud.google.com/pubsub/quotas#resource_limits. The error of the service names 10485760.
const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;
const MAX_MESSAGES: usize = 1000;
const MAX_ATTRIBUTES: usize = 100;
const MAX_KEY_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 1024;
const MAX_ORDERING_KEY_BYTES: usize = 1024;

/// Checks the limits that Google documents for one publish request.
pub(super) fn check_request(messages: &[PubsubMessage]) -> Result<(), ApiError> {
    if messages.is_empty() {
        return Err(ApiError::invalid_argument("No messages to publish"));
    }
    if messages.len() > MAX_MESSAGES {
        return Err(ApiError::invalid_argument(format_args!(
            "A request can have at most {MAX_MESSAGES} messages, but this one has {}",
            messages.len()
        )));
    }
    let size: usize = messages.iter().map(PubsubMessage::encoded_len).sum();
    if size > MAX_REQUEST_BYTES {
        return Err(ApiError::invalid_argument(format_args!(
            "Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes"
        )));
    }
    messages.iter().try_for_each(check)
}

fn check(message: &PubsubMessage) -> Result<(), ApiError> {
    if message.data.is_empty() && message.attributes.is_empty() {
        return Err(ApiError::invalid_argument("A message must have data or at least one attribute"));
    }
    if message.attributes.len() > MAX_ATTRIBUTES {
        return Err(ApiError::invalid_argument(format_args!("A message can have at most {MAX_ATTRIBUTES} attributes")));
    }
    if message.attributes.iter().any(|(key, value)| key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES) {
        return Err(ApiError::invalid_argument(format_args!(
            "The key of an attribute can have at most {MAX_KEY_BYTES} bytes, and its value {MAX_VALUE_BYTES}"
        )));
    }
    if message.ordering_key.len() > MAX_ORDERING_KEY_BYTES {
        return Err(ApiError::invalid_argument(format_args!(
            "An ordering key can have at most {MAX_ORDERING_KEY_BYTES} bytes"
        )));
    }
    Ok(())
}

/// Sets the id and the publish time of a message and encodes it. Every delivery sends these bytes.
pub(super) fn encode(mut message: PubsubMessage, id: &str, publish_time: Timestamp) -> Bytes {
    message.message_id = id.to_owned();
    message.publish_time = Some(publish_time);
    message.encode_to_vec().into()
}

/// Returns the id of an encoded message.
pub(super) fn id(encoded: &Bytes) -> String {
    // `encode` made the bytes, so they can be decoded.
    MessageId::decode(encoded.clone()).unwrap_or_default().message_id
}

/// Returns the message for the dead-letter topic: the original with the attributes that Google adds.
///
/// Google lists them at <https://cloud.google.com/pubsub/docs/dead-letter-topics#track-delivery-attempts>.
pub(super) fn dead_letter(encoded: &Bytes, subscription: &str, attempts: u32) -> PubsubMessage {
    // `encode` made these bytes, so decoding cannot fail.
    let mut message = PubsubMessage::decode(encoded.clone()).unwrap_or_default();
    let (project, id) = names::split(subscription);
    let published = message.publish_time.take().map(rfc3339).unwrap_or_default();
    message.attributes.extend(
        [
            ("CloudPubSubDeadLetterSourceDeliveryCount", attempts.to_string()),
            ("CloudPubSubDeadLetterSourceSubscription", id.to_owned()),
            ("CloudPubSubDeadLetterSourceSubscriptionProject", project.to_owned()),
            ("CloudPubSubDeadLetterSourceTopicPublishTime", published),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    message
}

/// Formats a timestamp as protobuf's JSON mapping does.
pub(super) fn rfc3339(time: Timestamp) -> String {
    time.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &'static [u8], attributes: &[(&str, &str)]) -> PubsubMessage {
        let attributes = attributes.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        PubsubMessage { data: Bytes::from_static(data), attributes, ..PubsubMessage::default() }
    }

    #[test]
    fn an_empty_message_or_request_is_rejected() {
        assert!(check_request(&[]).is_err());
        assert!(check_request(&[message(b"", &[])]).is_err());
        assert!(check_request(&[message(b"", &[("a", "")])]).is_ok());
        assert!(check_request(&[message(b"x", &[])]).is_ok());
        assert!(check_request(&[message(b"x", &[]), message(b"", &[])]).is_err());
    }

    #[test]
    fn every_limit_is_exact() {
        let (key, value) = ("k".repeat(256), "v".repeat(1024));
        assert!(check_request(&[message(b"x", &[(&key, &value)])]).is_ok());
        assert!(check_request(&[message(b"x", &[(&format!("{key}k"), "v")])]).is_err());
        assert!(check_request(&[message(b"x", &[("k", &format!("{value}v"))])]).is_err());

        let attributes = |count: usize| PubsubMessage {
            attributes: (0..count).map(|n| (n.to_string(), String::new())).collect(),
            ..PubsubMessage::default()
        };
        assert!(check_request(&[attributes(100)]).is_ok());
        assert!(check_request(&[attributes(101)]).is_err());

        let sized = |bytes: usize| PubsubMessage { data: vec![0; bytes].into(), ..PubsubMessage::default() };
        assert!(check_request(&[sized(10_000_000)]).is_ok());
        assert!(check_request(&[sized(MAX_REQUEST_BYTES)]).is_err());
        assert!(check_request(&[sized(6_000_000), sized(6_000_000)]).is_err());
        assert!(check_request(&vec![message(b"x", &[]); 1001]).is_err());
    }

    #[test]
    fn a_dead_letter_keeps_the_message_and_names_its_subscription() {
        let original = PubsubMessage { ordering_key: "k".into(), ..message(b"data", &[("a", "b")]) };
        let encoded = encode(original, "7", Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let dead_letter = dead_letter(&encoded, "projects/p/subscriptions/scan-sub", 5);
        assert_eq!((&dead_letter.data[..], dead_letter.ordering_key.as_str()), (&b"data"[..], "k"));
        assert_eq!(dead_letter.attributes["a"], "b");
        assert_eq!(dead_letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"], "5");
        assert_eq!(dead_letter.attributes["CloudPubSubDeadLetterSourceSubscription"], "scan-sub");
        assert_eq!(dead_letter.attributes["CloudPubSubDeadLetterSourceSubscriptionProject"], "p");
        assert_eq!(dead_letter.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"], "2023-11-14T22:13:20Z");
    }
}
