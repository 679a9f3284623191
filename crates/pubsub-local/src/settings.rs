//! What a subscription's resource means: the defaults and bounds that Google documents, and the part of it that
//! delivery depends on. Pure.

use std::time::Duration;

use prost_types::FieldMask;

use super::names::{self, Kind};
use super::refusal::Refusal;
use super::wire::{ExpirationPolicy, PushConfig, Subscription, Topic, subscription, topic};

const DEFAULT_ACK_DEADLINE_SECONDS: i32 = 10;
const ACK_DEADLINE_SECONDS: std::ops::RangeInclusive<i32> = 10..=600;
const DEFAULT_MAX_DELIVERY_ATTEMPTS: i32 = 5;
const MAX_DELIVERY_ATTEMPTS: std::ops::RangeInclusive<i32> = 5..=100;
const DEFAULT_MINIMUM_BACKOFF_SECONDS: i64 = 10;
const DEFAULT_MAXIMUM_BACKOFF_SECONDS: i64 = 600;
const DEFAULT_RETENTION_SECONDS: i64 = 7 * 86_400;
const DEFAULT_EXPIRATION_SECONDS: i64 = 31 * 86_400;

/// What delivery depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) ack_deadline: Duration,
    /// Without one a message that comes back is delivered again at once.
    pub(super) retry: Option<Backoff>,
    pub(super) dead_letter: Option<DeadLetter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    pub(super) minimum: Duration,
    pub(super) maximum: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetter {
    pub(super) topic: String,
    pub(super) max_attempts: u32,
}

impl Backoff {
    /// Doubles with each attempt that failed, from the minimum to the maximum.
    pub(super) fn after(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.minimum.saturating_mul(1 << doublings).min(self.maximum.max(self.minimum))
    }
}

impl Settings {
    /// Of a resource that [`complete`] has passed.
    pub(super) fn of(resource: &Subscription) -> Settings {
        let retry = resource.retry_policy.as_ref().map(|policy| Backoff {
            minimum: length(policy.minimum_backoff, DEFAULT_MINIMUM_BACKOFF_SECONDS),
            maximum: length(policy.maximum_backoff, DEFAULT_MAXIMUM_BACKOFF_SECONDS),
        });
        let dead_letter = resource.dead_letter_policy.as_ref().map(|policy| DeadLetter {
            topic: policy.dead_letter_topic.clone(),
            max_attempts: policy.max_delivery_attempts.unsigned_abs(),
        });
        Settings {
            ack_deadline: Duration::from_secs(u64::from(resource.ack_deadline_seconds.unsigned_abs())),
            retry,
            dead_letter,
        }
    }
}

/// Checks a subscription and fills in what Google fills in.
pub(super) fn complete(mut resource: Subscription) -> Result<Subscription, Refusal> {
    names::check(Kind::Subscription, &resource.name)?;
    refuse_what_is_not_offered(&resource)?;
    if resource.ack_deadline_seconds == 0 {
        resource.ack_deadline_seconds = DEFAULT_ACK_DEADLINE_SECONDS;
    }
    if !ACK_DEADLINE_SECONDS.contains(&resource.ack_deadline_seconds) {
        return Err(Refusal::invalid("ack_deadline_seconds must be between 10 and 600"));
    }
    complete_policies(&mut resource)?;
    resource.push_config.get_or_insert_with(PushConfig::default);
    resource.message_retention_duration.get_or_insert(seconds(DEFAULT_RETENTION_SECONDS));
    resource.expiration_policy.get_or_insert(ExpirationPolicy { ttl: Some(seconds(DEFAULT_EXPIRATION_SECONDS)) });
    resource.state = subscription::State::Active.into();
    resource.detached = false;
    Ok(resource)
}

