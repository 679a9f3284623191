//! The metrics and logs of webhooks. `docs/metrics.md` describes the metrics for people. Nothing here shows a URL or a secret.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ops::RateLimitedLog;
use ops::metrics::{Counter, Exposition, Histogram, Metric};
use tracing::{error, info, warn};
use webhooks::{Answer, DeadReason, Deferred, DisabledReason, EndpointId, LastAttempt, Report};

use super::changes::{locked, now};
use crate::subscriptions::Counts;
use crate::subscriptions::ports::Observer;

const ATTEMPTS: Metric =
    Metric::counter("mini_scan_webhook_attempts_total", &["result"], "Attempts to deliver, by their result.");
const ATTEMPT_SECONDS: Metric =
    Metric::histogram("mini_scan_webhook_attempt_seconds", &[], "Duration of an attempt that succeeded.");
const RECEIPT_SECONDS: Metric = Metric::histogram(
    "mini_scan_webhook_receipt_seconds",
    &[],
    "Time from reading the record of a change until its first attempt succeeded.",
);
const DEFERRED: Metric = Metric::counter(
    "mini_scan_webhook_deferred_total",
    &["reason"],
    "Deliveries that were stored without the result of an attempt.",
);
const DEAD: Metric =
    Metric::counter("mini_scan_webhook_dead_total", &["reason"], "Deliveries that were given up, by the reason.");
const OPEN_CIRCUITS: Metric =
    Metric::gauge("mini_scan_webhook_open_circuits", "Active endpoints whose circuit is open on this instance.");
const ENDPOINTS: Metric =
    Metric { labels: &["status"], ..Metric::gauge("mini_scan_webhook_endpoints", "Subscriptions by their status.") };
const DISABLED: Metric = Metric::gauge("mini_scan_webhook_disabled_endpoints", "Disabled subscriptions.");
const UNUSABLE: Metric = Metric {
    labels: &["reason"],
    ..Metric::gauge("mini_scan_webhook_unusable_endpoints", "Subscriptions that this instance cannot use.")
};
const BACKLOGS: Metric =
    Metric::gauge("mini_scan_webhook_backlog_endpoints", "Endpoints with deliveries that wait in the table.");
const OLDEST_DUE: Metric = Metric::gauge(
    "mini_scan_webhook_oldest_due_seconds",
    "For how long the longest waiting delivery to an active endpoint with a closed circuit has been due.",
);
const STORE_ERRORS: Metric =
    Metric::counter("mini_scan_webhook_store_errors_total", &[], "Failed calls of the tables of webhooks.");
const LOG_DROPPED: Metric = Metric::counter(
    "mini_scan_webhook_log_dropped_total",
    &[],
    "Successful deliveries that are missing in the log of --log-deliveries.",
);

/// The objective of receipt needs the bound of 5 s.
const BOUNDS: [Duration; 13] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(30),
    Duration::from_millis(50),
    Duration::from_millis(75),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
];
/// The result of an attempt that succeeded.
const DELIVERED: &str = "delivered";
/// How much of an answer is logged.
const LOGGED_BYTES: usize = 200;

/// Counts what becomes of webhooks, and logs what an operator may want to know. Any thread updates it.
#[derive(Debug)]
pub struct WebhookMetrics {
    attempts: Mutex<BTreeMap<&'static str, u64>>,
    attempt_seconds: Histogram,
    receipt_seconds: Histogram,
    deferred: Mutex<BTreeMap<&'static str, u64>>,
    dead: Mutex<BTreeMap<&'static str, u64>>,
    open: Mutex<HashSet<EndpointId>>,
    counts: Mutex<Counts>,
    backlogs: AtomicU64,
    oldest_due: Mutex<Option<SystemTime>>,
    store_errors: Counter,
    log_dropped: Counter,
    logs: WebhookLogs,
}

#[derive(Debug, Default)]
struct WebhookLogs {
    failed: RateLimitedLog,
    dead: RateLimitedLog,
    opened: RateLimitedLog,
    recovered: RateLimitedLog,
    store: RateLimitedLog,
    dropped: RateLimitedLog,
}

impl Default for WebhookMetrics {
    fn default() -> WebhookMetrics {
        WebhookMetrics {
            attempts: zeros(LastAttempt::NAMES.into_iter().chain([DELIVERED])),
            attempt_seconds: Histogram::new(&BOUNDS),
            receipt_seconds: Histogram::new(&BOUNDS),
            deferred: zeros(Deferred::ALL.into_iter().map(Deferred::as_str)),
            dead: zeros(DeadReason::ALL.into_iter().map(DeadReason::as_str)),
            open: Mutex::default(),
            counts: Mutex::default(),
            backlogs: AtomicU64::new(0),
            oldest_due: Mutex::default(),
            store_errors: Counter::default(),
            log_dropped: Counter::default(),
            logs: WebhookLogs::default(),
        }
    }
}

