//! The settings of topics and subscriptions: the defaults and limits that Google documents, and the part that delivery
//! depends on. This module is pure.

use std::time::Duration;

use prost_types::FieldMask;
use tokio::time::Instant;

use super::backlog::Entry;
use super::error::ApiError;
use super::names::{self, Kind};
use super::wire::{ExpirationPolicy, PushConfig, Subscription, Topic, subscription, topic};

const DEFAULT_ACK_DEADLINE_SECONDS: i32 = 10;
const ACK_DEADLINE_SECONDS: std::ops::RangeInclusive<i32> = 10..=600;
const DEFAULT_MAX_DELIVERY_ATTEMPTS: i32 = 5;
const MAX_DELIVERY_ATTEMPTS: std::ops::RangeInclusive<i32> = 5..=100;
const DEFAULT_MINIMUM_BACKOFF_SECONDS: i64 = 10;
const DEFAULT_MAXIMUM_BACKOFF_SECONDS: i64 = 600;
const DEFAULT_RETENTION_SECONDS: i64 = 7 * 86_400;
const RETENTION: std::ops::RangeInclusive<Duration> = Duration::from_secs(600)..=Duration::from_secs(31 * 86_400);
const DEFAULT_EXPIRATION_SECONDS: i64 = 31 * 86_400;
const MIN_EXPIRATION: Duration = Duration::from_secs(86_400);

/// The settings of a subscription that delivery depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) ack_deadline: Duration,
    /// Without a retry policy, a message is redelivered at once.
    pub(super) retry: Option<Backoff>,
    pub(super) dead_letter: Option<DeadLetterPolicy>,
    /// A message that is older than this is dropped.
    pub(super) retention: Duration,
    pub(super) retain_acked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    pub(super) minimum: Duration,
    pub(super) maximum: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetterPolicy {
    pub(super) topic: String,
    pub(super) max_attempts: u32,
}

impl Backoff {
    /// Returns the delay after this many attempts. It doubles with each attempt, from the minimum to the maximum.
    pub(super) fn after(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.minimum.saturating_mul(1 << doublings).min(self.maximum.max(self.minimum))
    }
}

impl Settings {
    /// Reads a resource that [`normalize`] returned.
    pub(super) fn of(resource: &Subscription) -> Settings {
        let retry = resource.retry_policy.as_ref().map(|policy| Backoff {
            minimum: duration_or(policy.minimum_backoff, DEFAULT_MINIMUM_BACKOFF_SECONDS),
            maximum: duration_or(policy.maximum_backoff, DEFAULT_MAXIMUM_BACKOFF_SECONDS),
        });
        let dead_letter = resource.dead_letter_policy.as_ref().map(|policy| DeadLetterPolicy {
            topic: policy.dead_letter_topic.clone(),
            max_attempts: policy.max_delivery_attempts.unsigned_abs(),
        });
        Settings {
            ack_deadline: Duration::from_secs(u64::from(resource.ack_deadline_seconds.unsigned_abs())),
            retry,
            dead_letter,
            retention: duration_or(resource.message_retention_duration, DEFAULT_RETENTION_SECONDS),
            retain_acked: resource.retain_acked_messages,
        }
    }

    /// Returns whether a message is older than the retention duration.
    pub(super) fn outdates(&self, entry: &Entry, now: Instant) -> bool {
        now.saturating_duration_since(entry.published.at) >= self.retention
    }
}

/// Checks a subscription and sets the defaults that Google sets.
pub(super) fn normalize(mut resource: Subscription) -> Result<Subscription, ApiError> {
    names::check(Kind::Subscription, &resource.name)?;
    check_supported(&resource)?;
    if resource.ack_deadline_seconds == 0 {
        resource.ack_deadline_seconds = DEFAULT_ACK_DEADLINE_SECONDS;
    }
    if !ACK_DEADLINE_SECONDS.contains(&resource.ack_deadline_seconds) {
        return Err(ApiError::invalid_argument("ack_deadline_seconds must be between 10 and 600"));
    }
    normalize_policies(&mut resource)?;
    resource.push_config.get_or_insert_with(PushConfig::default);
    let retention = *resource.message_retention_duration.get_or_insert(seconds(DEFAULT_RETENTION_SECONDS));
    if !Duration::try_from(retention).is_ok_and(|retention| RETENTION.contains(&retention)) {
        return Err(ApiError::invalid_argument("message_retention_duration must be between 10 minutes and 31 days"));
    }
    let expiration = ExpirationPolicy { ttl: Some(seconds(DEFAULT_EXPIRATION_SECONDS)) };
    let ttl = resource.expiration_policy.get_or_insert(expiration).ttl;
    if ttl.is_some_and(|ttl| !Duration::try_from(ttl).is_ok_and(|ttl| ttl >= MIN_EXPIRATION)) {
        return Err(ApiError::invalid_argument("expiration_policy.ttl must be at least 1 day"));
    }
    resource.state = subscription::State::Active.into();
    resource.detached = false;
    Ok(resource)
}

