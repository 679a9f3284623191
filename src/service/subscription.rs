//! Whether an existing subscription fits: what makes it unusable, and what is usable but differs from what `setup`
//! creates.

use std::time::Duration;

use crate::pubsub::{Delivery, SubscriptionDetails};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a subscription is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Scans,
    DeadLetters,
}

/// Returns why no client can pull from a subscription, with what was expected and found.
pub(super) fn unusable(found: &SubscriptionDetails) -> Option<String> {
    match &found.delivery {
        Delivery::Pull => None,
        Delivery::Export(destination) => {
            Some(format!("expected a pull subscription, found one that sends its messages to {destination}"))
        }
        Delivery::Detached => {
            Some("expected an attached subscription, found one that is detached from its topic".into())
        }
    }
}

/// Returns why a subscription does not serve this topic, with what was expected and found.
pub(super) fn mismatch(found: &SubscriptionDetails, topic: &str) -> Option<String> {
    match &found.topic {
        Some(other) if other != topic => Some(format!("expected topic {topic}, found topic {other}")),
        None => Some(format!("expected topic {topic}, found that its topic was deleted")),
        Some(_) => unusable(found),
    }
}

/// Returns what is usable but probably not intended, each with its consequence and how to change it.
pub(super) fn warnings(name: &str, found: &SubscriptionDetails, purpose: Purpose) -> Vec<String> {
    let mut warnings = Vec::new();
    let update = format!("gcloud pubsub subscriptions update {name}");
    if !found.filter.is_empty() {
        let filter = &found.filter;
        warnings
            .push(format!("its filter drops every message that does not match {filter}. A filter cannot be changed"));
    }
    if found.has_transforms {
        warnings
            .push(format!("its transforms change or drop messages. Remove them: {update} --clear-message-transforms"));
    }
    if let Some(time) = found.expires_after {
        warnings.push(format!(
            "Pub/Sub deletes it with its messages after {} days without a client. Keep it: {update} \
             --expiration-period=never",
            time.as_secs() / DAY.as_secs()
        ));
    }
    if found.is_exactly_once {
        warnings.push(format!(
            "exactly-once delivery delays messages, and mini-scan does not need it. Turn it off: {update} \
             --no-enable-exactly-once-delivery"
        ));
    }
    if found.is_ordered {
        warnings.push(
            "with message ordering, a nacked message delays all later messages of its ordering key, and mini-scan \
             does not need it. Ordering cannot be changed"
                .into(),
        );
    }
    match (purpose, found.minimum_backoff) {
        (Purpose::Scans, None) => warnings.push(format!(
            "without a retry policy, Pub/Sub redelivers nacked messages at once. Set one: {update} \
             --min-retry-delay=10s --max-retry-delay=600s"
        )),
        (Purpose::DeadLetters, Some(delay)) => warnings.push(format!(
            "its retry policy hides dead letters for at least {} s after they were listed. Remove it: {update} \
             --clear-retry-policy",
            delay.as_secs()
        )),
        (Purpose::Scans, Some(_)) | (Purpose::DeadLetters, None) => {}
    }
    warnings
}
