//! The metrics and logs of the engine of webhooks.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ops::RateLimitedLog;
use ops::metrics::{Counter, Exposition, Histogram, Metric};
use tracing::{error, info, warn};
use webhooks::{Answer, DeadReason, Deferred, DisabledReason, EndpointId, LastAttempt, Report};

use super::{BOUNDS, locked};

const ATTEMPTS: Metric = Metric::counter(
    "event_pipeline_delivery_attempts_total",
    &["result"],
    "Attempts to deliver an event to a target, by their result.",
);
const ATTEMPT_SECONDS: Metric =
    Metric::histogram("event_pipeline_delivery_attempt_seconds", &[], "Duration of an attempt that succeeded.");
const DEFERRED: Metric = Metric::counter(
    "event_pipeline_deliveries_deferred_total",
    &["reason"],
    "Deliveries that were stored without the result of an attempt.",
);
const DEAD: Metric = Metric::counter(
    "event_pipeline_deliveries_dead_total",
    &["reason"],
    "Deliveries that were given up, by the reason.",
);
const OPEN_CIRCUITS: Metric =
    Metric::gauge("event_pipeline_delivery_open_circuits", "Targets whose circuit is open on this instance.");
const BACKLOGS: Metric =
    Metric::gauge("event_pipeline_delivery_backlogs", "Targets with deliveries that wait in the table.");
const STORE_ERRORS: Metric = Metric::counter(
    "event_pipeline_delivery_store_errors_total",
    &[],
    "Failed calls of the tables of deliveries and routes, and of the dead-letter queue.",
);

/// The result of an attempt that succeeded.
const DELIVERED: &str = "delivered";
/// How much of an answer is logged.
const LOGGED_BYTES: usize = 200;

type Counts = Mutex<BTreeMap<&'static str, u64>>;

/// Counts the reports of the engine, and logs what an operator may want to know.
#[derive(Debug)]
pub(super) struct EngineMetrics {
    attempts: Counts,
    attempt_seconds: Histogram,
    deferred: Counts,
    dead: Counts,
    open: Mutex<HashSet<EndpointId>>,
    backlogs: AtomicU64,
    store_errors: Counter,
    failed: RateLimitedLog,
    gave_up: RateLimitedLog,
    opened: RateLimitedLog,
    recovered: RateLimitedLog,
    store: RateLimitedLog,
}

impl Default for EngineMetrics {
    fn default() -> EngineMetrics {
        EngineMetrics {
            attempts: zeros(LastAttempt::NAMES.into_iter().chain([DELIVERED])),
            attempt_seconds: Histogram::new(&BOUNDS),
            deferred: zeros(Deferred::ALL.into_iter().map(Deferred::as_str)),
            dead: zeros(DeadReason::ALL.into_iter().map(DeadReason::as_str)),
            open: Mutex::default(),
            backlogs: AtomicU64::new(0),
            store_errors: Counter::default(),
            failed: RateLimitedLog::default(),
            gave_up: RateLimitedLog::default(),
            opened: RateLimitedLog::default(),
            recovered: RateLimitedLog::default(),
            store: RateLimitedLog::default(),
        }
    }
}

impl EngineMetrics {
    pub(super) fn write(&self, text: &mut Exposition) {
        let by_label = [
            (&ATTEMPTS, "result", &self.attempts),
            (&DEFERRED, "reason", &self.deferred),
            (&DEAD, "reason", &self.dead),
        ];
        for (metric, label, counts) in by_label {
            text.begin(metric);
            for (value, count) in &*locked(counts) {
                text.count(&[(label, value)], *count);
            }
        }
        text.begin(&ATTEMPT_SECONDS);
        text.histogram(&[], &self.attempt_seconds);
        let values = [
            (&OPEN_CIRCUITS, locked(&self.open).len() as u64),
            (&BACKLOGS, self.backlogs.load(Ordering::Relaxed)),
            (&STORE_ERRORS, self.store_errors.get()),
        ];
        for (metric, value) in values {
            text.begin(metric);
            text.count(&[], value);
        }
    }

    pub(super) fn report(&self, report: &Report<'_>) {
        match report {
            Report::Delivered { took, .. } => self.delivered(*took),
            Report::AttemptFailed { endpoint, id, attempts, attempt } => {
                self.attempt_failed(endpoint, id.as_str(), *attempts, attempt);
            }
            Report::Deferred { reason, .. } => count(&self.deferred, reason.as_str()),
            Report::Dead { endpoint, id, reason } => {
                count(&self.dead, reason.as_str());
                if let Some(suppressed) = self.gave_up.due() {
                    let (endpoint, id, reason) = (endpoint.as_str(), id.as_str(), reason.as_str());
                    warn!(endpoint, id, reason, suppressed, "gave up a delivery; its dead letter is sent");
                }
            }
            Report::CircuitOpened { endpoint } => {
                locked(&self.open).insert((*endpoint).clone());
                if let Some(suppressed) = self.opened.due() {
                    warn!(endpoint = endpoint.as_str(), suppressed, "a target fails; its deliveries are stored");
                }
            }
            Report::Recovered { endpoint } => {
                locked(&self.open).remove(endpoint);
                if let Some(suppressed) = self.recovered.due() {
                    info!(endpoint = endpoint.as_str(), suppressed, "a target recovered");
                }
            }
            Report::Disabled { endpoint, reason } => self.disabled(endpoint, *reason),
            Report::StoreFailed { error } => {
                self.store_errors.add_one();
                if let Some(suppressed) = self.store.due() {
                    warn!(%error, suppressed, "a call of a store of deliveries failed; it is repeated");
                }
            }
            Report::Backlogs { endpoints } => self.backlogs.store(*endpoints as u64, Ordering::Relaxed),
            _ => {}
        }
    }

    fn delivered(&self, took: Duration) {
        count(&self.attempts, DELIVERED);
        self.attempt_seconds.add(took);
    }

    fn attempt_failed(&self, endpoint: &EndpointId, id: &str, attempts: u32, attempt: &LastAttempt) {
        count(&self.attempts, attempt.name());
        let Some(suppressed) = self.failed.due() else { return };
        let endpoint = endpoint.as_str();
        match &attempt.result {
            Ok(Answer { status, body, .. }) => {
                let answer = body[..body.len().min(LOGGED_BYTES)].escape_ascii().to_string();
                warn!(endpoint, id, attempts, status, answer, suppressed, "an attempt failed");
            }
            Err(error) => warn!(endpoint, id, attempts, %error, suppressed, "an attempt failed"),
        }
    }

    fn disabled(&self, endpoint: &EndpointId, reason: DisabledReason) {
        locked(&self.open).remove(endpoint);
        error!(
            endpoint = endpoint.as_str(),
            why = reason.why(),
            "disabled a target; ask its owner, then run `event-pipeline routes add` and `event-pipeline dlq redrive`"
        );
    }
}

/// A counter that begins at 1 has no increase, so each value is shown from the start.
fn zeros(names: impl IntoIterator<Item = &'static str>) -> Counts {
    Mutex::new(names.into_iter().map(|name| (name, 0)).collect())
}

fn count(counts: &Counts, name: &'static str) {
    *locked(counts).entry(name).or_default() += 1;
}