fn normalize_policies(resource: &mut Subscription) -> Result<(), ApiError> {
    if let Some(policy) = &mut resource.retry_policy {
        let minimum = *policy.minimum_backoff.get_or_insert(seconds(DEFAULT_MINIMUM_BACKOFF_SECONDS));
        let maximum = *policy.maximum_backoff.get_or_insert(seconds(DEFAULT_MAXIMUM_BACKOFF_SECONDS));
        if !is_backoff(minimum) || !is_backoff(maximum) {
            return Err(ApiError::invalid_argument(
                "minimum_backoff and maximum_backoff must be between 0 and 600 seconds",
            ));
        }
        if duration_or(Some(minimum), 0) > duration_or(Some(maximum), 0) {
            return Err(ApiError::invalid_argument("minimum_backoff must not be longer than maximum_backoff"));
        }
    }
    if let Some(policy) = &mut resource.dead_letter_policy {
        names::check(Kind::Topic, &policy.dead_letter_topic)?;
        if policy.max_delivery_attempts == 0 {
            policy.max_delivery_attempts = DEFAULT_MAX_DELIVERY_ATTEMPTS;
        }
        if !MAX_DELIVERY_ATTEMPTS.contains(&policy.max_delivery_attempts) {
            return Err(ApiError::invalid_argument("max_delivery_attempts must be between 5 and 100"));
        }
    }
    Ok(())
}

/// Rejects features that this server does not implement. The README lists them.
fn check_supported(resource: &Subscription) -> Result<(), ApiError> {
    let pushes = resource.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty());
    let exports = resource.bigquery_config.is_some()
        || resource.cloud_storage_config.is_some()
        || resource.bigtable_config.is_some();
    match () {
        () if pushes => Err(ApiError::unsupported("push delivery")),
        () if exports => Err(ApiError::unsupported("export subscriptions")),
        () if resource.enable_exactly_once_delivery => Err(ApiError::unsupported("exactly-once delivery")),
        () if resource.enable_message_ordering => Err(ApiError::unsupported("message ordering")),
        () if !resource.filter.is_empty() => Err(ApiError::unsupported("filters")),
        () if !resource.message_transforms.is_empty() => Err(ApiError::unsupported("message transforms")),
        () => Ok(()),
    }
}

/// Returns the resource with the fields of the mask taken from `changes`. Rejects fields that Google does not let
/// clients change.
pub(super) fn update(
    current: &Subscription,
    changes: Subscription,
    mask: Option<&FieldMask>,
) -> Result<Subscription, ApiError> {
    let mut updated = current.clone();
    for path in paths(mask)? {
        match path.as_str() {
            "ack_deadline_seconds" => updated.ack_deadline_seconds = changes.ack_deadline_seconds,
            "dead_letter_policy" => updated.dead_letter_policy = changes.dead_letter_policy.clone(),
            "enable_exactly_once_delivery" => {
                updated.enable_exactly_once_delivery = changes.enable_exactly_once_delivery
            }
            "expiration_policy" => updated.expiration_policy = changes.expiration_policy,
            "labels" => updated.labels = changes.labels.clone(),
            "message_retention_duration" => updated.message_retention_duration = changes.message_retention_duration,
            "push_config" => updated.push_config = changes.push_config.clone(),
            "retain_acked_messages" => updated.retain_acked_messages = changes.retain_acked_messages,
            "retry_policy" => updated.retry_policy = changes.retry_policy,
            other => return Err(ApiError::invalid_argument(format_args!("Invalid update_mask path: {other:?}"))),
        }
    }
    normalize(updated)
}

