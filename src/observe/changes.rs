//! The metrics of the reader of changes: records, lag, leases, gaps and calls of the history. `docs/history.md` describes
//! them for people.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dynamodb_streams::{Report, ShardId};
use ops::Liveness;
use ops::http::{Instance, Unready};
use ops::metrics::{Counter, Exposition, Histogram, Metric, process};
use tokio::time::Instant;

use super::api::add;
use super::names::{BUILD_INFO, READY};
use super::{PROGRAM, REVISION, WebhookMetrics};
use crate::changes::Watch;
use crate::changes::ports::{Handled, Observer};
use crate::consumer::ports::StoreError;

const RECORDS: Metric =
    Metric::counter("mini_scan_changes_records_total", &["result"], "Records of the stream by what became of them.");
const LAG: Metric = Metric {
    labels: &["shard"],
    ..Metric::gauge(
        "mini_scan_changes_lag_seconds",
        "Age of the oldest change that is not recorded, per owned shard and per unreadable shard without owner.",
    )
};
const MAX_LAG: Metric = Metric::gauge("mini_scan_changes_lag_max_seconds", "The largest lag of a shard.");
const LEASES: Metric = Metric {
    labels: &["state"],
    ..Metric::gauge("mini_scan_changes_leases", "Leases of the stream's shards, as this instance last saw them.")
};
const LEASE_EVENTS: Metric = Metric::counter(
    "mini_scan_changes_lease_events_total",
    &["event"],
    "Leases that this instance took, lost or gave.",
);
const GAPS: Metric = Metric::counter(
    "mini_scan_changes_gaps_total",
    &[],
    "Gaps: changes that the stream deleted before they were read.",
);
const OPEN_GAPS: Metric =
    Metric::gauge("mini_scan_changes_open_gaps", "Gaps in the history table that are not repaired.");
const RETRIES: Metric =
    Metric::counter("mini_scan_changes_retries_total", &[], "Attempts to handle a record that failed.");
const STREAM_ENABLED: Metric = Metric::gauge("mini_scan_changes_stream_enabled", "0 once the stream is disabled.");
const MASKS: Metric = Metric {
    labels: &["masks"],
    ..Metric::gauge("mini_scan_changes_masks_info", "Always 1. The label is the id of the masks.")
};
const CALLS: Metric = Metric::histogram(
    "db_client_operation_duration_seconds",
    &["db_operation_name", "error_type"],
    "Duration of one call of the history table. A failed condition is not a failure.",
);

/// Operation and error.
type Call = (&'static str, Option<&'static str>);

/// The counters of the reader. Any thread updates them.
#[derive(Debug, Default)]
pub struct ChangesMetrics {
    records: Mutex<BTreeMap<Handled, u64>>,
    shards: Mutex<BTreeMap<ShardId, Progress>>,
    leases: Mutex<BTreeMap<&'static str, usize>>,
    lease_events: Mutex<BTreeMap<&'static str, u64>>,
    gaps: Counter,
    open_gaps: AtomicU64,
    retries: Counter,
    is_disabled: AtomicBool,
    calls: Mutex<BTreeMap<Call, Arc<Histogram>>>,
}

/// How far a shard is read.
#[derive(Debug)]
struct Progress {
    /// When its session began.
    began: Instant,
    /// When everything that the shard had was recorded.
    caught_up: Option<Instant>,
    /// When the oldest change was made that may not be recorded.
    unrecorded: Option<SystemTime>,
    is_session_ended: bool,
}

