//! Deliveries: in memory, in the store, and dead.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::ids::{EndpointId, WebhookId};
use crate::origin::Origin;
use crate::schedule::Schedule;
use crate::sender::{Answer, Failure};

/// An event for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub id: WebhookId,
    pub endpoint: EndpointId,
    pub body: Bytes,
    pub origin: Origin,
}

/// Identifies a claim of a stored delivery. It is random, so that no two claims ever have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A delivery in the store. Its key is the endpoint with the id of the webhook, so that a replayed event is the same item.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredDelivery {
    pub delivery: Delivery,
    /// When it was written for the first time.
    pub created: SystemTime,
    /// How many attempts failed.
    pub attempts: u32,
    /// When it may be claimed. A claim moves this time, so a claim whose owner crashed ends by itself.
    pub due: SystemTime,
    /// Changes with each claim. Every change of the item is conditional on it.
    pub token: Token,
    pub last: Option<LastAttempt>,
}

/// The last failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct LastAttempt {
    pub at: SystemTime,
    pub result: Result<Answer, Failure>,
}

impl LastAttempt {
    /// The names of [`LastAttempt::name`].
    pub const NAMES: [&str; 12] = [
        "broken",
        "connect",
        "gone",
        "no_secret",
        "refused",
        "resolve",
        "status_3xx",
        "status_4xx",
        "status_5xx",
        "status_other",
        "timeout",
        "tls",
    ];

    /// Returns the name of its result in metrics.
    pub fn name(&self) -> &'static str {
        match &self.result {
            Ok(Answer { status: 410, .. }) => "gone",
            Ok(Answer { status: 300..=399, .. }) => "status_3xx",
            Ok(Answer { status: 400..=499, .. }) => "status_4xx",
            Ok(Answer { status: 500..=599, .. }) => "status_5xx",
            Ok(_) => "status_other",
            Err(Failure::TimedOut) => "timeout",
            Err(Failure::Connect) => "connect",
            Err(Failure::Tls) => "tls",
            Err(Failure::Refused(_)) => "refused",
            Err(Failure::Resolve) => "resolve",
            Err(Failure::NoSecret) => "no_secret",
            Err(Failure::Broken) => "broken",
        }
    }
}

/// Why a delivery is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// The last attempt of the schedule failed.
    Exhausted,
    /// The endpoint answered with status 410.
    Gone,
    /// The endpoint is disabled.
    Disabled,
    /// There is no such endpoint.
    Missing,
}

impl DeadReason {
    pub fn as_str(self) -> &'static str {
        match self {
            DeadReason::Exhausted => "exhausted",
            DeadReason::Gone => "gone",
            DeadReason::Disabled => "disabled",
            DeadReason::Missing => "missing",
        }
    }
}

/// What follows from the result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Delivered,
    Retry { after: Duration },
    Dead(DeadReason),
}

/// Decides by the result of an attempt. `attempts` counts it. Only a 2xx status is a success, so redirects are failures.
pub(crate) fn decide(result: &Result<Answer, Failure>, attempts: u32, schedule: &Schedule, random: f64) -> Decision {
    let asked = match result {
        Ok(Answer { status: 200..=299, .. }) => return Decision::Delivered,
        Ok(Answer { status: 410, .. }) => return Decision::Dead(DeadReason::Gone),
        Ok(answer) => answer.retry_after,
        Err(_) => None,
    };
    match schedule.delay(attempts, asked, random) {
        Some(after) => Decision::Retry { after },
        None => Decision::Dead(DeadReason::Exhausted),
    }
}

/// Returns the pause that a receiver asks for with all its answers, not only for this delivery.
pub(crate) fn pause(result: &Result<Answer, Failure>) -> Option<Duration> {
    match result {
        Ok(Answer { status: 429 | 502 | 503 | 504, retry_after, .. }) => *retry_after,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, retry_after: Option<u64>) -> Result<Answer, Failure> {
        Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), body: Bytes::new() })
    }

    fn decide_first(result: &Result<Answer, Failure>) -> Decision {
        decide(result, 1, &Schedule::default(), 0.0)
    }

    #[test]
    fn only_2xx_is_a_success() {
        for status in 200..300 {
            assert_eq!(decide_first(&answered(status, None)), Decision::Delivered);
        }
        for status in (100..200).chain(300..600).filter(|status| *status != 410) {
            let after = Duration::from_secs(5);
            assert_eq!(decide_first(&answered(status, None)), Decision::Retry { after }, "{status}");
        }
        assert_eq!(decide_first(&answered(410, None)), Decision::Dead(DeadReason::Gone));
    }

    #[test]
    fn failures_are_retried_until_the_end_of_the_schedule() {
        let after = Duration::from_secs(5);
        assert_eq!(decide_first(&Err(Failure::Connect)), Decision::Retry { after });
        let exhausted = decide(&Err(Failure::TimedOut), 10, &Schedule::default(), 0.0);
        assert_eq!(exhausted, Decision::Dead(DeadReason::Exhausted));
    }

    #[test]
    fn busy_receivers_may_ask_for_a_pause() {
        assert_eq!(pause(&answered(429, Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(pause(&answered(503, Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(pause(&answered(500, Some(7))), None);
        assert_eq!(pause(&answered(429, None)), None);
    }
}