/// Checks a topic and sets the defaults that Google sets.
pub(super) fn normalize_topic(mut resource: Topic) -> Result<Topic, ApiError> {
    names::check(Kind::Topic, &resource.name)?;
    if resource.schema_settings.is_some() || resource.ingestion_data_source_settings.is_some() {
        return Err(ApiError::unsupported("schemas or ingestion"));
    }
    if !resource.message_transforms.is_empty() {
        return Err(ApiError::unsupported("message transforms"));
    }
    if resource.message_retention_duration.is_some() {
        return Err(ApiError::unsupported("message retention by topics"));
    }
    resource.state = topic::State::Active.into();
    Ok(resource)
}

/// Returns the topic with the fields of the mask taken from `changes`.
pub(super) fn update_topic(current: &Topic, changes: Topic, mask: Option<&FieldMask>) -> Result<Topic, ApiError> {
    let mut updated = current.clone();
    for path in paths(mask)? {
        match path.as_str() {
            "labels" => updated.labels = changes.labels.clone(),
            "message_retention_duration" => updated.message_retention_duration = changes.message_retention_duration,
            "message_storage_policy" => updated.message_storage_policy = changes.message_storage_policy.clone(),
            other => return Err(ApiError::invalid_argument(format_args!("Invalid update_mask path: {other:?}"))),
        }
    }
    normalize_topic(updated)
}

/// Returns the paths of the mask in snake case. JSON clients send them in camel case.
fn paths(mask: Option<&FieldMask>) -> Result<Vec<String>, ApiError> {
    let paths: Vec<String> = mask.into_iter().flat_map(|mask| &mask.paths).map(|path| snake_case(path)).collect();
    if paths.is_empty() { Err(ApiError::invalid_argument("The update_mask must not be empty")) } else { Ok(paths) }
}

fn snake_case(path: &str) -> String {
    path.chars().fold(String::with_capacity(path.len() + 4), |mut snake, character| {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
        snake
    })
}

fn is_backoff(duration: prost_types::Duration) -> bool {
    Duration::try_from(duration).is_ok_and(|backoff| backoff <= Duration::from_secs(600))
}

