//! The metrics and logs of a deliverer. Nothing here shows a URL or a secret.

mod engine;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dynamodb_streams::{Report, ShardId};
use ops::Liveness;
use ops::http::{Instance, Unready};
use ops::metrics::{Counter, Exposition, Histogram, Metric, process};
use ops::traces::traceparent;
use tokio::time::Instant;
use tracing::Span;
use webhooks::{Answer, Failure, Origin, Post, TraceParent};

use super::spans::{self, DeliverySpans};
use super::{PROGRAM, REVISION};
use crate::deliver::{Handled, Observer, StoredEvent, Watch};
use crate::ports;
use engine::EngineMetrics;

const RECORDS: Metric = Metric::counter(
    "event_pipeline_stream_records_total",
    &["result"],
    "Records of the stream, and events that were dispatched, by what became of them.",
);
const END_TO_END: Metric = Metric::histogram(
    "event_pipeline_end_to_end_seconds",
    &[],
    "Time from sending the message of an event until a target accepted it, at the first attempt or later.",
);
const DEAD_LETTERS: Metric = Metric::counter(
    "event_pipeline_delivery_dead_letters_total",
    &["reason"],
    "Messages that were sent to the dead-letter queue of deliveries.",
);
const LAG: Metric = Metric::gauge(
    "event_pipeline_stream_lag_seconds",
    "For how long the slowest shard of this instance has been behind.",
);
const GAPS: Metric = Metric::counter(
    "event_pipeline_stream_gaps_total",
    &[],
    "Gaps of the stream: records that were deleted before they were read.",
);
const LEASES: Metric = Metric {
    labels: &["state"],
    ..Metric::gauge("event_pipeline_stream_leases", "Leases of the shards, by their state.")
};
const READY: Metric = Metric::gauge("event_pipeline_ready", "1 if the instance is ready.");
const BUILD_INFO: Metric = Metric {
    labels: &["version", "revision"],
    ..Metric::gauge("event_pipeline_build_info", "1, with the version of the program.")
};

const BOUNDS: [Duration; 14] = [
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
    Duration::from_secs(60),
    Duration::from_secs(300),
];

/// A delivery is retried for three days. The objective of receipt needs the bound of 60 s.
const END_TO_END_BOUNDS: [Duration; 17] = [
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
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1800),
    Duration::from_secs(3 * 3600),
    Duration::from_secs(24 * 3600),
];

/// Counts what becomes of events, their deliveries and the shards of the stream. Any thread updates it.
#[derive(Debug)]
pub struct DeliverMetrics {
    engine: EngineMetrics,
    records: Mutex<BTreeMap<Handled, u64>>,
    end_to_end: Histogram,
    dead: Mutex<BTreeMap<String, u64>>,
    gaps: Counter,
    leases: Mutex<BTreeMap<&'static str, usize>>,
    shards: Mutex<HashMap<ShardId, Progress>>,
    /// `None` where nothing is traced.
    spans: Option<DeliverySpans>,
}

/// How far a shard is read.
#[derive(Debug, Clone, Copy)]
struct Progress {
    began: Instant,
    caught_up: Option<Instant>,
    is_caught_up: bool,
    oldest_unfinished: Option<SystemTime>,
}

impl Progress {
    /// Returns the age of the oldest unfinished record, or else the time since the shard was read to its end.
    fn lag(&self, now: SystemTime) -> Duration {
        let unfinished = self.oldest_unfinished.and_then(|created| now.duration_since(created).ok());
        let unread = if self.is_caught_up { Duration::ZERO } else { self.caught_up.unwrap_or(self.began).elapsed() };
        unfinished.unwrap_or(unread)
    }
}

