//! The metrics and logs of a processor. Nothing here shows a body.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ops::http::{Instance, Unready};
use ops::metrics::{Counter, Exposition, Histogram, Metric, process};
use ops::traces::traceparent;
use ops::{Liveness, RateLimitedLog};
use tracing::{Span, warn};

use super::clients::Lags;
use super::recent::Recent;
use super::spans::{self, MessageSpans};
use super::{DeliverMetrics, PROGRAM, REVISION};
use crate::deliver;
use crate::event::Reason;
use crate::ports::{Call, Failure, Message, Observer, Outcome, Settled};
use crate::processor::health::Watch;
use crate::schema::Schemas;

const RECEIVED: Metric = Metric::counter("event_pipeline_received_total", &[], "Messages that were received.");
const REDELIVERED: Metric =
    Metric::counter("event_pipeline_redelivered_total", &[], "Messages that had been received before.");
const OUTCOMES: Metric =
    Metric::counter("event_pipeline_outcomes_total", &["outcome"], "Messages by what became of them.");
const DEAD_LETTERS: Metric = Metric::counter(
    "event_pipeline_dead_letters_total",
    &["reason"],
    "Messages that were sent to the dead-letter queue of events.",
);
const INVALID: Metric = Metric::counter(
    "event_pipeline_invalid_total",
    &["event_type"],
    "Messages that are no valid events, by the event types that have a schema.",
);
const DELETED: Metric = Metric::counter("event_pipeline_deleted_total", &[], "Messages that were deleted.");
const LOST: Metric = Metric::counter(
    "event_pipeline_visibility_lost_total",
    &[],
    "Messages whose visibility ended before they were deleted, so that they come again.",
);
const RETURNED: Metric =
    Metric::counter("event_pipeline_returned_total", &[], "Messages that were made visible again at a stop.");
const CALL_FAILURES: Metric =
    Metric::counter("event_pipeline_call_failures_total", &["call"], "Calls of SQS and DynamoDB that failed.");
const MESSAGES: Metric = Metric::gauge("event_pipeline_messages_in_memory", "Messages that are not deleted yet.");
const BYTES: Metric =
    Metric::gauge("event_pipeline_bytes_in_memory", "Bytes of the messages that are not deleted yet.");
const OLDEST: Metric = Metric::gauge(
    "event_pipeline_oldest_message_age_seconds",
    "Age of the oldest message that was received in the last one to two minutes.",
);
const STORED_SECONDS: Metric = Metric::histogram(
    "event_pipeline_stored_seconds",
    &[],
    "Time from sending a message until its event was stored, and dispatched if it is direct.",
);
const CLIENT_LAG: Metric = Metric {
    labels: &["client_id"],
    ..Metric::gauge(
        "event_pipeline_client_lag_seconds",
        "Longest time from sending a message until it was durable, for the ten worst clients of the last one to two minutes.",
    )
};
const SCHEMAS: Metric = Metric::gauge("event_pipeline_schemas", "Schemas of event types that are loaded.");
const SCHEMAS_CURRENT: Metric = Metric::gauge(
    "event_pipeline_schemas_current",
    "1 if the schemas are those of the directory, 0 if these are wrong.",
);
const READY: Metric = Metric::gauge("event_pipeline_ready", "1 if the instance is ready.");
const BUILD_INFO: Metric = Metric {
    labels: &["version", "revision"],
    ..Metric::gauge("event_pipeline_build_info", "1, with the version of the program.")
};

/// The objective of freshness needs the bound of 60 s.
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
/// How many event types have a label of their own.
const MAX_TYPES: usize = 100;

/// Counts what becomes of messages. Any thread updates it.
#[derive(Debug)]
pub struct ProcessorMetrics {
    pub watch: Watch,
    received: Counter,
    redelivered: Counter,
    stored: Counter,
    duplicates: Counter,
    dead: [Counter; Reason::ALL.len()],
    left: Counter,
    deleted: Counter,
    lost: Counter,
    returned: Counter,
    failures: [Counter; Call::ALL.len()],
    logs: [RateLimitedLog; Call::ALL.len()],
    dead_log: RateLimitedLog,
    messages: AtomicU64,
    bytes: AtomicU64,
    stored_seconds: Histogram,
    oldest: Mutex<Recent<Duration>>,
    lags: Mutex<Recent<Lags>>,
    schemas: Mutex<BTreeSet<String>>,
    are_schemas_current: AtomicBool,
    invalid: Mutex<BTreeMap<String, u64>>,
    /// `None` where nothing is traced.
    spans: Option<MessageSpans>,
}

/// The counts of a processor at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub stored: u64,
    pub duplicates: u64,
    pub dead_letters: u64,
    pub returned: u64,
}

