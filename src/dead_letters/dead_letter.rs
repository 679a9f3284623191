//! Reads the attributes of a dead letter, and restores those of its original message. Pure.

use std::collections::HashMap;
use std::time::SystemTime;

use crate::consumer::dead_letter::{
    DELIVERY_ATTEMPT, DETAIL, OURS, REASON, SOURCE_MESSAGE_ID, SOURCE_PUBLISH_TIME, SOURCE_SUBSCRIPTION,
};
use crate::consumer::ports::Envelope;

/// The reason of a message that Pub/Sub itself forwarded under a dead-letter policy.
pub const EXHAUSTED: &str = "delivery_attempts_exhausted";
/// The reason of a dead letter without one.
pub const UNKNOWN: &str = "unknown";

/// The number of redrives of a message. The consumer copies it to a dead letter with the other attributes of the
/// original.
const REDRIVE_COUNT: &str = "redrive_count";

/// The prefix of the attributes that Pub/Sub adds to a message that it forwards.
/// <https://cloud.google.com/pubsub/docs/dead-letter-topics#track-delivery-attempts>
const FORWARDED: &str = "CloudPubSubDeadLetterSource";
const FORWARDED_SUBSCRIPTION: &str = "CloudPubSubDeadLetterSourceSubscription";
const FORWARDED_PROJECT: &str = "CloudPubSubDeadLetterSourceSubscriptionProject";
const FORWARDED_COUNT: &str = "CloudPubSubDeadLetterSourceDeliveryCount";
const FORWARDED_PUBLISH_TIME: &str = "CloudPubSubDeadLetterSourceTopicPublishTime";

/// A dead letter without its payload. All its text is untrusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetter {
    pub(super) reason: String,
    pub(super) detail: Option<String>,
    /// The publish time of the dead letter, not of its original.
    pub(super) published: SystemTime,
    /// Full name.
    pub(super) source_subscription: Option<String>,
    pub(super) source_message_id: Option<String>,
    pub(super) source_publish_time: Option<String>,
    pub(super) delivery_attempt: Option<u32>,
    pub(super) redrive_count: u32,
    pub(super) bytes: usize,
    pub(super) message_id: String,
}

impl DeadLetter {
    pub(super) fn read(envelope: &Envelope) -> DeadLetter {
        let get = |name: &str| envelope.attributes.get(name).cloned();
        let number = |name: &str| envelope.attributes.get(name).and_then(|text| text.parse().ok());
        let (published, bytes) = (envelope.publish_time, envelope.payload.len());
        let redrive_count = number(REDRIVE_COUNT).unwrap_or(0);
        let unknown = DeadLetter {
            reason: UNKNOWN.to_owned(),
            detail: None,
            published,
            source_subscription: None,
            source_message_id: None,
            source_publish_time: None,
            delivery_attempt: None,
            redrive_count,
            bytes,
            message_id: envelope.message_id.clone(),
        };
        if let Some(reason) = get(REASON) {
            return DeadLetter {
                reason,
                detail: get(DETAIL),
                source_subscription: get(SOURCE_SUBSCRIPTION),
                source_message_id: get(SOURCE_MESSAGE_ID),
                source_publish_time: get(SOURCE_PUBLISH_TIME),
                delivery_attempt: number(DELIVERY_ATTEMPT),
                ..unknown
            };
        }
        let Some(subscription) = get(FORWARDED_SUBSCRIPTION) else { return unknown };
        let attempts = number(FORWARDED_COUNT);
        DeadLetter {
            reason: EXHAUSTED.to_owned(),
            detail: attempts.map(|attempts| format!("forwarded by Pub/Sub after {attempts} delivery attempts")),
            source_subscription: get(FORWARDED_PROJECT)
                .map(|project| format!("projects/{project}/subscriptions/{subscription}")),
            source_publish_time: get(FORWARDED_PUBLISH_TIME),
            delivery_attempt: attempts,
            ..unknown
        }
    }
}

/// Returns the attributes of the redriven message: the original's, with an increased redrive count.
pub(super) fn redriven(mut attributes: HashMap<String, String>) -> HashMap<String, String> {
    // Without a reason, the consumer did not write the dead letter, and attributes with our names belong to the
    // original.
    let is_ours = attributes.contains_key(REASON);
    let count = attributes.get(REDRIVE_COUNT).and_then(|count| count.parse().ok()).unwrap_or(0_u32);
    attributes.retain(|name, _| !(name.starts_with(FORWARDED) || is_ours && OURS.contains(&name.as_str())));
    attributes.insert(REDRIVE_COUNT.to_owned(), count.saturating_add(1).to_string());
    attributes
}

