//! Whether the store of an API answers: the condition that makes an instance unready, and the log of its errors.

use std::fmt;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::health::{self, Health};
use crate::{Liveness, RateLimitedLog};

/// How often to probe. Requests of clients do not decide whether the instance is ready: one operation may lack a
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

/// What a read of the store has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It answers. Some errors, e.g. throttling, are answers too.
    Answered,
    /// It does not answer.
    Unanswered { kind: &'static str, detail: String },
    /// It cannot be used until a person changes something, e.g. a permission.
    Unusable { kind: &'static str, detail: String },
}

/// Follows the store by probes of its own.
#[derive(Default)]
pub struct StoreWatch {
    health: Health<Condition>,
    log: RateLimitedLog,
}

impl StoreWatch {
    /// Returns why the instance is unready.
    pub fn reasons(&self) -> Vec<(Condition, String)> {
        self.health.conditions()
    }

    /// Logs the detail of an error that a client receives as a problem.
    pub fn log(&self, kind: &'static str, error: &dyn fmt::Display) {
        if let Some(suppressed) = self.log.due() {
            warn!(error.type = kind, %error, suppressed, "a request failed in DynamoDB");
        }
    }

    /// Probes the store once in a while. Runs until it is dropped.
    pub async fn follow(&self, liveness: &Liveness, probe: impl AsyncFn() -> Probe) {
        let heartbeat = liveness.begin();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = 0;
        for tick in 0_u32.. {
            ticks.tick().await;
            heartbeat.beat();
            if tick.is_multiple_of(PROBE_TICKS) {
                unanswered = self.probed(probe().await, unanswered);
            }
        }
    }

    /// Takes what a probe has shown, and the number of probes without an answer before it. Returns the new number.
    fn probed(&self, probe: Probe, unanswered: u32) -> u32 {
        let (kind, detail, unanswered) = match probe {
            Probe::Answered => {
                self.health.clear(Condition::Store);
                return 0;
            }
            Probe::Unanswered { kind, detail } => (kind, detail, unanswered + 1),
            Probe::Unusable { kind, detail } => (kind, detail, OUTAGE),
        };
        if unanswered >= OUTAGE {
            self.health.raise(Condition::Store, kind, &detail);
        }
        unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_instance_is_unready_without_a_permission_or_after_two_probes_without_an_answer() {
        let watch = StoreWatch::default();
        let mut unanswered = 0;
        let mut is_ready_after = |probe: Probe| {
            unanswered = watch.probed(probe, unanswered);
            watch.reasons().is_empty()
        };
        let (kind, detail) = ("kind", "why".to_owned());
        let silence = || Probe::Unanswered { kind, detail: detail.clone() };
        assert!(is_ready_after(Probe::Answered));
        assert!(!is_ready_after(Probe::Unusable { kind, detail: detail.clone() }));
        assert!(is_ready_after(Probe::Answered));
        assert!(is_ready_after(silence()));
        assert!(!is_ready_after(silence()));
        assert!(is_ready_after(Probe::Answered));
        assert!(is_ready_after(silence()));
        assert!(is_ready_after(Probe::Answered));
        assert!(is_ready_after(silence()));
    }
}