fn complete_policies(resource: &mut Subscription) -> Result<(), Refusal> {
    if let Some(policy) = &mut resource.retry_policy {
        let minimum = *policy.minimum_backoff.get_or_insert(seconds(DEFAULT_MINIMUM_BACKOFF_SECONDS));
        let maximum = *policy.maximum_backoff.get_or_insert(seconds(DEFAULT_MAXIMUM_BACKOFF_SECONDS));
        if !is_backoff(minimum) || !is_backoff(maximum) {
            return Err(Refusal::invalid("minimum_backoff and maximum_backoff must be between 0 and 600 seconds"));
        }
        if length(Some(minimum), 0) > length(Some(maximum), 0) {
            return Err(Refusal::invalid("minimum_backoff must not be above maximum_backoff"));
        }
    }
    if let Some(policy) = &mut resource.dead_letter_policy {
        names::check(Kind::Topic, &policy.dead_letter_topic)?;
        if policy.max_delivery_attempts == 0 {
            policy.max_delivery_attempts = DEFAULT_MAX_DELIVERY_ATTEMPTS;
        }
        if !MAX_DELIVERY_ATTEMPTS.contains(&policy.max_delivery_attempts) {
            return Err(Refusal::invalid("max_delivery_attempts must be between 5 and 100"));
        }
    }
    Ok(())
}

/// What would silently behave otherwise than in the service is refused instead.
fn refuse_what_is_not_offered(resource: &Subscription) -> Result<(), Refusal> {
    let pushes = resource.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty());
    let exports = resource.bigquery_config.is_some()
        || resource.cloud_storage_config.is_some()
        || resource.bigtable_config.is_some();
    match () {
        () if pushes => Err(Refusal::not_offered("push delivery")),
        () if exports => Err(Refusal::not_offered("export subscriptions")),
        () if !resource.filter.is_empty() => Err(Refusal::not_offered("filters")),
        () if !resource.message_transforms.is_empty() => Err(Refusal::not_offered("message transforms")),
        () => Ok(()),
    }
}

/// The resource with the masked fields taken from `changes`; what Google says cannot change is refused.
pub(super) fn update(
    current: &Subscription,
    changes: Subscription,
    mask: Option<&FieldMask>,
) -> Result<Subscription, Refusal> {
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
            other => return Err(Refusal::invalid(format_args!("Invalid update_mask path: {other:?}"))),
        }
    }
    complete(updated)
}

/// Checks a topic and fills in what Google fills in.
pub(super) fn complete_topic(mut resource: Topic) -> Result<Topic, Refusal> {
    names::check(Kind::Topic, &resource.name)?;
    if resource.schema_settings.is_some() || resource.ingestion_data_source_settings.is_some() {
        return Err(Refusal::not_offered("schemas or ingestion"));
    }
    if !resource.message_transforms.is_empty() {
        return Err(Refusal::not_offered("message transforms"));
    }
    resource.state = topic::State::Active.into();
    Ok(resource)
}

/// As [`update`], for a topic.
pub(super) fn update_topic(current: &Topic, changes: Topic, mask: Option<&FieldMask>) -> Result<Topic, Refusal> {
    let mut updated = current.clone();
    for path in paths(mask)? {
        match path.as_str() {
            "labels" => updated.labels = changes.labels.clone(),
            "message_retention_duration" => updated.message_retention_duration = changes.message_retention_duration,
            "message_storage_policy" => updated.message_storage_policy = changes.message_storage_policy.clone(),
            other => return Err(Refusal::invalid(format_args!("Invalid update_mask path: {other:?}"))),
        }
    }
    complete_topic(updated)
}

/// The mask's paths in snake case: over JSON they come in camel case.
fn paths(mask: Option<&FieldMask>) -> Result<Vec<String>, Refusal> {
    let paths: Vec<String> = mask.into_iter().flat_map(|mask| &mask.paths).map(|path| snake_case(path)).collect();
    if paths.is_empty() { Err(Refusal::invalid("The update_mask must not be empty")) } else { Ok(paths) }
}

