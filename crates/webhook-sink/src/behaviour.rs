//! How the sink answers.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::Instant;

/// What the sink does with webhooks that it does not reject.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Behaviour {
    /// The status of an answer.
    pub status: StatusCode,
    /// How long it answers 503, from the first webhook on.
    pub fail_for: Duration,
    /// The share of answers that are 503.
    pub fail_share: f64,
    /// Never answers.
    pub hang: bool,
}

/// What happens to one webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    Answer(StatusCode),
    Hang,
}

impl Reaction {
    /// Whether the sender may forget the webhook.
    pub(super) fn is_accepted(self) -> bool {
        matches!(self, Reaction::Answer(status) if status.is_success())
    }
}

/// The behaviour, with the time of the first webhook.
#[derive(Debug)]
pub(super) struct Plan {
    behaviour: Behaviour,
    first: OnceLock<Instant>,
}

impl Plan {
    pub(super) fn new(behaviour: Behaviour) -> Plan {
        Plan { behaviour, first: OnceLock::new() }
    }

    /// Decides about a webhook. `random` is between 0 and 1.
    pub(super) fn next(&self, now: Instant, random: f64) -> Reaction {
        let Behaviour { status, fail_for, fail_share, hang } = self.behaviour;
        let first = *self.first.get_or_init(|| now);
        if hang {
            Reaction::Hang
        } else if now.duration_since(first) < fail_for || random < fail_share {
            Reaction::Answer(StatusCode::SERVICE_UNAVAILABLE)
        } else {
            Reaction::Answer(status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: Behaviour =
        Behaviour { status: StatusCode::NO_CONTENT, fail_for: Duration::ZERO, fail_share: 0.0, hang: false };
    const FAILED: Reaction = Reaction::Answer(StatusCode::SERVICE_UNAVAILABLE);
    const ACCEPTED: Reaction = Reaction::Answer(StatusCode::NO_CONTENT);

    #[test]
    fn the_time_of_failures_begins_with_the_first_webhook() {
        let plan = Plan::new(Behaviour { fail_for: Duration::from_secs(2), ..HEALTHY });
        let first = Instant::now() + Duration::from_secs(60);
        assert_eq!(plan.next(first, 1.0), FAILED);
        assert_eq!(plan.next(first + Duration::from_millis(1999), 1.0), FAILED);
        assert_eq!(plan.next(first + Duration::from_secs(2), 1.0), ACCEPTED);
    }

    #[test]
    fn a_share_of_the_answers_fails() {
        let plan = Plan::new(Behaviour { fail_share: 0.25, ..HEALTHY });
        assert_eq!(plan.next(Instant::now(), 0.24), FAILED);
        assert_eq!(plan.next(Instant::now(), 0.25), ACCEPTED);
    }

    #[test]
    fn a_hanging_sink_accepts_nothing() {
        let plan = Plan::new(Behaviour { hang: true, ..HEALTHY });
        assert_eq!(plan.next(Instant::now(), 1.0), Reaction::Hang);
        assert!(!Reaction::Hang.is_accepted() && !FAILED.is_accepted() && ACCEPTED.is_accepted());
    }
}
