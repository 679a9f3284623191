//! Reads the attributes of a dead letter, and restores those of its original message. Pure.

use std::collections::HashMap;
use std::time::SystemTime;

use crate::consumer::dead_letter::{
    DELIVERY_ATTEMPT, DETAIL, OURS, REASON, REDRIVE_COUNT, REDRIVE_MARK, SOURCE_MESSAGE_ID, SOURCE_PUBLISH_TIME,
    SOURCE_SUBSCRIPTION, unescape,
};
use crate::consumer::ports::Envelope;

/// The reason of a message that Pub/Sub itself forwarded under a dead-letter policy.
pub const EXHAUSTED: &str = "delivery_attempts_exhausted";
/// The reason of a dead letter without one.
pub const UNKNOWN: &str = "unknown";

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
        let attributes = &envelope.attributes;
        let get = |name: &str| attributes.get(name).cloned();
        let number = |name: &str| attributes.get(name).and_then(|text| text.parse().ok());
        let unknown = DeadLetter {
            reason: UNKNOWN.to_owned(),
            detail: None,
            published: envelope.publish_time,
            source_subscription: None,
            source_message_id: None,
            source_publish_time: None,
            delivery_attempt: None,
            redrive_count: redrive_count(attributes),
            bytes: envelope.payload.len(),
            message_id: envelope.message_id.clone(),
        };
        if is_the_consumers(attributes) {
            return DeadLetter {
                reason: get(REASON).unwrap_or(unknown.reason),
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

/// Returns whether the consumer published this dead letter. Otherwise attributes with our names are the publisher's.
///
/// Pub/Sub may have forwarded the original to the consumer before, or the dead letter afterwards. The last one to act
/// wrote down the later publish time of its source.
fn is_the_consumers(attributes: &HashMap<String, String>) -> bool {
    let time = |name: &str| attributes.get(name).and_then(|text| rfc3339(text));
    attributes.contains_key(REASON)
        && (!attributes.contains_key(FORWARDED_SUBSCRIPTION)
            || time(SOURCE_PUBLISH_TIME) >= time(FORWARDED_PUBLISH_TIME))
}

/// Parses a time in UTC, which Pub/Sub writes with an offset of zero.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let utc = text.strip_suffix("+00:00").map(|time| format!("{time}Z"));
    humantime::parse_rfc3339(utc.as_deref().unwrap_or(text)).ok()
}

/// Returns whether these are the attributes of a message that a redrive published, and not those of a dead letter.
pub(super) fn is_redriven(attributes: &HashMap<String, String>) -> bool {
    attributes.contains_key(REDRIVE_MARK) && !is_the_consumers(attributes)
}

fn redrive_count(attributes: &HashMap<String, String>) -> u32 {
    let name = if is_the_consumers(attributes) { REDRIVE_COUNT } else { REDRIVE_MARK };
    attributes.get(name).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Returns the attributes of the redriven message: the original's, and the increased redrive count.
pub(super) fn redriven(attributes: HashMap<String, String>) -> HashMap<String, String> {
    let (is_ours, count) = (is_the_consumers(&attributes), redrive_count(&attributes));
    let is_added = |name: &str| name.starts_with(FORWARDED) || (is_ours && OURS.contains(&name));
    let mut originals: HashMap<String, String> = attributes
        .into_iter()
        .filter(|(name, _)| !is_added(name))
        .map(|(name, value)| if is_ours { (unescape(&name).to_owned(), value) } else { (name, value) })
        .collect();
    originals.insert(REDRIVE_MARK.to_owned(), count.saturating_add(1).to_string());
    originals
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
    use crate::consumer::dead_letter::example;

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
        let expected = [("source_message_id", "theirs"), ("mini_scan_redrive_count", "1")];
        assert_eq!(redriven(forwarded), attributes(&expected));
    }

    #[test]
    fn a_redrive_count_that_is_not_a_number_starts_again() {
        let mark = |count: &str| attributes(&[("mini_scan_redrive_count", count)]);
        assert_eq!(redriven(mark("many")), mark("1"));
        let largest = u32::MAX.to_string();
        assert_eq!(redriven(mark(&largest)), mark(&largest));
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

    #[test]
    fn a_publishers_redrive_count_does_not_count() {
        let dead_letter = read(&[("rejection_reason", "invalid_ip"), ("original_redrive_count", "99")]);
        assert_eq!(dead_letter.redrive_count, 0);
        let forwarded = read(&[("CloudPubSubDeadLetterSourceSubscription", "s"), ("redrive_count", "99")]);
        assert_eq!(forwarded.redrive_count, 0);
        let redriven = read(&[("CloudPubSubDeadLetterSourceSubscription", "s"), ("mini_scan_redrive_count", "2")]);
        assert_eq!(redriven.redrive_count, 2);
    }

    #[test]
    fn pubsub_forwarded_a_message_if_its_source_is_later_than_the_consumers() {
        let forwarded = [
            ("rejection_reason", "theirs"),
            ("rejection_detail", "theirs"),
            ("CloudPubSubDeadLetterSourceSubscription", "s"),
            ("CloudPubSubDeadLetterSourceSubscriptionProject", "p"),
            ("CloudPubSubDeadLetterSourceTopicPublishTime", "2025-02-23T08:08:45.5+00:00"),
        ];
        let with_source = |time| read(&[&forwarded[..], &[("source_publish_time", time)]].concat());
        assert_eq!(read(&forwarded).reason, EXHAUSTED);
        assert_eq!(with_source("2025-02-23T08:08:45Z").reason, EXHAUSTED);
        assert_eq!(with_source("2025-02-23T08:08:46Z").reason, "theirs");
        let originals =
            [("rejection_reason", "theirs"), ("rejection_detail", "theirs"), ("mini_scan_redrive_count", "1")];
        assert_eq!(redriven(attributes(&forwarded)), attributes(&originals));
    }

    fn names() -> impl Strategy<Value = String> {
        let ours = proptest::sample::select(&OURS[..]);
        prop_oneof!["[a-z_]{1,12}", (0..3_usize, ours).prop_map(|(times, name)| "original_".repeat(times) + name)]
    }

    proptest! {
        #[test]
        fn the_attributes_of_a_publisher_survive_a_rejection_and_a_redrive(
            original in hash_map(names(), "\\PC{0,20}", 0..8),
            count in proptest::option::of(0_u32..5),
        ) {
            let mut rejected: HashMap<String, String> = original.clone();
            rejected.extend(count.map(|count| (REDRIVE_MARK.to_owned(), count.to_string())));
            let envelope = Envelope {
                payload: Bytes::new(),
                attributes: rejected,
                message_id: "7".into(),
                publish_time: SystemTime::UNIX_EPOCH,
                delivery_attempt: Some(1),
            };

            let dead_letter = example(&envelope);

            prop_assert_eq!(redrive_count(&dead_letter.attributes), count.unwrap_or(0));
            let mut expected = original;
            expected.insert(REDRIVE_MARK.to_owned(), (count.unwrap_or(0) + 1).to_string());
            prop_assert_eq!(redriven(dead_letter.attributes), expected);
        }
    }
}