fn snake_case(path: &str) -> String {
    path.chars().fold(String::with_capacity(path.len() + 4), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}

fn is_backoff(duration: prost_types::Duration) -> bool {
    Duration::try_from(duration).is_ok_and(|backoff| backoff <= Duration::from_secs(600))
}

fn length(duration: Option<prost_types::Duration>, default_seconds: i64) -> Duration {
    let duration = duration.unwrap_or(seconds(default_seconds));
    Duration::try_from(duration).unwrap_or_default()
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{DeadLetterPolicy, RetryPolicy};
    use super::*;

    fn bare() -> Subscription {
        Subscription {
            name: "projects/p/subscriptions/scan-sub".into(),
            topic: "projects/p/topics/scan-topic".into(),
            ..Subscription::default()
        }
    }

    fn retrying(minimum: i64, maximum: i64) -> Subscription {
        let policy = RetryPolicy { minimum_backoff: Some(seconds(minimum)), maximum_backoff: Some(seconds(maximum)) };
        Subscription { retry_policy: Some(policy), ..bare() }
    }

    fn dead_lettering(attempts: i32) -> Subscription {
        let policy =
            DeadLetterPolicy { dead_letter_topic: "projects/p/topics/dead".into(), max_delivery_attempts: attempts };
        Subscription { dead_letter_policy: Some(policy), ..bare() }
    }

    #[test]
    fn a_bare_subscription_gets_the_documented_defaults() {
        let resource = complete(bare()).unwrap();
        assert_eq!(resource.ack_deadline_seconds, 10);
        assert_eq!(resource.message_retention_duration, Some(seconds(604_800)));
        assert_eq!(resource.expiration_policy, Some(ExpirationPolicy { ttl: Some(seconds(2_678_400)) }));
        let settings = Settings::of(&resource);
        assert_eq!(settings, Settings { ack_deadline: Duration::from_secs(10), retry: None, dead_letter: None });
    }

    #[test]
    fn an_empty_policy_gets_the_documented_defaults() {
        let resource = Subscription { retry_policy: Some(RetryPolicy::default()), ..dead_lettering(0) };
        let settings = Settings::of(&complete(resource).unwrap());
        let retry = Backoff { minimum: Duration::from_secs(10), maximum: Duration::from_secs(600) };
        assert_eq!(settings.retry, Some(retry));
        assert_eq!(settings.dead_letter.unwrap().max_attempts, 5);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for deadline in [-1, 9, 601] {
            assert!(complete(Subscription { ack_deadline_seconds: deadline, ..bare() }).is_err(), "{deadline}");
        }
        for attempts in [-1, 4, 101] {
            assert!(complete(dead_lettering(attempts)).is_err(), "{attempts}");
        }
        for (minimum, maximum) in [(-1, 10), (1, 601), (20, 10)] {
            assert!(complete(retrying(minimum, maximum)).is_err(), "{minimum}..{maximum}");
        }
        assert!(complete(retrying(0, 600)).is_ok());
    }

    #[test]
    fn what_would_behave_otherwise_than_the_service_is_refused() {
        assert!(complete(Subscription { filter: "attributes:a".into(), ..bare() }).is_err());
        let push = PushConfig { push_endpoint: "http://127.0.0.1/".into(), ..PushConfig::default() };
        assert!(complete(Subscription { push_config: Some(push), ..bare() }).is_err());
    }

    #[test]
    fn backoff_doubles_up_to_the_maximum() {
        let backoff = Backoff { minimum: Duration::from_secs(10), maximum: Duration::from_secs(600) };
        let seconds: Vec<u64> = (1..=8).map(|attempts| backoff.after(attempts).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(backoff.after(u32::MAX).as_secs(), 600);
    }

    #[test]
    fn an_update_changes_what_its_mask_names() {
        let current = complete(bare()).unwrap();
        let changes = Subscription { ack_deadline_seconds: 60, ..retrying(1, 2) };
        let mask = FieldMask { paths: vec!["retryPolicy".into()] };
        let updated = update(&current, changes.clone(), Some(&mask)).unwrap();
        assert_eq!((updated.ack_deadline_seconds, updated.retry_policy), (10, changes.retry_policy));
        for wrong in ["topic", "name", "enable_message_ordering", "nonsense"] {
            let mask = FieldMask { paths: vec![wrong.into()] };
            assert!(update(&current, changes.clone(), Some(&mask)).is_err(), "{wrong}");
        }
        assert!(update(&current, changes, None).is_err());
    }
}
