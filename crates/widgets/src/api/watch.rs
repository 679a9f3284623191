//! Whether the store answers: the condition that makes an instance of the API unready, and the log of its errors.

use std::fmt;
use std::time::Duration;

use dynamodb::{StoreError, StoreErrorKind};
use ops::health::{self, Health};
use ops::{Liveness, RateLimitedLog};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::ports::Store;
use crate::registry::{Failure, Registry};
use crate::widget::Serial;

/// How often to read a widget. Requests of clients do not decide whether the instance is ready: one operation may lack a
/// permission, and one client may ask for too much.
const PROBE_TICKS: u32 = 5;
const TICK: Duration = Duration::from_secs(1);
/// Probes in a row without an answer after which an instance is unready. Each consists of several attempts.
const OUTAGE: u32 = 2;

/// Something that makes this instance unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// DynamoDB does not answer, or the table, credentials or permissions are missing.
    Store,
}

impl health::Condition for Condition {
    fn kind(self) -> usize {
        0
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DynamoDB")
    }
}

/// Follows the store by probes of its own.
#[derive(Default)]
pub struct Watch {
    health: Health<Condition>,
    log: RateLimitedLog,
}

impl Watch {
    /// Returns why the instance is unready.
    pub fn reasons(&self) -> Vec<(Condition, String)> {
        self.health.conditions()
    }

    /// Logs the detail of a failure that a client receives as a problem.
    pub(super) fn log(&self, failure: &Failure) {
        if let Some(suppressed) = self.log.due() {
            let kind = error_of(failure).kind.name();
            warn!(error.type = kind, error = %failure, suppressed, "a request failed in DynamoDB");
        }
    }

    /// Reads a widget once in a while, which shows whether the store answers. Runs until it is dropped.
    pub async fn probe<S: Store>(&self, registry: &Registry<S>, liveness: &Liveness) {
        let heartbeat = liveness.begin();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let serial = Serial::try_from("widget-registry probe".to_owned()).expect("it is printable");
        let mut unanswered = 0;
        for tick in 0_u32.. {
            ticks.tick().await;
            heartbeat.beat();
            if tick.is_multiple_of(PROBE_TICKS) {
                let failure = registry.get(&serial).await.err();
                unanswered = self.probed(failure.as_ref().map(error_of), unanswered);
            }
        }
    }

    /// Takes the error of a probe, if it failed, and the number of probes without an answer before it. Returns the new
    /// number.
    fn probed(&self, error: Option<&StoreError>, unanswered: u32) -> u32 {
        use StoreErrorKind::{Clock, Credentials, MissingTable, Permission, Unavailable};
        let (error, unanswered) = match error {
            Some(error) if error.kind == Unavailable => (error, unanswered + 1),
            Some(error) if matches!(error.kind, Clock | Credentials | MissingTable | Permission) => (error, OUTAGE),
            // Other errors, e.g. throttling, are answers.
            _ => {
                self.health.clear(Condition::Store);
                return 0;
            }
        };
        if unanswered >= OUTAGE {
            self.health.raise(Condition::Store, error.kind.name(), &error.detail);
        }
        unanswered
    }
}

fn error_of(failure: &Failure) -> &StoreError {
    match failure {
        Failure::Store(error) | Failure::Unknown(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_instance_is_unready_after_a_missing_permission_or_two_probes_without_an_answer() {
        let watch = Watch::default();
        let mut unanswered = 0;
        let mut is_ready_after = |kind: Option<StoreErrorKind>| {
            let error = kind.map(|kind| StoreError { kind, detail: "why".to_owned() });
            unanswered = watch.probed(error.as_ref(), unanswered);
            watch.reasons().is_empty()
        };
        assert!(is_ready_after(Some(StoreErrorKind::Throttled)));
        assert!(!is_ready_after(Some(StoreErrorKind::Permission)));
        assert!(is_ready_after(None));
        assert!(is_ready_after(Some(StoreErrorKind::Unavailable)));
        assert!(!is_ready_after(Some(StoreErrorKind::Unavailable)));
        assert!(is_ready_after(Some(StoreErrorKind::Throttled)));
        assert!(is_ready_after(Some(StoreErrorKind::Unavailable)));
        assert!(is_ready_after(None));
        assert!(is_ready_after(Some(StoreErrorKind::Unavailable)));
    }
}
