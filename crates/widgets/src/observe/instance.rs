//! A running API, for its endpoint of metrics and health.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use ops::http::{Instance, Unready};
use ops::metrics::{Exposition, Metric, process};
use ops::{Liveness, StoreWatch};

use super::{ApiMetrics, PROGRAM, REVISION};

const READY: Metric = Metric::gauge("widget_registry_ready", "1 if the instance is ready.");
const BUILD_INFO: Metric = Metric {
    labels: &["version", "revision"],
    ..Metric::gauge("widget_registry_build_info", "1, with the version of the program.")
};

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
    use std::collections::BTreeSet;
    use std::time::Duration;

    use dynamodb::{StoreError, StoreErrorKind};
    use http_api::Responded;
    use tracing::Span;

    use super::*;
    use crate::operation::{Operation, Refusal};
    use crate::registry::{Answered, Failure, Observer};
    use crate::widget::{Port, Serial};

    const TOOK: Duration = Duration::from_millis(3);

    /// Returns the page of an API that has counted everything once.
    fn page() -> String {
        let metrics = Arc::<ApiMetrics>::default();
        let responded = Responded { route: None, method: "_OTHER", status: 404, took: TOOK };
        http_api::Observer::responded(&*metrics, &Span::none(), &responded);
        metrics.called("Scan", None, TOOK);
        metrics.called("GetItem", Some("Throttled"), TOOK);
        let serial = Serial::try_from("1".to_owned()).unwrap();
        let operation = Operation::Disconnect { serial: serial.clone(), port: Port::P };
        metrics.retried(&operation, StoreErrorKind::Conflict);
        metrics.rebuilt(&operation);
        let answer = Err(Refusal::MissingWidget(serial));
        metrics.finished(&operation, &Ok(Answered { answer: answer.clone(), is_repeat: false }), TOOK);
        metrics.finished(&operation, &Ok(Answered { answer, is_repeat: true }), TOOK);
        metrics.finished(&operation, &Err(Failure::Unknown(StoreError::no_answer(TOOK))), TOOK);
        WatchedApi::new(metrics, Arc::default()).metrics()
    }

    #[test]
    fn the_documentation_lists_exactly_the_metrics_with_their_types_and_labels() {
        let document = include_str!("../../../../docs/widgets-metrics.md");
        let rows = document.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        let rows = rows.filter(|row| row.len() > 4 && ["counter", "gauge", "histogram"].contains(&row[2]));
        let rows: Vec<_> =
            rows.map(|row| (row[1].trim_matches('`').to_owned(), row[2].to_owned(), row[3].to_owned())).collect();
        let documented: BTreeSet<_> = rows.iter().map(|(name, kind, _)| (name.clone(), kind.clone())).collect();
        let page = page();
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let types: BTreeSet<_> = types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        assert_eq!(documented, types);
        for (name, _, labels) in &rows {
            for label in labels.split(", ").map(|label| label.trim_matches('`')).filter(|label| !label.is_empty()) {
                let has_label =
                    page.lines().any(|sample| sample.starts_with(name) && sample.contains(&format!("{label}=\"")));
                assert!(has_label, "{name} has no label {label}");
            }
        }
    }

    #[test]
    fn counts_under_labels_that_no_client_chooses() {
        let page = page();
        for line in [
            "http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",http_route=\"none\",http_response_status_code=\"404\"} 1",
            "db_client_operation_duration_seconds_count{db_operation_name=\"GetItem\",error_type=\"Throttled\"} 1",
            "db_client_operation_duration_seconds_count{db_operation_name=\"Scan\"} 1",
            "widget_registry_operation_duration_seconds_count{operation=\"disconnect\",outcome=\"widget_not_found\"} 1",
            "widget_registry_operation_duration_seconds_count{operation=\"disconnect\",outcome=\"replayed\"} 1",
            "widget_registry_operation_duration_seconds_count{operation=\"disconnect\",outcome=\"unknown\"} 1",
            "widget_registry_retries_total{operation=\"disconnect\",reason=\"Conflict\"} 1",
            "widget_registry_rebuilds_total{operation=\"disconnect\"} 1",
            "widget_registry_ready 0",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
        }
    }
}
