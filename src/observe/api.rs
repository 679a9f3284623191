//! The metrics of the API: requests, calls of the table, and read units. `docs/api.md` describes them for people.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http_api::{Arrived, Responded};
use ops::http::{Instance, Unready};
use ops::metrics::{Counter, Exposition, Histogram, Metric, process};
use ops::{Liveness, StoreWatch};

use tracing::Span;

use super::names::{BUILD_INFO, READY};
use super::request_spans::{self, RequestSpans};
use super::{PROGRAM, REVISION, spans};
use crate::hosts::{self, ErrorKind, Operation};

const REQUESTS: Metric = Metric::histogram(
    "http_server_request_duration_seconds",
    &["http_request_method", "http_route", "http_response_status_code"],
    "Duration of one request, by its route and the status of its response.",
);
const CALLS: Metric = Metric::histogram(
    "db_client_operation_duration_seconds",
    &["db_operation_name", "error_type"],
    "Duration of one call of the table. A failed condition is not a failure.",
);
const READ_UNITS: Metric =
    Metric::counter("mini_scan_api_read_units_total", &[], "Read units consumed in the table and its indexes.");
const THROTTLES: Metric = Metric::counter("mini_scan_api_throttles_total", &[], "Throttled calls of the table.");
const UNPROCESSED: Metric = Metric::counter(
    "mini_scan_api_unprocessed_total",
    &[],
    "Calls that returned some keys unprocessed, which were then asked for again.",
);

/// From a request of cached pages to the timeout of requests.
const BOUNDS: [Duration; 15] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
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
    Duration::from_secs(10),
];

/// Method, route and status.
type Request = (&'static str, String, u16);
/// Operation and error.
type Call = (&'static str, Option<&'static str>);

/// The counters of the API. Any thread updates them.
#[derive(Debug, Default)]
pub struct ApiMetrics {
    /// `None` without a collector of traces.
    spans: Option<RequestSpans>,
    requests: Mutex<BTreeMap<Request, Arc<Histogram>>>,
    calls: Mutex<BTreeMap<Call, Arc<Histogram>>>,
    /// Read units are multiples of a half.
    half_read_units: Counter,
    throttles: Counter,
    unprocessed: Counter,
}

impl ApiMetrics {
    pub fn new(spans: Option<RequestSpans>) -> ApiMetrics {
        ApiMetrics { spans, ..ApiMetrics::default() }
    }
}

impl http_api::Observer for ApiMetrics {
    fn arrived(&self, arrived: &Arrived<'_>) -> Span {
        self.spans.as_ref().map_or_else(Span::none, |spans| spans.request(arrived))
    }

    fn responded(&self, request: &Span, responded: &Responded<'_>) {
        request_spans::responded(request, responded);
        let labels = (responded.method, responded.route.unwrap_or("none").to_owned(), responded.status);
        add(&self.requests, labels, responded.took);
    }
}

impl hosts::Observer for ApiMetrics {
    fn calling(&self, operation: Operation) -> Span {
        self.spans.as_ref().map_or_else(Span::none, |spans| spans.call(operation))
    }

    fn called(&self, call: &Span, operation: Operation, took: Duration, failure: Option<&hosts::Error>) {
        if let Some(error) = failure {
            spans::failed(call, error.kind.name());
        }
        add(&self.calls, (operation.name(), failure.map(|error| error.kind.name())), took);
        if failure.is_some_and(|error| error.kind == ErrorKind::Throttled) {
            self.throttles.add_one();
        }
    }

    fn read_units(&self, units: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "units are small and not negative"
        )]
        self.half_read_units.add((units * 2.0).round() as u64);
    }

    fn unprocessed(&self) {
        self.unprocessed.add_one();
    }
}

pub(super) fn add<K: Ord>(histograms: &Mutex<BTreeMap<K, Arc<Histogram>>>, key: K, took: Duration) {
    let mut histograms = histograms.lock().unwrap_or_else(PoisonError::into_inner);
    histograms.entry(key).or_insert_with(|| Arc::new(Histogram::new(&BOUNDS))).add(took);
}