impl Default for DeliverMetrics {
    fn default() -> DeliverMetrics {
        DeliverMetrics {
            engine: EngineMetrics::default(),
            records: Mutex::default(),
            end_to_end: Histogram::new(&END_TO_END_BOUNDS),
            dead: Mutex::default(),
            gaps: Counter::default(),
            leases: Mutex::default(),
            shards: Mutex::default(),
            spans: None,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DeliverMetrics {
    pub fn new(spans: Option<DeliverySpans>) -> DeliverMetrics {
        DeliverMetrics { spans, ..DeliverMetrics::default() }
    }

    /// Returns how many records and dispatched events were handled.
    pub fn handled(&self) -> u64 {
        locked(&self.records).values().sum()
    }

    /// Adds the metrics to a page.
    pub fn write(&self, text: &mut Exposition) {
        text.begin(&RECORDS);
        let records = locked(&self.records).clone();
        for handled in Handled::ALL {
            text.count(&[("result", handled.name())], records.get(&handled).copied().unwrap_or_default());
        }
        text.begin(&END_TO_END);
        text.histogram(&[], &self.end_to_end);
        text.begin(&DEAD_LETTERS);
        for (reason, count) in &*locked(&self.dead) {
            text.count(&[("reason", reason)], *count);
        }
        let now = now();
        text.begin(&LAG);
        let lags = locked(&self.shards).values().map(|shard| shard.lag(now).as_secs_f64()).fold(0.0, f64::max);
        text.sample(&[], lags);
        text.begin(&GAPS);
        text.count(&[], self.gaps.get());
        text.begin(&LEASES);
        for (state, count) in &*locked(&self.leases) {
            text.count(&[("state", state)], *count as u64);
        }
        self.engine.write(text);
    }

    fn report_of_stream(&self, report: &Report<'_>) {
        match report {
            Report::Gap(_) => self.gaps.add_one(),
            Report::ShardProgress { shard, oldest_unfinished, is_caught_up, caught_up, .. } => {
                let mut shards = locked(&self.shards);
                let began = shards.get(*shard).map_or_else(Instant::now, |progress| progress.began);
                let (caught_up, oldest_unfinished) = (*caught_up, *oldest_unfinished);
                let progress = Progress { began, caught_up, is_caught_up: *is_caught_up, oldest_unfinished };
                shards.insert((*shard).clone(), progress);
            }
            Report::SessionEnded { shard } => drop(locked(&self.shards).remove(*shard)),
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
            _ => {}
        }
    }
}

impl webhooks::Observer for DeliverMetrics {
    fn report(&self, report: &webhooks::Report<'_>) {
        self.engine.report(report);
        // A redrive and a replay have no time, because they waited for an operator.
        if let webhooks::Report::Delivered { origin: Origin { sent: Some(sent), .. }, .. } = report {
            // Clocks differ, so it may be 0.
            self.end_to_end.add(now().duration_since(*sent).unwrap_or_default());
        }
    }
}

impl Observer for DeliverMetrics {
    fn handled(&self, handled: Handled) {
        *locked(&self.records).entry(handled).or_default() += 1;
    }

    fn dead(&self, reason: &str) {
        *locked(&self.dead).entry(reason.to_owned()).or_default() += 1;
    }

    fn event_span(&self, event: &StoredEvent) -> Span {
        self.spans.as_ref().map_or_else(Span::none, |spans| spans.event(event))
    }

    fn event_ended(&self, event: &Span, result: &Result<Handled, ports::Failure>) {
        spans::event_ended(event, result);
    }

    fn attempt_span(&self, post: &Post) -> Span {
        self.spans.as_ref().map_or_else(Span::none, |spans| spans.attempt(post))
    }

    fn attempt_ended(&self, attempt: &Span, result: &Result<Answer, Failure>) {
        spans::attempt_ended(attempt, result);
    }

    fn context(&self, span: &Span) -> Option<TraceParent> {
        TraceParent::parse(&traceparent(span)?)
    }
}

/// A running deliverer, for its endpoint of metrics and health.
pub struct WatchedDeliverer {
    metrics: Arc<DeliverMetrics>,
    watch: Arc<Watch>,
    started: SystemTime,
    pub liveness: Liveness,
    /// Whether it reads: after the start checks, and before the drain.
    is_reading: AtomicBool,
}

impl WatchedDeliverer {
    /// The process has just started.
    pub fn new(metrics: Arc<DeliverMetrics>, watch: Arc<Watch>) -> WatchedDeliverer {
        let (liveness, is_reading) = (Liveness::default(), AtomicBool::new(false));
        WatchedDeliverer { metrics, watch, started: now(), liveness, is_reading }
    }

    pub fn set_reading(&self, is_reading: bool) {
        self.is_reading.store(is_reading, Ordering::Relaxed);
    }
}

impl dynamodb_streams::Observer for WatchedDeliverer {
    fn report(&self, report: &Report<'_>) {
        self.metrics.report_of_stream(report);
        self.watch.report(report);
    }
}

impl Instance for WatchedDeliverer {
    fn metrics(&self) -> String {
        let mut text = Exposition::default();
        self.metrics.write(&mut text);
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
            detail: "the deliverer is starting or stopping".to_owned(),
        });
        let reasons = self.watch.health.conditions().into_iter();
        let reasons = reasons.map(|(condition, detail)| Unready { condition: condition.to_string(), detail });
        reading.into_iter().chain(reasons).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "ages and a start time, for people; no decision depends on them")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(is_caught_up: bool, oldest_unfinished: Option<SystemTime>) -> Progress {
        Progress { began: Instant::now(), caught_up: None, is_caught_up, oldest_unfinished }
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_is_the_age_of_the_oldest_unfinished_record_or_the_time_without_an_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let created = SystemTime::UNIX_EPOCH + Duration::from_secs(93);
        let (unfinished, done, behind) = (progress(false, Some(created)), progress(true, None), progress(false, None));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(unfinished.lag(now), Duration::from_secs(7));
        assert_eq!(done.lag(now), Duration::ZERO);
        assert_eq!(behind.lag(now), Duration::from_secs(4));
    }
}