impl WebhookMetrics {
    /// Adds the metrics to a page.
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
        for (metric, histogram) in
            [(&ATTEMPT_SECONDS, &self.attempt_seconds), (&RECEIPT_SECONDS, &self.receipt_seconds)]
        {
            text.begin(metric);
            text.histogram(&[], histogram);
        }
        let Counts { active, paused, disabled, unreadable, unopened } = *locked(&self.counts);
        text.begin(&ENDPOINTS);
        for (status, count) in [("active", active), ("disabled", disabled), ("paused", paused)] {
            text.count(&[("status", status)], count as u64);
        }
        text.begin(&UNUSABLE);
        for (reason, count) in [("secret", unopened), ("unreadable", unreadable)] {
            text.count(&[("reason", reason)], count as u64);
        }
        let oldest_due = *locked(&self.oldest_due);
        let values = [
            (&OPEN_CIRCUITS, locked(&self.open).len() as u64),
            (&DISABLED, disabled as u64),
            (&BACKLOGS, self.backlogs.load(Ordering::Relaxed)),
            (&OLDEST_DUE, oldest_due.and_then(|due| now().duration_since(due).ok()).unwrap_or_default().as_secs()),
            (&STORE_ERRORS, self.store_errors.get()),
            (&LOG_DROPPED, self.log_dropped.get()),
        ];
        for (metric, value) in values {
            text.begin(metric);
            text.count(&[], value);
        }
    }

    fn attempt_failed(&self, endpoint: &EndpointId, id: &str, attempts: u32, attempt: &LastAttempt) {
        count(&self.attempts, attempt.name());
        let Some(suppressed) = self.logs.failed.due() else { return };
        match &attempt.result {
            Ok(Answer { status, body, .. }) => {
                let answer = body[..body.len().min(LOGGED_BYTES)].escape_ascii().to_string();
                warn!(endpoint = endpoint.as_str(), id, attempts, status, answer, suppressed, "a webhook failed");
            }
            Err(error) => {
                warn!(endpoint = endpoint.as_str(), id, attempts, %error, suppressed, "a webhook failed");
            }
        }
    }

    fn disabled(&self, endpoint: &EndpointId, reason: DisabledReason) {
        locked(&self.open).remove(endpoint);
        error!(
            endpoint = endpoint.as_str(),
            why = reason.why(),
            "disabled a webhook; ask its owner, then run `mini-scan webhooks resume` and `mini-scan webhooks replay`"
        );
    }
}

impl webhooks::Observer for WebhookMetrics {
    fn report(&self, report: &Report<'_>) {
        match report {
            Report::Delivered { took, .. } => {
                count(&self.attempts, DELIVERED);
                self.attempt_seconds.add(*took);
            }
            Report::AttemptFailed { endpoint, id, attempts, attempt } => {
                self.attempt_failed(endpoint, id.as_str(), *attempts, attempt);
            }
            Report::Deferred { reason, .. } => count(&self.deferred, reason.as_str()),
            Report::Dead { endpoint, id, reason } => {
                count(&self.dead, reason.as_str());
                let (endpoint, id, reason) = (endpoint.as_str(), id.as_str(), reason.as_str());
                // The others are of a subscription that its owner removed or disabled.
                if [DeadReason::Exhausted.as_str(), DeadReason::Gone.as_str()].contains(&reason)
                    && let Some(suppressed) = self.logs.dead.due()
                {
                    warn!(endpoint, id, reason, suppressed, "gave up a webhook; it is dead");
                }
            }
            Report::CircuitOpened { endpoint } => {
                locked(&self.open).insert((*endpoint).clone());
                if let Some(suppressed) = self.logs.opened.due() {
                    warn!(endpoint = endpoint.as_str(), suppressed, "an endpoint fails; its webhooks are stored");
                }
            }
            Report::Recovered { endpoint } => {
                locked(&self.open).remove(endpoint);
                if let Some(suppressed) = self.logs.recovered.due() {
                    info!(endpoint = endpoint.as_str(), suppressed, "an endpoint recovered");
                }
            }
            Report::Disabled { endpoint, reason } => self.disabled(endpoint, *reason),
            Report::StoreFailed { error } => {
                self.store_errors.add_one();
                if let Some(suppressed) = self.logs.store.due() {
                    warn!(%error, suppressed, "a call of a table of webhooks failed; it is repeated");
                }
            }
            Report::Backlogs { endpoints } => self.backlogs.store(*endpoints as u64, Ordering::Relaxed),
            _ => {}
        }
    }
}

impl Observer for WebhookMetrics {
    fn received(&self, after: Duration) {
        self.receipt_seconds.add(after);
    }

    fn reloaded(&self, counts: Counts, is_active: &dyn Fn(&EndpointId) -> bool) {
        *locked(&self.counts) = counts;
        locked(&self.open).retain(is_active);
    }

    fn oldest_due(&self, due: Option<SystemTime>) {
        *locked(&self.oldest_due) = due;
    }

    fn has_open_circuit(&self, endpoint: &EndpointId) -> bool {
        locked(&self.open).contains(endpoint)
    }

