//! The response to `GET /metrics`: the current values under the names of [`super::names`].

use std::time::SystemTime;

use ops::metrics::{Exposition, Labels, Metric, process};

use super::metrics::Metrics;
use super::names;
use super::traffic::Traffic;
use super::{PROGRAM, REVISION};
use crate::consumer::ports::{Operation, Restart, StoreErrorKind, Throttle};
use crate::consumer::{Load, Process};
use crate::scan::Reason;

/// Returns every metric as Prometheus text. `started` is when the process started.
pub(super) fn page(process: &Process, metrics: &Metrics, started: SystemTime) -> String {
    let mut page = Page { text: Exposition::default(), process, metrics };
    let load = process.load();
    page.messages(&load);
    page.bounds(&load);
    page.store(&metrics.traffic);
    page.streams();
    page.instance(started);
    page.text.finish()
}

struct Page<'a> {
    text: Exposition,
    process: &'a Process,
    metrics: &'a Metrics,
}

impl Page<'_> {
    fn messages(&mut self, load: &Load) {
        let metrics = self.metrics;
        let counts = metrics.snapshot();
        let outcomes = [
            ("stored", counts.stored),
            ("stale", counts.stale),
            ("expired", counts.expired),
            ("rejected", counts.dead_lettered),
            ("dead_letter_failed", counts.dead_letter_failed),
            ("given_up", counts.given_up),
            ("released", counts.released),
        ];
        let labels = self.subscription();
        self.text.begin(&names::CONSUMED);
        self.text.count(&labels, counts.received);
        self.counts_of(&labels, &names::OUTCOMES, outcomes);
        self.count(&names::REDELIVERIES, metrics.redelivered.get());
        self.counts(&names::REJECTIONS, Reason::ALL.map(|reason| (reason.as_str(), metrics.rejections(reason).get())));
        let dead_letters = Reason::ALL.map(|reason| (reason.as_str(), metrics.dead_letters(reason).get()));
        self.counts(&names::DEAD_LETTERS, dead_letters);
        self.gauge(&names::UNSETTLED, load.unsettled);

        self.text.begin(&names::PROCESSED);
        for (error, took) in metrics.durations.messages().filter(|(error, took)| error.is_none() || took.count() > 0) {
            self.text.histogram(&with_error(&labels, error), took);
        }
        self.text.begin(&names::PUBLISH_TO_DURABLE);
        self.text.histogram(&labels, &metrics.durations.publish_to_durable);
    }

    fn bounds(&mut self, load: &Load) {
        self.gauge(&names::OUTSTANDING, load.outstanding);
        self.gauge(&names::OUTSTANDING_LIMIT, load.outstanding_limit);
        self.gauge(&names::PARKED, load.parked);
        self.gauge(&names::PARKED_LIMIT, load.parked_limit);
        self.gauge(&names::WRITES, load.writes);
        self.gauge(&names::WRITE_LIMIT, load.writes_limit);
        self.gauge(&names::WRITE_LIMIT_MAX, load.writes_limit_max);
        self.gauge(&names::CIRCUIT_BREAKER_OPEN, usize::from(load.circuit_breaker_open));
    }

    fn store(&mut self, traffic: &Traffic) {
        let metrics = self.metrics;
        self.text.begin(&names::CALLS);
        for operation in Operation::ALL {
            self.calls(operation);
        }
        let retries = StoreErrorKind::ALL.map(|kind| (kind.name(), metrics.retries(kind).get()));
        self.counts(&names::RETRIES, retries);
        let throttles = Throttle::ALL.map(|throttle| (throttle.name(), metrics.throttles(throttle).get()));
        self.counts(&names::THROTTLES, throttles);
        let spent = [
            ("stored", &traffic.stored_units),
            ("stale", &traffic.stale_units),
            ("other_verb", &traffic.other_verb_units),
        ];
        let saved = [("coalescing", &traffic.superseded_units), ("cache", &traffic.known_units)];
        let bytes = [("sent", &traffic.sent_bytes), ("received", &traffic.received_bytes)];
        self.counts(&names::WRITE_UNITS, spent.map(|(outcome, units)| (outcome, units.get())));
        self.counts(&names::WRITE_UNITS_SAVED, saved.map(|(by, units)| (by, units.get())));
        self.counts(&names::STORE_BYTES, bytes.map(|(direction, bytes)| (direction, bytes.get())));
    }

    fn calls(&mut self, operation: Operation) {
        let table = self.process.settings.table.as_str();
        let operation_name = ("db_operation_name", operation.name());
        let labels = [("db_system_name", "aws.dynamodb"), ("db_collection_name", table), operation_name];
        let calls = self.metrics.durations.calls(operation);
        // Successful PutItem calls are exported from the start, so that a rate includes the first of them.
        let is_always_exported = |kind: Option<StoreErrorKind>| operation == Operation::Put && kind.is_none();
        for (kind, took) in calls.filter(|(kind, took)| is_always_exported(*kind) || took.count() > 0) {
            let error = kind.map(StoreErrorKind::name);
            self.text.histogram(&with_error(&labels, error), took);
        }
    }

    fn streams(&mut self) {
        let metrics = self.metrics;
        let ages = metrics.streams.ages();
        self.gauge(&names::STREAMS, ages.len());
        self.text.begin(&names::STREAM_AGE);
        if let Some(youngest) = ages.iter().min() {
            self.text.sample(&[], youngest.as_secs_f64());
        }
        let restarts = Restart::ALL.map(|cause| (cause.name(), metrics.stream_restarts(cause).get()));
        self.counts(&names::STREAM_RESTARTS, restarts);
        self.count(&names::UNFLUSHED, metrics.unflushed.get());
    }

    fn instance(&mut self, started: SystemTime) {
        self.gauge(&names::READY, usize::from(self.process.unready().is_empty()));
        self.text.begin(&names::BUILD_INFO);
        let build = [("version", PROGRAM.version), ("revision", REVISION)];
        self.text.count(&build, 1);
        process::write(&mut self.text, started);
    }

    fn count(&mut self, metric: &Metric, value: u64) {
        self.text.begin(metric);
        self.text.count(&[], value);
    }

    fn gauge(&mut self, metric: &Metric, value: usize) {
        self.count(metric, value as u64);
    }

    /// Writes one sample per value of the metric's label.
    fn counts<'v>(&mut self, metric: &Metric, values: impl IntoIterator<Item = (&'v str, u64)>) {
        self.counts_of(&[], metric, values);
    }

    /// Writes one sample per value of the metric's label, each also with these labels.
    fn counts_of<'v>(&mut self, labels: Labels<'v>, metric: &Metric, values: impl IntoIterator<Item = (&'v str, u64)>) {
        self.text.begin(metric);
        for (value, count) in values {
            self.text.count(&[labels, &[(metric.labels[0], value)]].concat(), count);
        }
    }
}

