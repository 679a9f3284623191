//! The name, type, labels and help text of every metric, without values. `docs/metrics.md` describes the same metrics for
//! people.

use ops::metrics::Metric;

// No label contains an address, a key or other content of a payload. The labels that are the same in all samples (those of
// the subscription or the table) are not listed here.

// Named by OpenTelemetry's conventions.
pub(super) const CONSUMED: Metric = Metric::counter(
    "messaging_client_consumed_messages_total",
    &[],
    "Messages delivered by the streams, including redeliveries.",
);
pub(super) const PROCESSED: Metric = Metric::histogram(
    "messaging_process_duration_seconds",
    &["error_type"],
    "Time from the arrival of a message to its settlement.",
);
pub(super) const CALLS: Metric = Metric::histogram(
    "db_client_operation_duration_seconds",
    &["error_type"],
    "Duration of one call that writes. A failed condition is not a failure.",
);

// The outcomes of messages.
pub(super) const OUTCOMES: Metric =
    Metric::counter("mini_scan_outcomes_total", &["outcome"], "Settled messages by outcome.");
pub(super) const PUBLISH_TO_DURABLE: Metric = Metric::histogram(
    "mini_scan_publish_to_durable_seconds",
    &[],
    "Time from the publishing of a message to the answer of the store.",
);
pub(super) const REDELIVERIES: Metric =
    Metric::counter("mini_scan_redeliveries_total", &[], "Deliveries with an attempt above 1.");
pub(super) const REJECTIONS: Metric =
    Metric::counter("mini_scan_rejections_total", &["reason"], "Rejected deliveries, with or without a dead letter.");
pub(super) const DEAD_LETTERS: Metric =
    Metric::counter("mini_scan_dead_letters_total", &["reason"], "Published dead letters.");

// Messages in progress, and their limits.
pub(super) const UNSETTLED: Metric =
    Metric::gauge("mini_scan_unsettled", "Messages delivered and not settled, including undecoded ones.");
pub(super) const OUTSTANDING: Metric =
    Metric::gauge("mini_scan_outstanding", "Messages decoded, waiting or being written.");
pub(super) const OUTSTANDING_LIMIT: Metric =
    Metric::gauge("mini_scan_outstanding_limit", "Limit of outstanding messages (--max-outstanding).");
pub(super) const PARKED: Metric =
    Metric::gauge("mini_scan_parked", "Parked messages: rejected without a dead letter, or refused by the table.");
pub(super) const PARKED_LIMIT: Metric = Metric::gauge("mini_scan_parked_limit", "Limit of parked messages.");
pub(super) const WRITES: Metric =
    Metric::gauge("mini_scan_writes_in_flight", "Attempts to write that were not answered yet.");
pub(super) const WRITE_LIMIT: Metric = Metric::gauge(
    "mini_scan_write_limit",
    "Current limit of writes in flight. It follows the throughput and drops while the table throttles or writes time out.",
);
pub(super) const WRITE_LIMIT_MAX: Metric =
    Metric::gauge("mini_scan_write_limit_max", "Upper bound of the limit of writes in flight (--max-writes).");

// The store.
pub(super) const CIRCUIT_BREAKER_OPEN: Metric = Metric::gauge(
    "mini_scan_circuit_breaker_open",
    "1 while the circuit breaker of the table is open: one write per second probes the table.",
);
pub(super) const RETRIES: Metric = Metric::counter(
    "mini_scan_retries_total",
    &["error_type"],
    "Attempts after the first, by the error of the previous attempt.",
);
pub(super) const THROTTLES: Metric = Metric::counter("mini_scan_throttles_total", &["reason"], "Throttled attempts.");
pub(super) const WRITE_UNITS: Metric = Metric::counter(
    "mini_scan_write_units_total",
    &["outcome"],
    "Write units consumed in the table, calculated from the sizes of records.",
);
pub(super) const WRITE_UNITS_SAVED: Metric =
    Metric::counter("mini_scan_write_units_saved_total", &["by"], "Write units of writes that were not needed.");
pub(super) const STORE_BYTES: Metric = Metric::counter(
    "mini_scan_store_bytes_total",
    &["direction"],
    "Bytes of records sent to the table and returned by it.",
);