    fn log_dropped(&self) {
        self.log_dropped.add_one();
        if let Some(suppressed) = self.logs.dropped.due() {
            warn!(suppressed, "the log of deliveries is incomplete, because its table is slow or away");
        }
    }
}

/// A counter that begins at 1 has no increase, so each value is shown from the start.
fn zeros(names: impl IntoIterator<Item = &'static str>) -> Mutex<BTreeMap<&'static str, u64>> {
    Mutex::new(names.into_iter().map(|name| (name, 0)).collect())
}

fn count(counts: &Mutex<BTreeMap<&'static str, u64>>, name: &'static str) {
    *locked(counts).entry(name).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use webhooks::{Failure, Observer as _, Origin, WebhookId};

    use super::*;

    const ALL: [Metric; 13] = [
        ATTEMPTS,
        ATTEMPT_SECONDS,
        RECEIPT_SECONDS,
        DEFERRED,
        DEAD,
        OPEN_CIRCUITS,
        ENDPOINTS,
        DISABLED,
        UNUSABLE,
        BACKLOGS,
        OLDEST_DUE,
        STORE_ERRORS,
        LOG_DROPPED,
    ];

    fn id(name: &str) -> EndpointId {
        EndpointId::parse(name).unwrap()
    }

    fn page(metrics: &WebhookMetrics) -> String {
        let mut text = Exposition::default();
        metrics.write(&mut text);
        text.finish()
    }

    #[test]
    fn the_documentation_lists_exactly_the_metrics_of_webhooks() {
        let (_, page) = include_str!("../../docs/metrics.md").split_once("## Webhooks").expect("a section");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `mini_scan_webhook_"));
        let documented: Vec<_> = rows.map(|row| row.split_once('`').unwrap().0.to_owned()).collect();
        assert_eq!(documented, ALL.map(|metric| metric.name.trim_start_matches("mini_scan_webhook_").to_owned()));
    }

    #[test]
    fn no_label_names_an_endpoint() {
        assert!(ALL.iter().flat_map(|it| it.labels).all(|label| ["reason", "result", "status"].contains(label)));
    }

    #[test]
    fn reports_are_counted_by_their_kind() {
        let metrics = WebhookMetrics::default();
        let (endpoint, other) = (id("wh_1"), id("wh_2"));
        let webhook = WebhookId::of(&[b"scan"], &endpoint);
        let answer = Answer { status: 503, retry_after: None, body: Bytes::from_static(b"\x1b[2J") };
        for result in [Ok(answer), Err(Failure::TimedOut)] {
            let attempt = LastAttempt { at: SystemTime::UNIX_EPOCH, result };
            metrics.report(&Report::AttemptFailed {
                endpoint: &endpoint,
                id: &webhook,
                attempts: 1,
                attempt: &attempt,
            });
        }
        let took = Duration::from_millis(7);
        let origin = &Origin::default();
        metrics.report(&Report::Delivered { endpoint: &endpoint, id: &webhook, origin, attempts: 3, took });
        metrics.report(&Report::Deferred { endpoint: &endpoint, id: &webhook, reason: Deferred::Stalled });
        metrics.report(&Report::Dead { endpoint: &endpoint, id: &webhook, reason: DeadReason::Exhausted });
        metrics.report(&Report::Backlogs { endpoints: 4 });
        metrics.report(&Report::CircuitOpened { endpoint: &endpoint });
        metrics.report(&Report::CircuitOpened { endpoint: &other });
        metrics.reloaded(Counts { active: 1, disabled: 2, ..Counts::default() }, &|endpoint| *endpoint == other);
        let page = page(&metrics);
        for line in [
            "mini_scan_webhook_attempts_total{result=\"delivered\"} 1",
            "mini_scan_webhook_attempts_total{result=\"status_5xx\"} 1",
            "mini_scan_webhook_attempts_total{result=\"timeout\"} 1",
            "mini_scan_webhook_attempt_seconds_bucket{le=\"0.01\"} 1",
            "mini_scan_webhook_deferred_total{reason=\"stalled\"} 1",
            "mini_scan_webhook_deferred_total{reason=\"overloaded\"} 0",
            "mini_scan_webhook_dead_total{reason=\"exhausted\"} 1",
            "mini_scan_webhook_dead_total{reason=\"gone\"} 0",
            "mini_scan_webhook_backlog_endpoints 4",
            "mini_scan_webhook_open_circuits 1",
            "mini_scan_webhook_endpoints{status=\"active\"} 1",
            "mini_scan_webhook_disabled_endpoints 2",
            "mini_scan_webhook_oldest_due_seconds 0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in:\n{page}");
        }
        assert!(metrics.has_open_circuit(&other) && !metrics.has_open_circuit(&endpoint));
        metrics.report(&Report::Recovered { endpoint: &other });
        assert!(self::page(&metrics).contains("mini_scan_webhook_open_circuits 0"));
    }
}