impl Default for ProcessorMetrics {
    fn default() -> ProcessorMetrics {
        ProcessorMetrics {
            watch: Watch::default(),
            received: Counter::default(),
            redelivered: Counter::default(),
            stored: Counter::default(),
            duplicates: Counter::default(),
            dead: Default::default(),
            left: Counter::default(),
            deleted: Counter::default(),
            lost: Counter::default(),
            returned: Counter::default(),
            failures: Default::default(),
            logs: Default::default(),
            dead_log: RateLimitedLog::default(),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stored_seconds: Histogram::new(&BOUNDS),
            oldest: Mutex::new(Recent::new()),
            lags: Mutex::new(Recent::new()),
            schemas: Mutex::default(),
            are_schemas_current: AtomicBool::new(true),
            invalid: Mutex::default(),
            spans: None,
        }
    }
}

impl ProcessorMetrics {
    pub fn new(spans: Option<MessageSpans>) -> ProcessorMetrics {
        ProcessorMetrics { spans, ..ProcessorMetrics::default() }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            stored: self.stored.get(),
            duplicates: self.duplicates.get(),
            dead_letters: self.dead.iter().map(Counter::get).sum(),
            returned: self.returned.get(),
        }
    }

    /// Adds the metrics to a page.
    pub fn write(&self, text: &mut Exposition) {
        for (metric, counter) in [
            (&RECEIVED, &self.received),
            (&REDELIVERED, &self.redelivered),
            (&DELETED, &self.deleted),
            (&LOST, &self.lost),
            (&RETURNED, &self.returned),
        ] {
            text.begin(metric);
            text.count(&[], counter.get());
        }
        let counts = self.counts();
        text.begin(&OUTCOMES);
        text.count(&[("outcome", "stored")], counts.stored);
        text.count(&[("outcome", "duplicate")], counts.duplicates);
        text.count(&[("outcome", "dead_letter")], counts.dead_letters);
        text.count(&[("outcome", "left")], self.left.get());
        text.begin(&DEAD_LETTERS);
        for (reason, counter) in Reason::ALL.iter().zip(&self.dead) {
            text.count(&[("reason", reason.name())], counter.get());
        }
        text.begin(&INVALID);
        for (event_type, count) in &*locked(&self.invalid) {
            text.count(&[("event_type", event_type)], *count);
        }
        text.begin(&CALL_FAILURES);
        for (call, counter) in Call::ALL.iter().zip(&self.failures) {
            text.count(&[("call", call.name())], counter.get());
        }
        self.write_gauges(text);
        text.begin(&STORED_SECONDS);
        text.histogram(&[], &self.stored_seconds);
    }

    fn write_gauges(&self, text: &mut Exposition) {
        let oldest = locked(&self.oldest).both().into_iter().max().copied().unwrap_or_default();
        text.begin(&OLDEST);
        text.sample(&[], oldest.as_secs_f64());
        for (metric, value) in [
            (&MESSAGES, self.messages.load(Ordering::Relaxed)),
            (&BYTES, self.bytes.load(Ordering::Relaxed)),
            (&SCHEMAS, locked(&self.schemas).len() as u64),
            (&SCHEMAS_CURRENT, self.are_schemas_current.load(Ordering::Relaxed).into()),
        ] {
            text.begin(metric);
            text.count(&[], value);
        }
        text.begin(&CLIENT_LAG);
        for (client, lag) in Lags::worst(locked(&self.lags).both()) {
            text.sample(&[("client_id", client)], lag.as_secs_f64());
        }
    }

    fn count_invalid(&self, event_type: Option<&str>) {
        let label = match event_type {
            None => "none",
            Some(name) if locked(&self.schemas).contains(name) => name,
            Some(_) => "other",
        };
        *locked(&self.invalid).entry(label.to_owned()).or_default() += 1;
    }
}

impl Observer for ProcessorMetrics {
    fn received(&self, messages: &[Message]) {
        self.received.add(messages.len() as u64);
        self.redelivered.add(messages.iter().filter(|message| message.receives > 1).count() as u64);
        if let Some(sent) = messages.iter().map(|message| message.sent).min() {
            let mut oldest = locked(&self.oldest);
            let oldest = oldest.current();
            *oldest = age(sent).max(*oldest);
        }
    }

    fn message_span(&self, message: &Message) -> Span {
        self.spans.as_ref().map_or_else(Span::none, |spans| spans.message(message))
    }

    fn context(&self, span: &Span) -> Option<String> {
        traceparent(span)
    }

    fn call_span(&self, message: &Span, call: Call) -> Span {
        self.spans.as_ref().map_or_else(Span::none, |spans| spans.call(message, call))
    }

    fn call_failed(&self, span: &Span, failure: &Failure) {
        spans::call_failed(span, failure);
    }