/// A running API, for its endpoint of metrics and health.
pub struct WatchedApi {
    metrics: Arc<ApiMetrics>,
    watch: Arc<StoreWatch>,
    started: SystemTime,
    pub liveness: Liveness,
    /// Whether it serves requests: after the start checks, and before the drain.
    is_serving: AtomicBool,
}

impl WatchedApi {
    /// The process has just started.
    pub fn new(metrics: Arc<ApiMetrics>, watch: Arc<StoreWatch>) -> WatchedApi {
        #[expect(clippy::disallowed_methods, reason = "a start time for people; no decision depends on it")]
        let started = SystemTime::now();
        WatchedApi { metrics, watch, started, liveness: Liveness::default(), is_serving: AtomicBool::new(false) }
    }

    pub fn set_serving(&self, is_serving: bool) {
        self.is_serving.store(is_serving, Ordering::Relaxed);
    }
}

impl Instance for WatchedApi {
    fn metrics(&self) -> String {
        let mut text = Exposition::default();
        let metrics = &self.metrics;
        text.begin(&REQUESTS);
        for ((method, route, status), took) in &*metrics.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let status = status.to_string();
            let values = [*method, route, status.as_str()];
            text.histogram(&REQUESTS.labels.iter().copied().zip(values).collect::<Vec<_>>(), took);
        }
        text.begin(&CALLS);
        for ((operation, error), took) in &*metrics.calls.lock().unwrap_or_else(PoisonError::into_inner) {
            let values = [Some(*operation), *error].into_iter().flatten();
            text.histogram(&CALLS.labels.iter().copied().zip(values).collect::<Vec<_>>(), took);
        }
        text.begin(&READ_UNITS);
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
        text.sample(&[], metrics.half_read_units.get() as f64 / 2.0);
        for (metric, counter) in [(&THROTTLES, &metrics.throttles), (&UNPROCESSED, &metrics.unprocessed)] {
            text.begin(metric);
            text.count(&[], counter.get());
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
        let is_serving = self.is_serving.load(Ordering::Relaxed);
        let serving = (!is_serving)
            .then(|| Unready { condition: "serving".to_owned(), detail: "the API is starting or stopping".to_owned() });
        let reasons = self.watch.reasons().into_iter();
        let reasons = reasons.map(|(condition, detail)| Unready { condition: condition.to_string(), detail });
        serving.into_iter().chain(reasons).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Observer;

    #[test]
    fn the_documentation_lists_exactly_the_metrics_of_the_api() {
        let page = include_str!("../../docs/api.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let documented: Vec<_> = rows
            .filter(|(_, rest)| {
                ["counter", "gauge", "histogram"].iter().any(|kind| rest.contains(&format!("| {kind} |")))
            })
            .map(|(name, _)| name)
            .collect();
        let names = [REQUESTS, CALLS, READ_UNITS, THROTTLES, UNPROCESSED, READY, BUILD_INFO].map(|metric| metric.name);
        assert_eq!(documented, names);
    }

    #[test]
    fn counts_requests_and_calls_under_labels_that_no_client_chooses() {
        let metrics = Arc::<ApiMetrics>::default();
        let watch = Arc::<StoreWatch>::default();
        let responded = Responded { route: None, method: "_OTHER", status: 404, took: Duration::from_millis(3) };
        http_api::Observer::responded(&*metrics, &Span::none(), &responded);
        let error = hosts::Error { kind: ErrorKind::Throttled, detail: "slow".to_owned() };
        metrics.called(&Span::none(), Operation::Query, Duration::from_millis(3), Some(&error));
        metrics.called(&Span::none(), Operation::Query, Duration::from_millis(3), None);
        metrics.read_units(0.5);
        metrics.read_units(25.0);
        let page = WatchedApi::new(metrics, watch).metrics();
        for line in [
            "http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",http_route=\"none\",http_response_status_code=\"404\"} 1",
            "db_client_operation_duration_seconds_count{db_operation_name=\"Query\",error_type=\"Throttled\"} 1",
            "db_client_operation_duration_seconds_count{db_operation_name=\"Query\"} 1",
            "mini_scan_api_read_units_total 25.5",
            "mini_scan_api_throttles_total 1",
            "mini_scan_ready 0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
        }
    }
}
