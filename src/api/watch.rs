//! Whether the store answers: the condition that makes an instance of the API unready, and the log of its errors.

use std::fmt;
use std::time::Duration;

use ops::health::{self, Health};
use ops::{Liveness, RateLimitedLog};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::hosts::{Error, ErrorKind, Hosts, Records};
use crate::scan::Key;

/// How often to read a record. Requests of clients do not decide whether the instance is ready: one operation may lack a
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

    /// Logs the detail of an error that a client receives as a problem.
    pub(super) fn log(&self, error: &Error) {
        if let Some(suppressed) = self.log.due() {
            warn!(error.type = error.kind.name(), %error, suppressed, "a request failed in DynamoDB");
        }
    }

    /// Reads a record once in a while, which shows whether the store answers. Runs until it is dropped.
    pub async fn probe<R: Records>(&self, hosts: &Hosts<R>, liveness: &Liveness) {
        let heartbeat = liveness.begin();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // An address for documentation, of which no scan exists.
        let key = Key::new([192, 0, 2, 0].into(), 0, "mini-scan probe");
        let mut unanswered = 0;
        for tick in 0_u32.. {
            ticks.tick().await;
            heartbeat.beat();
            if tick.is_multiple_of(PROBE_TICKS) {
                unanswered = self.probed(hosts.record(&key).await.err(), unanswered);
            }
        }
    }

    /// Takes the failure of a probe, if it failed, and the number of probes without an answer before it. Returns the new
    /// number.
    fn probed(&self, failure: Option<Error>, unanswered: u32) -> u32 {
        let (error, unanswered) = match failure {
            Some(error) if error.kind == ErrorKind::Unavailable => (error, unanswered + 1),
            Some(error) if matches!(error.kind, ErrorKind::NotAuthorized | ErrorKind::MissingTable) => (error, OUTAGE),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_instance_is_unready_after_a_missing_permission_or_two_probes_without_an_answer() {
        let watch = Watch::default();
        let mut unanswered = 0;
        let mut is_ready_after = |kind: Option<ErrorKind>| {
            unanswered = watch.probed(kind.map(|kind| Error { kind, detail: "why".to_owned() }), unanswered);
            watch.reasons().is_empty()
        };
        assert!(is_ready_after(Some(ErrorKind::Throttled)));
        assert!(!is_ready_after(Some(ErrorKind::NotAuthorized)));
        assert!(is_ready_after(None));
        assert!(is_ready_after(Some(ErrorKind::Unavailable)));
        assert!(!is_ready_after(Some(ErrorKind::Unavailable)));
        assert!(is_ready_after(Some(ErrorKind::Throttled)));
        assert!(is_ready_after(Some(ErrorKind::Unavailable)));
        assert!(is_ready_after(None));
        assert!(is_ready_after(Some(ErrorKind::Unavailable)));
    }
}