/// Returns whether this is the full name of a subscription, which is safe in the URL of a request. Refuses the rare
/// name with a `%`, because a URL would decode it.
pub(super) fn is_subscription(name: &str) -> bool {
    let is_id = |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~+:".contains(c));
    matches!(name.split('/').collect::<Vec<_>>()[..], ["projects", project, "subscriptions", id]
        if is_id(project) && is_id(id) && project != "." && project != ".." && id != "." && id != "..")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::hash_map;
    use proptest::prelude::*;

    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn read(pairs: &[(&str, &str)]) -> DeadLetter {
        DeadLetter::read(&Envelope {
            payload: Bytes::from_static(b"{}"),
            attributes: attributes(pairs),
            message_id: "7".into(),
            publish_time: SystemTime::UNIX_EPOCH,
            delivery_attempt: None,
        })
    }

    #[test]
    fn a_dead_letter_of_the_consumer_names_its_source() {
        let dead_letter = read(&[
            ("rejection_reason", "invalid_port"),
            ("rejection_detail", "port is 70000"),
            ("source_subscription", "projects/p/subscriptions/s"),
            ("source_message_id", "42"),
            ("source_publish_time", "2025-02-23T08:08:45Z"),
            ("delivery_attempt", "3"),
            ("redrive_count", "2"),
        ]);
        assert_eq!(
            (dead_letter.reason.as_str(), dead_letter.detail.as_deref()),
            ("invalid_port", Some("port is 70000"))
        );
        assert_eq!(dead_letter.source_subscription.as_deref(), Some("projects/p/subscriptions/s"));
        assert_eq!(dead_letter.source_message_id.as_deref(), Some("42"));
        assert_eq!((dead_letter.delivery_attempt, dead_letter.redrive_count, dead_letter.bytes), (Some(3), 2, 2));
    }

    #[test]
    fn a_message_that_pubsub_forwarded_has_its_own_reason() {
        let dead_letter = read(&[
            ("CloudPubSubDeadLetterSourceSubscription", "s"),
            ("CloudPubSubDeadLetterSourceSubscriptionProject", "p"),
            ("CloudPubSubDeadLetterSourceDeliveryCount", "100"),
            ("CloudPubSubDeadLetterSourceTopicPublishTime", "2025-02-23T08:08:45Z"),
        ]);
        assert_eq!(dead_letter.reason, EXHAUSTED);
        assert_eq!(dead_letter.detail.as_deref(), Some("forwarded by Pub/Sub after 100 delivery attempts"));
        assert_eq!(dead_letter.source_subscription.as_deref(), Some("projects/p/subscriptions/s"));
        assert_eq!(dead_letter.delivery_attempt, Some(100));
    }

    #[test]
    fn a_message_that_was_forwarded_before_it_was_rejected_has_the_consumers_reason() {
        let dead_letter = read(&[
            ("rejection_reason", "invalid_ip"),
            ("CloudPubSubDeadLetterSourceSubscription", "s"),
            ("CloudPubSubDeadLetterSourceSubscriptionProject", "p"),
        ]);
        assert_eq!((dead_letter.reason.as_str(), dead_letter.source_subscription), ("invalid_ip", None));
    }

    #[test]
    fn a_message_without_our_attributes_has_an_unknown_reason() {
        assert_eq!(read(&[("team", "red")]).reason, UNKNOWN);
    }

    #[test]
    fn attributes_with_our_names_but_without_a_reason_belong_to_the_original() {
        let forwarded =
            attributes(&[("CloudPubSubDeadLetterSourceSubscription", "s"), ("source_message_id", "theirs")]);
        assert_eq!(redriven(forwarded), attributes(&[("source_message_id", "theirs"), ("redrive_count", "1")]));
    }

    #[test]
    fn a_redrive_count_that_is_not_a_number_starts_again() {
        assert_eq!(redriven(attributes(&[("redrive_count", "many")])), attributes(&[("redrive_count", "1")]));
        let largest = u32::MAX.to_string();
        assert_eq!(redriven(attributes(&[("redrive_count", &largest)]))["redrive_count"], largest);
    }

    #[test]
    fn only_the_full_name_of_a_subscription_is_accepted() {
        assert!(is_subscription("projects/example.com:p-1/subscriptions/scan-sub"));
        for name in [
            "",
            "scan-sub",
            "projects/p/topics/t",
            "projects//subscriptions/s",
            "projects/p/subscriptions/",
            "projects/p/subscriptions/s/x",
            "projects/../subscriptions/s",
            "projects/p/subscriptions/s?x",
            "projects/p/subscriptions/%2e%2e",
            "projects/p/subscriptions/s\n",
        ] {
            assert!(!is_subscription(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_redrive_restores_the_attributes_of_the_original_and_counts(
            original in hash_map("[a-z_]{1,12}", "\\PC{0,20}", 0..8),
            count in 0_u32..5,
            forwarded: bool,
        ) {
            let mut original: HashMap<String, String> = original;
            original.retain(|name, _| !OURS.contains(&name.as_str()));
            original.insert(REDRIVE_COUNT.to_owned(), count.to_string());
            let mut dead_letter = original.clone();
            dead_letter.extend(OURS.map(|name| (name.to_owned(), "ours".to_owned())));
            if forwarded {
                dead_letter.insert(FORWARDED_COUNT.to_owned(), "5".to_owned());
            }
            original.insert(REDRIVE_COUNT.to_owned(), (count + 1).to_string());
            prop_assert_eq!(redriven(dead_letter), original);
        }
    }
}
