//! The dead letter of a message: the original payload and attributes, and why it was rejected, within Pub/Sub's limits. Pure.

use std::collections::HashMap;

use crate::consumer::ports::{DeadLetter, Envelope};
use crate::scan::Rejection;

// <https://cloud.google.com/pubsub/quotas#resource_limits>
const MAX_ATTRIBUTES: usize = 100;
const MAX_VALUE_BYTES: usize = 1024;
const MAX_MESSAGE_BYTES: usize = 10_000_000;
/// The maximum size of Protobuf's tags and lengths around an attribute and around the payload.
const ATTRIBUTE_OVERHEAD: usize = 16;
const PAYLOAD_OVERHEAD: usize = 64;

pub const REASON: &str = "rejection_reason";
pub const DETAIL: &str = "rejection_detail";
pub const DELIVERY_ATTEMPT: &str = "delivery_attempt";
pub const SOURCE_PUBLISH_TIME: &str = "source_publish_time";
pub const SOURCE_MESSAGE_ID: &str = "source_message_id";
pub const SOURCE_SUBSCRIPTION: &str = "source_subscription";

/// Our attributes, in the order in which they are left out if not all fit. The reason is never left out.
pub const OURS: [&str; 6] =
    [DETAIL, DELIVERY_ATTEMPT, SOURCE_PUBLISH_TIME, SOURCE_MESSAGE_ID, SOURCE_SUBSCRIPTION, REASON];

