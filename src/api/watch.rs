//! Whether the store answers: the condition that makes an instance of the API unready, and the log of its errors.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ops::health::{self, Health};
use ops::{Liveness, RateLimitedLog};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{Span, warn};

use crate::hosts::{Error, ErrorKind, Hosts, Observer, Operation, Records};
use crate::scan::Key;

/// Calls in a row without an answer after which an instance is unready. A single one is no outage.
const OUTAGE: u32 = 8;
/// How often to read while the instance is unready. Nobody sends requests to it then, so nothing else would show a recovery.
const PROBE_TICKS: u32 = 10;
const TICK: Duration = Duration::from_secs(1);

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

/// Follows the calls of the store, and passes them on to the metrics.
pub struct Watch {
    health: Health<Condition>,
    unanswered: AtomicU32,
    log: RateLimitedLog,
    metrics: Arc<dyn Observer>,
}

impl Watch {
    pub fn new(metrics: Arc<dyn Observer>) -> Watch {
        Watch { health: Health::default(), unanswered: AtomicU32::new(0), log: RateLimitedLog::default(), metrics }
    }

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

    /// Reads once in a while as long as the instance is unready. Runs until it is dropped.
    pub async fn probe<R: Records>(&self, hosts: &Hosts<R>, liveness: &Liveness) {
        let heartbeat = liveness.begin();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // An address for documentation, of which no scan exists.
        let key = Key::new([192, 0, 2, 0].into(), 0, "mini-scan probe");
        for tick in 1_u32.. {
            ticks.tick().await;
            heartbeat.beat();
            if tick.is_multiple_of(PROBE_TICKS) && !self.reasons().is_empty() {
                // `called` records the result.
                let _ = hosts.record(&key).await;
            }
        }
    }
}

impl Observer for Watch {
    fn calling(&self, operation: Operation) -> Span {
        self.metrics.calling(operation)
    }

    fn called(&self, call: &Span, operation: Operation, took: Duration, failure: Option<&Error>) {
        self.metrics.called(call, operation, took, failure);
        let Some(error) = failure else {
            self.unanswered.store(0, Ordering::Relaxed);
            return self.health.clear(Condition::Store);
        };
        let is_outage = match error.kind {
            ErrorKind::NotAuthorized | ErrorKind::MissingTable => true,
            ErrorKind::Unavailable => self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= OUTAGE,
            // These are answers.
            ErrorKind::Throttled | ErrorKind::MissingIndex(_) | ErrorKind::UnfinishedIndex(_) | ErrorKind::Refused => {
                return;
            }
        };
        if is_outage {
            self.health.raise(Condition::Store, error.kind.name(), &error.detail);
        }
    }

    fn read_units(&self, units: f64) {
        self.metrics.read_units(units);
    }

    fn unprocessed(&self) {
        self.metrics.unprocessed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ignored;

    impl Observer for Ignored {
        fn called(&self, _: &Span, _: Operation, _: Duration, _: Option<&Error>) {}
        fn read_units(&self, _: f64) {}
        fn unprocessed(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_is_unready_after_a_missing_permission_or_eight_calls_without_an_answer() {
        let watch = Watch::new(Arc::new(Ignored));
        let call = |kind: Option<ErrorKind>| {
            let error = kind.map(|kind| Error { kind, detail: "why".to_owned() });
            watch.called(&Span::none(), Operation::GetItem, Duration::ZERO, error.as_ref());
            watch.reasons().is_empty()
        };
        assert!(call(Some(ErrorKind::Throttled)));
        assert!(!call(Some(ErrorKind::NotAuthorized)));
        assert!(call(None));
        for _ in 1..OUTAGE {
            assert!(call(Some(ErrorKind::Unavailable)));
        }
        assert!(!call(Some(ErrorKind::Unavailable)));
        assert!(call(None));
        assert!(call(Some(ErrorKind::Unavailable)));
    }
}
