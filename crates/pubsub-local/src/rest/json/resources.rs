//! Topics and subscriptions as JSON.

use prost_types::{Duration, FieldMask};
use serde::{Deserialize, Serialize};

use super::super::super::wire;
use super::{OutputOnly, Strings, duration, is_default, number};

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in super::super) struct Topic {
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
pub(in super::super) struct Subscription {
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
pub(in super::super) struct TopicChanges {
    pub(in super::super) topic: Topic,
    update_mask: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in super::super) struct SubscriptionChanges {
    pub(in super::super) subscription: Subscription,
    update_mask: String,
}

impl TopicChanges {
    pub(in super::super) fn mask(&self) -> FieldMask {
        mask(&self.update_mask)
    }
}

impl SubscriptionChanges {
    pub(in super::super) fn mask(&self) -> FieldMask {
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
}