impl Progress {
    /// Returns the age of the oldest change that may not be recorded. It grows also while nothing can be read.
    fn lag(&self, now: SystemTime) -> Duration {
        let since_caught_up = self.caught_up.unwrap_or(self.began).elapsed();
        match (self.unrecorded.map(|time| now.duration_since(time).unwrap_or_default()), self.caught_up) {
            (Some(age), Some(_)) => age.min(since_caught_up),
            (Some(age), None) => age,
            (None, _) => since_caught_up,
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChangesMetrics {
    pub fn set_open_gaps(&self, gaps: u64) {
        self.open_gaps.store(gaps, Ordering::Relaxed);
    }

    /// Returns how many records were handled.
    pub fn handled(&self) -> u64 {
        locked(&self.records).values().sum()
    }

    fn report(&self, report: &Report<'_>) {
        match report {
            Report::ShardProgress { shard, last_read_created, oldest_unfinished, caught_up, .. } => {
                let mut shards = locked(&self.shards);
                let progress = shards.entry((*shard).clone()).or_insert_with(|| Progress {
                    began: Instant::now(),
                    caught_up: None,
                    unrecorded: None,
                    is_session_ended: false,
                });
                // Nobody read the shard between the two sessions, so the lag goes on.
                if take(&mut progress.is_session_ended) {
                    progress.began = progress.caught_up.unwrap_or(progress.began);
                }
                progress.unrecorded = oldest_unfinished.or(*last_read_created);
                progress.caught_up = *caught_up;
            }
            Report::SessionEnded { shard } => {
                locked(&self.shards).entry((*shard).clone()).and_modify(|progress| progress.is_session_ended = true);
            }
            Report::Leases { unfinished, finished, owned, unowned, waiting } => {
                let states = [
                    ("finished", *finished),
                    ("owned", *owned),
                    ("unfinished", *unfinished),
                    ("unowned", *unowned),
                    ("waiting", *waiting),
                ];
                *locked(&self.leases) = states.into();
            }
            Report::LeaseTaken { .. } => self.lease_event("taken"),
            Report::LeaseLost { .. } => self.lease_event("lost"),
            Report::LeaseReleased { .. } => self.lease_event("released"),
            Report::LeaseRestored { .. } => self.lease_event("restored"),
            Report::RecordRetried { .. } | Report::HandlerUnavailable { .. } => self.retries.add_one(),
            Report::StreamEnabled(is_enabled) => self.is_disabled.store(!is_enabled, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Forgets the shards without a session, except those that nobody reads.
    fn forget_shards(&self, is_unread: impl Fn(&ShardId) -> bool) {
        locked(&self.shards).retain(|shard, progress| !progress.is_session_ended || is_unread(shard));
    }

    fn lease_event(&self, event: &'static str) {
        *locked(&self.lease_events).entry(event).or_default() += 1;
    }
}

impl Observer for ChangesMetrics {
    fn handled(&self, handled: Handled) {
        *locked(&self.records).entry(handled).or_default() += 1;
    }

    fn called(&self, operation: &'static str, took: Duration, failure: Option<&StoreError>) {
        add(&self.calls, (operation, failure.map(|error| error.kind.name())), took);
    }

    fn gap_stored(&self) {
        self.gaps.add_one();
        self.open_gaps.fetch_add(1, Ordering::Relaxed);
    }
}

/// A running reader of changes, for its endpoint of metrics and health.
pub struct WatchedChanges {
    metrics: Arc<ChangesMetrics>,
    /// `None` without webhooks.
    webhooks: Option<Arc<WebhookMetrics>>,
    watch: Arc<Watch>,
    masks: String,
    started: SystemTime,
    pub liveness: Liveness,
    /// Whether it reads: after the start checks, and before the drain.
    is_reading: AtomicBool,
}

impl WatchedChanges {
    /// The process has just started.
    pub fn new(metrics: Arc<ChangesMetrics>, watch: Arc<Watch>, masks: &str) -> WatchedChanges {
        let (liveness, is_reading, masks) = (Liveness::default(), AtomicBool::new(false), masks.to_owned());
        WatchedChanges { metrics, webhooks: None, watch, masks, started: now(), liveness, is_reading }
    }

    /// Shows the metrics of webhooks as well.
    #[must_use]
    pub fn with_webhooks(self, webhooks: Option<Arc<WebhookMetrics>>) -> WatchedChanges {
        WatchedChanges { webhooks, ..self }
    }

    pub fn set_reading(&self, is_reading: bool) {
        self.is_reading.store(is_reading, Ordering::Relaxed);
    }

    fn write_lags(&self, text: &mut Exposition) {
        let now = now();
        let shards = locked(&self.metrics.shards);
        let lags: Vec<_> = shards.iter().map(|(shard, progress)| (shard, progress.lag(now).as_secs_f64())).collect();
        text.begin(&LAG);
        for (shard, lag) in &lags {
            text.sample(&[("shard", shard.as_str())], *lag);
        }
        text.begin(&MAX_LAG);
        text.sample(&[], lags.iter().map(|(_, lag)| *lag).fold(0.0, f64::max));
    }
}

impl dynamodb_streams::Observer for WatchedChanges {
    fn report(&self, report: &Report<'_>) {
        self.metrics.report(report);
        self.watch.report(report);
        if let Report::SessionEnded { .. } | Report::Leases { .. } = report {
            self.metrics.forget_shards(|shard| self.watch.is_released_unread(shard));
        }
    }
}

impl Instance for WatchedChanges {
    fn metrics(&self) -> String {
        let mut text = Exposition::default();
        let metrics = &self.metrics;
        text.begin(&RECORDS);
        let records = locked(&metrics.records).clone();
        for handled in Handled::ALL {
            text.count(&[("result", handled.name())], records.get(&handled).copied().unwrap_or_default());
        }
        self.write_lags(&mut text);
        text.begin(&LEASES);
        for (state, count) in &*locked(&metrics.leases) {
            text.count(&[("state", state)], *count as u64);
        }
        text.begin(&LEASE_EVENTS);
        for (event, count) in &*locked(&metrics.lease_events) {
            text.count(&[("event", event)], *count);
        }
        let counts = [
            (&GAPS, metrics.gaps.get()),
            (&OPEN_GAPS, metrics.open_gaps.load(Ordering::Relaxed)),
            (&RETRIES, metrics.retries.get()),
            (&STREAM_ENABLED, u64::from(!metrics.is_disabled.load(Ordering::Relaxed))),
        ];
        for (metric, count) in counts {
            text.begin(metric);
            text.count(&[], count);
        }
        text.begin(&MASKS);
        text.count(&[("masks", &self.masks)], 1);
        text.begin(&CALLS);
        for ((operation, error), took) in &*locked(&metrics.calls) {
            let values = [Some(*operation), *error].into_iter().flatten();
            text.histogram(&CALLS.labels.iter().copied().zip(values).collect::<Vec<_>>(), took);
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.write(&mut text);
        }
        text.begin(&READY);
        text.count(&[], u64::from(self.unready().is_empty()));
        text.begin(&BUILD_INFO);
        text.count(&[("version", PROGRAM.version), ("revision", REVISION)], 1);
        process::write(&mut text, self.started);
        text.finish()
    }

    fn is_alive(&self) -> bool {
        self.liveness.is_alive()
    }

    fn unready(&self) -> Vec<Unready> {
        let is_reading = self.is_reading.load(Ordering::Relaxed);
        let reading = (!is_reading).then(|| Unready {
            condition: "reading".to_owned(),
            detail: "the reader is starting or stopping".to_owned(),
        });
        let reasons = self.watch.health.conditions().into_iter();
        let reasons = reasons.map(|(condition, detail)| Unready { condition: condition.to_string(), detail });
        reading.into_iter().chain(reasons).collect()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the ages of changes and a start time, for people; no decision depends on them"
)]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_exactly_the_metrics_of_the_reader() {
        let page = include_str!("../../docs/history.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let documented: Vec<_> = rows
            .filter(|(_, rest)| {
                ["counter", "gauge", "histogram"].iter().any(|kind| rest.contains(&format!("| {kind} |")))
            })
            .map(|(name, _)| name)
            .collect();
        let metrics = [
            RECORDS,
            LAG,
            MAX_LAG,
            LEASES,
            LEASE_EVENTS,
            GAPS,
            OPEN_GAPS,
            RETRIES,
            STREAM_ENABLED,
            MASKS,
            CALLS,
            READY,
            BUILD_INFO,
        ];
        assert_eq!(documented, metrics.map(|metric| metric.name));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_of_a_shard_grows_while_it_is_not_read_and_ends_with_its_session() {
        let metrics = Arc::<ChangesMetrics>::default();
        let watched = WatchedChanges::new(metrics, Arc::default(), "m1");
        let shard = ShardId::new("shard-1");
        let progress = |caught_up, failing_since| Report::ShardProgress {
            shard: &shard,
            last_read_created: None,
            oldest_unfinished: None,
            unfinished: 0,
            is_caught_up: false,
            caught_up,
            failing_since,
        };
        let line = |text: &str| watched.metrics().lines().any(|line| line == text);
        let report = |report: &Report<'_>| dynamodb_streams::Observer::report(&watched, report);

        let start = Instant::now();
        report(&progress(Some(start), None));
        tokio::time::advance(Duration::from_secs(70)).await;
        report(&progress(Some(start), Some(start)));

        assert!(line("mini_scan_changes_lag_seconds{shard=\"shard-1\"} 70"), "{}", watched.metrics());
        assert!(line("mini_scan_changes_lag_max_seconds 70"));
        assert!(watched.unready().iter().any(|reason| reason.condition == "stream"));
        report(&Report::SessionEnded { shard: &shard });
        assert!(line("mini_scan_changes_lag_max_seconds 0") && !watched.metrics().contains("shard-1"));
        assert!(!watched.unready().iter().any(|reason| reason.condition == "stream"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_of_a_released_unreadable_shard_grows_until_somebody_takes_it() {
        let watched = WatchedChanges::new(Arc::default(), Arc::default(), "m1");
        let shard = ShardId::new("shard-1");
        let report = |report: Report<'_>| dynamodb_streams::Observer::report(&watched, &report);
        let progress = |caught_up, failing_since| Report::ShardProgress {
            shard: &shard,
            last_read_created: None,
            oldest_unfinished: None,
            unfinished: 0,
            is_caught_up: false,
            caught_up,
            failing_since,
        };
        let leases = |unowned| Report::Leases { unfinished: 1, finished: 0, owned: 0, unowned, waiting: 0 };
        let has_lag = |lag: u32| {
            let line = format!("mini_scan_changes_lag_max_seconds {lag}");
            watched.metrics().lines().any(|other| other == line)
        };
        let is_unready = || watched.unready().iter().any(|reason| reason.condition == "stream");
        let start = Instant::now();
        let release = || {
            report(progress(Some(start), Some(start)));
            report(Report::ShardUnreadable { shard: &shard });
            report(Report::SessionEnded { shard: &shard });
        };

        tokio::time::advance(Duration::from_secs(180)).await;
        release();
        // The first scan began before the release.
        [0, 1, 0, 1].into_iter().for_each(|unowned| report(leases(unowned)));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(has_lag(3780) && is_unready(), "{}", watched.metrics());

        // This instance takes the shard again.
        report(progress(None, None));
        assert!(has_lag(3780) && !is_unready(), "{}", watched.metrics());
        report(progress(Some(Instant::now()), None));
        assert!(has_lag(0) && !is_unready());

        // Another instance takes it.
        release();
        [0, 0].into_iter().for_each(|unowned| report(leases(unowned)));
        assert!(has_lag(0) && !is_unready() && !watched.metrics().contains("shard-1"));
    }
}