// The streams.
pub(super) const STREAMS: Metric = Metric::gauge("mini_scan_streams", "Streams that are open or being opened.");
pub(super) const STREAM_AGE: Metric = Metric::gauge("mini_scan_stream_age_seconds", "Age of the youngest stream.");
pub(super) const STREAM_RESTARTS: Metric =
    Metric::counter("mini_scan_stream_restarts_total", &["cause"], "Replaced streams.");
pub(super) const UNFLUSHED: Metric = Metric::counter(
    "mini_scan_streams_unflushed_total",
    &[],
    "Replaced streams whose last acknowledgements could not be sent.",
);

// The instance.
pub(super) const READY: Metric =
    Metric::gauge("mini_scan_ready", "1 while /readyz reports that the instance is ready.");
pub(super) const BUILD_INFO: Metric =
    Metric { labels: &["version", "revision"], ..Metric::gauge("mini_scan_build_info", "Always 1.") };

#[cfg(test)]
mod tests {
    use ops::metrics::{MetricType, process};

    use super::super::page::tests::rendered_names;
    use super::*;

    const OURS: [Metric; 28] = [
        CONSUMED,
        PROCESSED,
        CALLS,
        OUTCOMES,
        PUBLISH_TO_DURABLE,
        REDELIVERIES,
        REJECTIONS,
        DEAD_LETTERS,
        UNSETTLED,
        OUTSTANDING,
        OUTSTANDING_LIMIT,
        PARKED,
        PARKED_LIMIT,
        WRITES,
        WRITE_LIMIT,
        WRITE_LIMIT_MAX,
        CIRCUIT_BREAKER_OPEN,
        RETRIES,
        THROTTLES,
        WRITE_UNITS,
        WRITE_UNITS_SAVED,
        STORE_BYTES,
        STREAMS,
        STREAM_AGE,
        STREAM_RESTARTS,
        UNFLUSHED,
        READY,
        BUILD_INFO,
    ];

    /// Returns every exported metric.
    fn all() -> impl Iterator<Item = Metric> {
        OURS.into_iter().chain(process::ALL)
    }

    const PAGE: &str = include_str!("../../docs/metrics.md");

    /// Returns name, type and labels of each row of the page, up to the metrics of other exporters.
    fn documented() -> Vec<(String, String, Vec<String>)> {
        let ours = PAGE.split("## From elsewhere").next().unwrap();
        let rows = ours.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix('|'));
        let rows = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_end_matches('`')).collect::<Vec<_>>());
        rows.filter(|row| row.len() == 4 && ["counter", "gauge", "histogram"].contains(&row[1]))
            .map(|row| {
                assert!(!row[3].is_empty(), "{row:?}");
                let labels = row[2].split(", ").filter(|label| !label.is_empty());
                let labels = labels.map(|label| label.trim_matches('`').to_owned());
                (row[0].to_owned(), row[1].to_owned(), labels.collect())
            })
            .collect()
    }

    fn as_documented(metric: Metric) -> (String, String, Vec<String>) {
        let constant = match metric {
            CALLS => Some("*table*".to_owned()),
            CONSUMED | PROCESSED | OUTCOMES | PUBLISH_TO_DURABLE => Some("*subscription*".to_owned()),
            _ => None,
        };
        let labels = constant.into_iter().chain(metric.labels.iter().map(|label| (*label).to_owned()));
        (metric.name.to_owned(), format!("{:?}", metric.kind).to_lowercase(), labels.collect())
    }

    #[test]
    fn the_documentation_lists_exactly_the_exported_metrics() {
        let (mut documented, mut exported) = (documented(), all().map(as_documented).collect::<Vec<_>>());
        documented.sort();
        exported.sort();
        assert_eq!(documented, exported);
    }

    #[test]
    fn each_metric_is_exported_once() {
        let mut names: Vec<_> = all().map(|metric| metric.name.to_owned()).collect();
        let mut rendered = rendered_names();
        names.sort();
        rendered.sort();
        assert_eq!(rendered, names);
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for Metric { name, kind, .. } in all() {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), kind == MetricType::COUNTER, "{name}");
            assert!(kind != MetricType::HISTOGRAM || name.ends_with("_seconds"), "{name}");
        }
    }

    #[test]
    fn no_label_can_contain_a_payload() {
        let labels: std::collections::BTreeSet<_> = all().flat_map(|metric| metric.labels).collect();
        let known = ["by", "cause", "direction", "error_type", "outcome", "reason", "revision", "version"];
        assert!(labels.into_iter().eq(known.iter()));
    }
}
