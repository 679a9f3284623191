//! A message from the moment it is published: its limits and its encoding. Pure: id and time come in as arguments.

use bytes::Bytes;
use prost::Message as _;
use prost_types::Timestamp;

use super::names;
use super::refusal::Refusal;
use super::wire::PubsubMessage;

// https://cloud.google.com/pubsub/quotas#resource_limits; the service names 10485760 in its own refusal.
const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;
const MAX_MESSAGES: usize = 1000;
const MAX_ATTRIBUTES: usize = 100;
const MAX_KEY_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 1024;
const MAX_ORDERING_KEY_BYTES: usize = 1024;

/// Checks everything that Google documents about what may be published in one request.
pub(super) fn check_all(messages: &[PubsubMessage]) -> Result<(), Refusal> {
    if messages.is_empty() {
        return Err(Refusal::invalid("No messages to publish"));
    }
    if messages.len() > MAX_MESSAGES {
        return Err(Refusal::invalid(format_args!(
            "A request has at most {MAX_MESSAGES} messages, not {}",
            messages.len()
        )));
    }
    let size: usize = messages.iter().map(PubsubMessage::encoded_len).sum();
    if size > MAX_REQUEST_BYTES {
        return Err(Refusal::invalid(format_args!(
            "Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes"
        )));
    }
    messages.iter().try_for_each(check)
}

fn check(message: &PubsubMessage) -> Result<(), Refusal> {
    if message.data.is_empty() && message.attributes.is_empty() {
        return Err(Refusal::invalid("A message needs data or at least one attribute"));
    }
    if message.attributes.len() > MAX_ATTRIBUTES {
        return Err(Refusal::invalid(format_args!("A message has at most {MAX_ATTRIBUTES} attributes")));
    }
    if message.attributes.iter().any(|(key, value)| key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES) {
        return Err(Refusal::invalid(format_args!(
            "An attribute has at most {MAX_KEY_BYTES} bytes of key and {MAX_VALUE_BYTES} bytes of value"
        )));
    }
    if message.ordering_key.len() > MAX_ORDERING_KEY_BYTES {
        return Err(Refusal::invalid(format_args!("An ordering key has at most {MAX_ORDERING_KEY_BYTES} bytes")));
    }
    Ok(())
}

/// Gives a message its id and publish time, and encodes it as every delivery will send it.
pub(super) fn seal(mut message: PubsubMessage, id: &str, publish_time: Timestamp) -> Bytes {
    message.message_id = id.to_owned();
    message.publish_time = Some(publish_time);
    message.encode_to_vec().into()
}

/// The message that a dead-letter topic receives: the original with Google's attributes about where it comes from.
///
/// Names from <https://cloud.google.com/pubsub/docs/dead-letter-topics#track-delivery-attempts>.
pub(super) fn dead_letter(sealed: &Bytes, subscription: &str, attempts: u32) -> PubsubMessage {
    // Sealed by `seal`, so it decodes; a message that did not would be forwarded empty rather than kept for ever.
    let mut message = PubsubMessage::decode(sealed.clone()).unwrap_or_default();
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

/// A timestamp in the text form of protobuf's JSON mapping.
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
    fn an_empty_message_or_request_is_refused() {
        assert!(check_all(&[]).is_err());
        assert!(check_all(&[message(b"", &[])]).is_err());
        assert!(check_all(&[message(b"", &[("a", "")])]).is_ok());
        assert!(check_all(&[message(b"x", &[])]).is_ok());
        assert!(check_all(&[message(b"x", &[]), message(b"", &[])]).is_err());
    }

    #[test]
    fn every_limit_holds_exactly() {
        let (key, value) = ("k".repeat(256), "v".repeat(1024));
        assert!(check_all(&[message(b"x", &[(&key, &value)])]).is_ok());
        assert!(check_all(&[message(b"x", &[(&format!("{key}k"), "v")])]).is_err());
        assert!(check_all(&[message(b"x", &[("k", &format!("{value}v"))])]).is_err());

        let attributes = |count: usize| PubsubMessage {
            attributes: (0..count).map(|n| (n.to_string(), String::new())).collect(),
            ..PubsubMessage::default()
        };
        assert!(check_all(&[attributes(100)]).is_ok());
        assert!(check_all(&[attributes(101)]).is_err());

        let sized = |bytes: usize| PubsubMessage { data: vec![0; bytes].into(), ..PubsubMessage::default() };
        assert!(check_all(&[sized(10_000_000)]).is_ok());
        assert!(check_all(&[sized(MAX_REQUEST_BYTES)]).is_err());
        assert!(check_all(&[sized(6_000_000), sized(6_000_000)]).is_err());
        assert!(check_all(&vec![message(b"x", &[]); 1001]).is_err());
    }

    #[test]
    fn a_dead_letter_keeps_the_message_and_says_where_it_comes_from() {
        let original = PubsubMessage { ordering_key: "k".into(), ..message(b"data", &[("a", "b")]) };
        let sealed = seal(original, "7", Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let letter = dead_letter(&sealed, "projects/p/subscriptions/scan-sub", 5);
        assert_eq!((&letter.data[..], letter.ordering_key.as_str()), (&b"data"[..], "k"));
        assert_eq!(letter.attributes["a"], "b");
        assert_eq!(letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"], "5");
        assert_eq!(letter.attributes["CloudPubSubDeadLetterSourceSubscription"], "scan-sub");
        assert_eq!(letter.attributes["CloudPubSubDeadLetterSourceSubscriptionProject"], "p");
        assert_eq!(letter.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"], "2023-11-14T22:13:20Z");
    }
}