impl<'a> Page<'a> {
    /// Returns the labels of the subscription.
    fn subscription(&self) -> [(&'static str, &'a str); 3] {
        // Two projects may have subscriptions with the same ID. Alerts join both labels with those of Google's metrics.
        let mut parts = self.process.settings.subscription.split('/').skip(1).step_by(2);
        let (project, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        [("messaging_system", "gcp_pubsub"), ("gcp_project_id", project), ("messaging_destination_name", id)]
    }
}

fn with_error<'a>(labels: &[(&'static str, &'a str)], error: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    labels.iter().copied().chain(error.map(|error| ("error_type", error))).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::consumer::settings::{Settings, WriteMode};

    fn process(metrics: &Arc<Metrics>) -> Process {
        let (one, second) = (NonZeroUsize::MIN, Duration::from_secs(1));
        let settings = Settings {
            consumers: one,
            threads: one,
            max_outstanding: NonZeroUsize::new(100).unwrap(),
            max_outstanding_bytes: 1 << 20,
            max_writes: NonZeroUsize::new(64).unwrap(),
            max_future_skew: second,
            ttl: None,
            max_retry_time: second,
            write_mode: WriteMode::Put,
            cache_entries: 0,
            cache_max_age: second,
            shutdown_grace: second,
            subscription: "projects/p/subscriptions/scan-sub".to_owned(),
            table: "scan-results".to_owned(),
        };
        Process::new(settings, metrics.clone())
    }

    /// Returns the names on the page, in its order.
    pub(crate) fn rendered_names() -> Vec<String> {
        let metrics = Arc::<Metrics>::default();
        // The age of the youngest stream is exported only while a stream is open.
        metrics.streams.opened(0);
        let page = page(&process(&metrics), &metrics, SystemTime::UNIX_EPOCH);
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    #[test]
    fn a_new_process_exports_its_limits_and_counters_of_zero() {
        let metrics = Arc::<Metrics>::default();
        metrics.throttles(Throttle::Table).add(2);
        metrics.throttles(Throttle::Key).add(1);
        metrics.throttles(Throttle::Partition).add(3);
        metrics.streams.opened(0);
        let page = page(&process(&metrics), &metrics, SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        for line in [
            "mini_scan_outcomes_total{messaging_system=\"gcp_pubsub\",gcp_project_id=\"p\",messaging_destination_name=\"scan-sub\",outcome=\"stored\"} 0",
            // The objective of freshness needs these bounds.
            "mini_scan_publish_to_durable_seconds_bucket{messaging_system=\"gcp_pubsub\",gcp_project_id=\"p\",messaging_destination_name=\"scan-sub\",le=\"30\"} 0",
            "mini_scan_publish_to_durable_seconds_bucket{messaging_system=\"gcp_pubsub\",gcp_project_id=\"p\",messaging_destination_name=\"scan-sub\",le=\"3600\"} 0",
            "db_client_operation_duration_seconds_count{db_system_name=\"aws.dynamodb\",db_collection_name=\"scan-results\",db_operation_name=\"PutItem\"} 0",
            "mini_scan_rejections_total{reason=\"item_too_large\"} 0",
            "mini_scan_stream_restarts_total{cause=\"silent\"} 0",
            "mini_scan_throttles_total{reason=\"table\"} 2",
            "mini_scan_throttles_total{reason=\"key\"} 1",
            "mini_scan_throttles_total{reason=\"partition\"} 3",
            "mini_scan_retries_total{error_type=\"Unavailable\"} 0",
            "mini_scan_outstanding_limit 100",
            "mini_scan_parked_limit 100",
            "mini_scan_write_limit 32",
            "mini_scan_write_limit_max 64",
            "mini_scan_streams 1",
            "mini_scan_ready 0",
            "process_start_time_seconds 1.5",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
        }
    }
}