    fn settled(&self, settled: &Settled<'_>) {
        spans::settled(settled.span, settled.outcome);
        let age = age(settled.sent);
        match settled.outcome {
            Outcome::Stored => {
                self.stored.add_one();
                self.stored_seconds.add(age);
            }
            Outcome::Duplicate => self.duplicates.add_one(),
            Outcome::DeadLettered(reason) => {
                self.dead[reason as usize].add_one();
                self.count_invalid(settled.event_type);
                if let Some(suppressed) = self.dead_log.due() {
                    warn!(error.type = reason.name(), client_id = settled.client, suppressed, "sent a dead letter");
                }
            }
            Outcome::Left(_) => {
                self.left.add_one();
                self.count_invalid(settled.event_type);
            }
        }
        if let Some(client) = settled.client {
            locked(&self.lags).current().add(client, age);
        }
    }

    fn deleted(&self, messages: usize) {
        self.deleted.add(messages as u64);
    }

    fn lost(&self) {
        self.lost.add_one();
    }

    fn returned(&self, messages: usize) {
        self.returned.add(messages as u64);
    }

    fn succeeded(&self, call: Call) {
        self.watch.succeeded(call);
    }

    fn failed(&self, call: Call, failure: &Failure) {
        self.failures[call as usize].add_one();
        self.watch.failed(call, failure);
        if let Some(suppressed) = self.logs[call as usize].due() {
            warn!(call = call.name(), error = %failure, suppressed, "a call failed");
        }
    }

    fn schemas_loaded(&self, schemas: &Schemas) {
        *locked(&self.schemas) = schemas.types().take(MAX_TYPES).map(str::to_owned).collect();
        self.are_schemas_current.store(true, Ordering::Relaxed);
    }

    fn schemas_refused(&self) {
        self.are_schemas_current.store(false, Ordering::Relaxed);
    }

    fn in_memory(&self, messages: usize, bytes: usize) {
        self.messages.store(messages as u64, Ordering::Relaxed);
        self.bytes.store(bytes as u64, Ordering::Relaxed);
    }
}

/// Returns the time since this Unix time in milliseconds.
fn age(sent: u64) -> Duration {
    now().duration_since(SystemTime::UNIX_EPOCH + Duration::from_millis(sent)).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "SQS has the times of messages; no decision depends on their age")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running processor, as monitors see it.
pub struct WatchedProcessor {
    metrics: Arc<ProcessorMetrics>,
    /// Those of direct dispatch.
    deliver_metrics: Option<Arc<DeliverMetrics>>,
    deliver_watch: Arc<deliver::Watch>,
    pub liveness: Liveness,
    is_running: AtomicBool,
    started: SystemTime,
}

impl WatchedProcessor {
    /// The process has just started.
    pub fn new(
        metrics: Arc<ProcessorMetrics>,
        deliver_metrics: Option<Arc<DeliverMetrics>>,
        deliver_watch: Arc<deliver::Watch>,
    ) -> WatchedProcessor {
        let (liveness, is_running) = (Liveness::default(), AtomicBool::new(false));
        WatchedProcessor { metrics, deliver_metrics, deliver_watch, liveness, is_running, started: now() }
    }

    /// Notes that the processor runs, or that it stops.
    pub fn set_running(&self, is_running: bool) {
        self.is_running.store(is_running, Ordering::Relaxed);
    }
}

impl Instance for WatchedProcessor {
    fn metrics(&self) -> String {
        let mut text = Exposition::default();
        self.metrics.write(&mut text);
        if let Some(deliveries) = &self.deliver_metrics {
            deliveries.write(&mut text);
        }
        text.begin(&READY);
        text.count(&[], self.unready().is_empty().into());
        text.begin(&BUILD_INFO);
        text.count(&[("version", PROGRAM.version), ("revision", REVISION)], 1);
        process::write(&mut text, self.started);
        text.finish()
    }

    fn is_alive(&self) -> bool {
        self.liveness.is_alive()
    }

    fn unready(&self) -> Vec<Unready> {
        let not_running = (!self.is_running.load(Ordering::Relaxed)).then(|| Unready {
            condition: "processor".to_owned(),
            detail: "it starts or stops: it receives no messages".to_owned(),
        });
        let messages = self.metrics.watch.health.conditions().into_iter();
        let messages = messages.map(|(condition, detail)| Unready { condition: condition.to_string(), detail });
        let deliveries = self.deliver_watch.health.conditions().into_iter();
        let deliveries = deliveries.map(|(condition, detail)| Unready { condition: condition.to_string(), detail });
        not_running.into_iter().chain(messages).chain(deliveries).collect()
    }
}

#[cfg(test)]
mod tests;
