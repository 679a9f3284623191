//! The metrics of the API: requests, operations and calls of the tables. `docs/widgets-metrics.md` describes them for people.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dynamodb::StoreErrorKind;
use http_api::Responded;
use ops::metrics::{Counter, Exposition, Histogram, Metric};
use tracing::Span;

use crate::operation::{Operation, Outcome, Refusal};
use crate::registry::{Answered, Failure, Observer};

pub(super) const REQUESTS: Metric = Metric::histogram(
    "http_server_request_duration_seconds",
    &["http_request_method", "http_route", "http_response_status_code"],
    "Duration of one request, by its route and the status of its response.",
);
pub(super) const CALLS: Metric = Metric::histogram(
    "db_client_operation_duration_seconds",
    &["db_operation_name", "error_type"],
    "Duration of one call of DynamoDB. A failed condition is not a failure.",
);
pub(super) const OPERATIONS: Metric = Metric::histogram(
    "widget_registry_operation_duration_seconds",
    &["operation", "outcome"],
    "Duration of one operation with its repeated attempts, by its outcome.",
);
pub(super) const RETRIES: Metric = Metric::counter(
    "widget_registry_retries_total",
    &["operation", "reason"],
    "Calls of DynamoDB that failed and were repeated.",
);
pub(super) const REBUILDS: Metric = Metric::counter(
    "widget_registry_rebuilds_total",
    &["operation"],
    "Transactions that were built again because another request had changed a widget.",
);

/// From a request that needs no table to the timeout of requests.
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
/// Operation and outcome, or operation and reason.
type Pair = (&'static str, &'static str);

type Histograms<K> = Mutex<BTreeMap<K, Arc<Histogram>>>;

/// The counters of the API. Any thread updates them.
#[derive(Debug, Default)]
pub struct ApiMetrics {
    requests: Histograms<Request>,
    calls: Histograms<Call>,
    operations: Histograms<Pair>,
    retries: Mutex<BTreeMap<Pair, Counter>>,
    rebuilds: Mutex<BTreeMap<&'static str, Counter>>,
}

impl ApiMetrics {
    pub(super) fn called(&self, call: &'static str, error: Option<&'static str>, took: Duration) {
        add(&self.calls, (call, error), took);
    }

    /// Adds the metrics to a page.
    pub(super) fn write(&self, text: &mut Exposition) {
        text.begin(&REQUESTS);
        for ((method, route, status), took) in snapshot(&self.requests) {
            write(text, &REQUESTS, [Some(method), Some(&*route), Some(&*status.to_string())], &took);
        }
        text.begin(&CALLS);
        for ((call, error), took) in snapshot(&self.calls) {
            write(text, &CALLS, [Some(call), error, None], &took);
        }
        text.begin(&OPERATIONS);
        for ((operation, outcome), took) in snapshot(&self.operations) {
            write(text, &OPERATIONS, [Some(operation), Some(outcome), None], &took);
        }
        text.begin(&RETRIES);
        for ((operation, reason), count) in &*self.retries.lock().unwrap_or_else(PoisonError::into_inner) {
            text.count(&[("operation", operation), ("reason", reason)], count.get());
        }
        text.begin(&REBUILDS);
        for (operation, count) in &*self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner) {
            text.count(&[("operation", operation)], count.get());
        }
    }
}

fn add<K: Ord>(histograms: &Histograms<K>, key: K, took: Duration) {
    let mut histograms = histograms.lock().unwrap_or_else(PoisonError::into_inner);
    let histogram = histograms.entry(key).or_insert_with(|| Arc::new(Histogram::new(&BOUNDS))).clone();
    drop(histograms);
    histogram.add(took);
}

/// Copies the map, so that no request waits for the page.
fn snapshot<K: Ord + Clone>(histograms: &Histograms<K>) -> BTreeMap<K, Arc<Histogram>> {
    histograms.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write(text: &mut Exposition, metric: &Metric, values: [Option<&str>; 3], took: &Histogram) {
    let values = values.into_iter().flatten();
    text.histogram(&metric.labels.iter().copied().zip(values).collect::<Vec<_>>(), took);
}

impl http_api::Observer for ApiMetrics {
    fn responded(&self, _: &Span, responded: &Responded<'_>) {
        let labels = (responded.method, responded.route.unwrap_or("none").to_owned(), responded.status);
        add(&self.requests, labels, responded.took);
    }
}

impl Observer for ApiMetrics {
    fn retried(&self, operation: &Operation, reason: StoreErrorKind) {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        retries.entry((operation.name(), reason.name())).or_default().add_one();
    }

    fn rebuilt(&self, operation: &Operation) {
        let mut rebuilds = self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner);
        rebuilds.entry(operation.name()).or_default().add_one();
    }

    fn finished(&self, operation: &Operation, result: &Result<Answered, Failure>, took: Duration) {
        add(&self.operations, (operation.name(), outcome(result)), took);
    }
}

/// Returns the name of an outcome in metrics.
fn outcome(result: &Result<Answered, Failure>) -> &'static str {
    let answered = match result {
        Err(Failure::Store(_)) => return "failed",
        Err(Failure::Unknown(_)) => return "unknown",
        Ok(answered) if answered.is_repeat => return "replayed",
        Ok(answered) => &answered.answer,
    };
    match answered {
        Ok(Outcome::Created(_)) => "created",
        Ok(Outcome::Exists(_)) => "exists",
        Ok(Outcome::Changed(_)) => "changed",
        Ok(Outcome::Unchanged(_)) => "unchanged",
        Ok(Outcome::Deleted) => "deleted",
        Ok(Outcome::Connected(_)) => "connected",
        Ok(Outcome::AlreadyConnected(_)) => "already_connected",
        Ok(Outcome::Disconnected) => "disconnected",
        Err(Refusal::MissingWidget(_)) => "widget_not_found",
        Err(Refusal::OtherContent { .. }) => "widget_exists",
        Err(Refusal::NoSuchPort { .. }) => "no_such_port",
        Err(Refusal::SameWidget) => "invalid_association",
        Err(Refusal::PortTaken { .. }) => "port_taken",
        Err(Refusal::NotConnected { .. }) => "not_connected",
        Err(Refusal::Changed { .. }) => "precondition_failed",
        Err(Refusal::KeyReused) => "idempotency_key_reused",
        Err(Refusal::Contradiction { .. }) => "inconsistent",
    }
}