/// Returns the dead letter with all attributes that fit, and the names of those that do not.
///
/// Ours are left out first, in a fixed order and except `rejection_reason`. Then the largest originals are left out.
pub(super) fn full(rejection: &Rejection, envelope: &Envelope, subscription: &str) -> (DeadLetter, Vec<String>) {
    let mut ours: Vec<(&str, String)> = OURS
        .into_iter()
        .filter_map(|name| {
            let value = match name {
                DETAIL => Some(truncate(&rejection.detail).to_owned()),
                DELIVERY_ATTEMPT => envelope.delivery_attempt.map(|attempt| attempt.to_string()),
                SOURCE_PUBLISH_TIME => Some(humantime::format_rfc3339(envelope.publish_time).to_string()),
                SOURCE_MESSAGE_ID => Some(envelope.message_id.clone()),
                SOURCE_SUBSCRIPTION => Some(subscription.to_owned()),
                _ => Some(rejection.reason.to_string()),
            };
            Some((name, value?))
        })
        .collect();
    let mut originals: Vec<(&str, &str)> = envelope
        .attributes
        .iter()
        .filter(|(name, _)| !OURS.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    // The largest is last, so that it is removed first. Names decide between equal sizes, so that the result is stable.
    originals.sort_by_key(|(name, value)| (std::cmp::Reverse(name.len() + value.len()), *name));
    originals.reverse();

    let cost = |name: &str, value: &str| name.len() + value.len() + ATTRIBUTE_OVERHEAD;
    let mut bytes = envelope.payload.len()
        + PAYLOAD_OVERHEAD
        + ours.iter().map(|(name, value)| cost(name, value)).sum::<usize>()
        + originals.iter().map(|(name, value)| cost(name, value)).sum::<usize>();
    let mut left_out = Vec::new();
    while bytes > MAX_MESSAGE_BYTES || ours.len() + originals.len() > MAX_ATTRIBUTES {
        let (name, size) = if ours.len() > 1 || originals.is_empty() {
            if ours.len() <= 1 {
                break;
            }
            let (name, value) = ours.remove(0);
            (name, cost(name, &value))
        } else {
            match originals.pop() {
                Some((name, value)) => (name, cost(name, value)),
                None => break,
            }
        };
        bytes -= size;
        left_out.push(name.to_owned());
    }
    let attributes = originals
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain(ours.into_iter().map(|(name, value)| (name.to_owned(), value)))
        .collect();
    (DeadLetter { payload: envelope.payload.clone(), attributes }, left_out)
}

/// Returns the dead letter with the reason as its only attribute, for a topic that refuses more.
pub(super) fn bare(rejection: &Rejection, envelope: &Envelope) -> DeadLetter {
    DeadLetter {
        payload: envelope.payload.clone(),
        attributes: HashMap::from([(REASON.to_owned(), rejection.reason.to_string())]),
    }
}

/// Returns the names of the attributes that [`bare`] leaves out.
pub(super) fn left_out_of_bare(envelope: &Envelope) -> Vec<&str> {
    let mut names: Vec<&str> = envelope.attributes.keys().map(String::as_str).collect();
    names.sort_unstable();
    names.extend(OURS.into_iter().filter(|name| *name != REASON));
    names
}

fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_VALUE_BYTES)]
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;

    use super::*;
    use crate::scan::Reason;

    fn envelope(payload: usize, attributes: impl IntoIterator<Item = (String, String)>) -> Envelope {
        Envelope {
            payload: Bytes::from(vec![b'x'; payload]),
            attributes: attributes.into_iter().collect(),
            message_id: "42".into(),
            publish_time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_298_125),
            delivery_attempt: Some(3),
        }
    }

    fn rejection(detail: &str) -> Rejection {
        Rejection { reason: Reason::InvalidPort, detail: detail.into() }
    }

    fn dead_letter(envelope: &Envelope) -> (DeadLetter, Vec<String>) {
        full(&rejection("port is 70000"), envelope, "projects/p/subscriptions/s")
    }

    #[test]
    fn a_dead_letter_is_the_original_with_the_reason() {
        let original = envelope(10, [("team".to_owned(), "red".to_owned())]);
        let (dead_letter, left_out) = dead_letter(&original);
        assert_eq!(dead_letter.payload, original.payload);
        assert!(left_out.is_empty());
        let mut attributes: Vec<_> = dead_letter.attributes.into_iter().collect();
        attributes.sort();
        let expected = [
            ("delivery_attempt", "3"),
            ("rejection_detail", "port is 70000"),
            ("rejection_reason", "invalid_port"),
            ("source_message_id", "42"),
            ("source_publish_time", "2025-02-23T08:08:45Z"),
            ("source_subscription", "projects/p/subscriptions/s"),
            ("team", "red"),
        ];
        assert_eq!(attributes, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_detail_is_truncated_at_a_character_boundary() {
        let (dead_letter, _) = full(&rejection(&"é".repeat(600)), &envelope(0, []), "s");
        assert_eq!(dead_letter.attributes["rejection_detail"].len(), 1024);
        let (dead_letter, _) = full(&rejection(&format!("x{}", "é".repeat(600))), &envelope(0, []), "s");
        assert_eq!(dead_letter.attributes["rejection_detail"].len(), 1023);
    }

    #[test]
    fn beside_a_hundred_attributes_only_the_reason_fits() {
        let original = envelope(0, (0..100).map(|n| (format!("name-{n:03}"), "v".repeat(n))));
        let (dead_letter, left_out) = dead_letter(&original);
        assert_eq!(dead_letter.attributes.len(), 100);
        assert_eq!(dead_letter.attributes["rejection_reason"], "invalid_port");
        assert_eq!(
            left_out,
            [
                "rejection_detail",
                "delivery_attempt",
                "source_publish_time",
                "source_message_id",
                "source_subscription",
                "name-099"
            ]
        );
    }

    #[test]
    fn beside_96_attributes_the_detail_and_the_attempt_do_not_fit() {
        let original = envelope(0, (0..96).map(|n| (format!("name-{n:03}"), String::new())));
        let (dead_letter, left_out) = dead_letter(&original);
        assert_eq!(dead_letter.attributes.len(), 100);
        assert_eq!(left_out, ["rejection_detail", "delivery_attempt"]);
    }

    #[test]
    fn the_largest_payload_keeps_only_the_reason() {
        let (dead_letter, _) = dead_letter(&envelope(MAX_MESSAGE_BYTES - 100, []));
        assert_eq!(dead_letter.attributes.into_keys().collect::<Vec<_>>(), ["rejection_reason"]);
    }

    #[test]
    fn our_attribute_replaces_an_original_of_the_same_name() {
        let original = envelope(0, [("rejection_reason".to_owned(), "older".to_owned())]);
        assert_eq!(dead_letter(&original).0.attributes["rejection_reason"], "invalid_port");
    }

    #[test]
    fn the_bare_dead_letter_has_only_the_reason() {
        let original = envelope(3, [("team".to_owned(), "red".to_owned())]);
        let dead_letter = bare(&rejection(""), &original);
        assert_eq!(dead_letter.attributes.len(), 1);
        assert_eq!(left_out_of_bare(&original)[0], "team");
    }
}