fn duration_or(duration: Option<prost_types::Duration>, default_seconds: i64) -> Duration {
    let duration = duration.unwrap_or(seconds(default_seconds));
    Duration::try_from(duration).unwrap_or_default()
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[cfg(test)]
mod tests {
    use super::super::error::Code;
    use super::super::wire;
    use super::super::wire::RetryPolicy;
    use super::*;

    fn plain() -> Subscription {
        Subscription {
            name: "projects/p/subscriptions/scan-sub".into(),
            topic: "projects/p/topics/scan-topic".into(),
            ..Subscription::default()
        }
    }

    fn retrying(minimum: i64, maximum: i64) -> Subscription {
        let policy = RetryPolicy { minimum_backoff: Some(seconds(minimum)), maximum_backoff: Some(seconds(maximum)) };
        Subscription { retry_policy: Some(policy), ..plain() }
    }

    fn dead_lettering(attempts: i32) -> Subscription {
        let dead_letter_topic = "projects/p/topics/dead".into();
        let policy = wire::DeadLetterPolicy { dead_letter_topic, max_delivery_attempts: attempts };
        Subscription { dead_letter_policy: Some(policy), ..plain() }
    }

    #[test]
    fn a_plain_subscription_gets_the_documented_defaults() {
        let resource = normalize(plain()).unwrap();
        assert_eq!(resource.ack_deadline_seconds, 10);
        assert_eq!(resource.message_retention_duration, Some(seconds(604_800)));
        assert_eq!(resource.expiration_policy, Some(ExpirationPolicy { ttl: Some(seconds(2_678_400)) }));
        let settings = Settings::of(&resource);
        let expected = Settings {
            ack_deadline: Duration::from_secs(10),
            retry: None,
            dead_letter: None,
            retention: Duration::from_secs(604_800),
            retain_acked: false,
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn an_empty_policy_gets_the_documented_defaults() {
        let resource = Subscription { retry_policy: Some(RetryPolicy::default()), ..dead_lettering(0) };
        let settings = Settings::of(&normalize(resource).unwrap());
        let retry = Backoff { minimum: Duration::from_secs(10), maximum: Duration::from_secs(600) };
        assert_eq!(settings.retry, Some(retry));
        assert_eq!(settings.dead_letter.unwrap().max_attempts, 5);
    }

    #[test]
    fn settings_out_of_range_are_rejected() {
        for deadline in [-1, 9, 601] {
            assert!(normalize(Subscription { ack_deadline_seconds: deadline, ..plain() }).is_err(), "{deadline}");
        }
        for attempts in [-1, 4, 101] {
            assert!(normalize(dead_lettering(attempts)).is_err(), "{attempts}");
        }
        for (minimum, maximum) in [(-1, 10), (1, 601), (20, 10)] {
            assert!(normalize(retrying(minimum, maximum)).is_err(), "{minimum}..{maximum}");
        }
        assert!(normalize(retrying(0, 600)).is_ok());
        for (retention, accepted) in [(599, false), (600, true), (2_678_400, true), (2_678_401, false), (-1, false)] {
            let resource = Subscription { message_retention_duration: Some(seconds(retention)), ..plain() };
            assert_eq!(normalize(resource).is_ok(), accepted, "{retention}");
        }
        for (ttl, accepted) in [(None, true), (Some(86_399), false), (Some(86_400), true)] {
            let expiration_policy = Some(ExpirationPolicy { ttl: ttl.map(seconds) });
            assert_eq!(normalize(Subscription { expiration_policy, ..plain() }).is_ok(), accepted, "{ttl:?}");
        }
    }

    #[test]
    fn unsupported_settings_are_rejected() {
        let push = PushConfig { push_endpoint: "http://127.0.0.1/".into(), ..PushConfig::default() };
        for resource in [
            Subscription { filter: "attributes:a".into(), ..plain() },
            Subscription { push_config: Some(push), ..plain() },
            Subscription { enable_exactly_once_delivery: true, ..plain() },
            Subscription { enable_message_ordering: true, ..plain() },
            Subscription { bigquery_config: Some(wire::BigQueryConfig::default()), ..plain() },
        ] {
            assert_eq!(normalize(resource.clone()).unwrap_err().code, Code::Unimplemented, "{resource:?}");
        }
        let topic = Topic { name: "projects/p/topics/scan-topic".into(), ..Topic::default() };
        let retaining = Topic { message_retention_duration: Some(seconds(600)), ..topic.clone() };
        assert_eq!(normalize_topic(retaining).unwrap_err().code, Code::Unimplemented);
        assert!(normalize_topic(topic).is_ok());
    }

    #[test]
    fn an_update_cannot_turn_on_an_unsupported_setting() {
        let changes = Subscription { enable_exactly_once_delivery: true, ..plain() };
        let mask = FieldMask { paths: vec!["enable_exactly_once_delivery".into()] };
        let refused = update(&normalize(plain()).unwrap(), changes, Some(&mask)).unwrap_err();
        assert_eq!(refused.code, Code::Unimplemented);
    }

    #[test]
    fn the_backoff_doubles_up_to_the_maximum() {
        let backoff = Backoff { minimum: Duration::from_secs(10), maximum: Duration::from_secs(600) };
        let seconds: Vec<u64> = (1..=8).map(|attempts| backoff.after(attempts).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(backoff.after(u32::MAX).as_secs(), 600);
    }

    #[test]
    fn an_update_changes_only_the_fields_of_its_mask() {
        let current = normalize(plain()).unwrap();
        let changes = Subscription { ack_deadline_seconds: 60, ..retrying(1, 2) };
        let mask = FieldMask { paths: vec!["retryPolicy".into()] };
        let updated = update(&current, changes.clone(), Some(&mask)).unwrap();
        assert_eq!((updated.ack_deadline_seconds, updated.retry_policy), (10, changes.retry_policy));
        for rejected in ["topic", "name", "enable_message_ordering", "nonsense"] {
            let mask = FieldMask { paths: vec![rejected.into()] };
            assert!(update(&current, changes.clone(), Some(&mask)).is_err(), "{rejected}");
        }
        assert!(update(&current, changes, None).is_err());
    }
}
