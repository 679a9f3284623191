//! The text format of Prometheus, written by the crate `prometheus`. The values are ours, so that counting needs no lock.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::time::Duration;

use prometheus::TextEncoder;
use prometheus::proto::{self, Bucket, LabelPair, MetricFamily};

use super::{Histogram, Metric};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of a page. A metric without samples is left out.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<MetricFamily>,
}

/// Names and values.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

impl Exposition {
    /// Begins a metric: its samples come next.
    pub fn begin(&mut self, metric: &Metric) {
        let mut family = MetricFamily::default();
        family.set_name(metric.name.to_owned());
        family.set_help(metric.help.to_owned());
        family.set_field_type(metric.kind);
        self.families.push(family);
    }

    pub fn sample(&mut self, labels: Labels<'_>, value: f64) {
        // The library writes the one that fits the type of the metric.
        let (mut counter, mut gauge) = (proto::Counter::default(), proto::Gauge::default());
        counter.set_value(value);
        gauge.set_value(value);
        self.add(labels, |sample| {
            sample.set_counter(counter);
            sample.set_gauge(gauge);
        });
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
    pub fn count(&mut self, labels: Labels<'_>, count: u64) {
        self.sample(labels, count as f64);
    }

    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let (cumulative, count) = histogram.cumulative();
        let bucket = |(bound, cumulative): (Duration, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(cumulative);
            bucket
        };
        let mut values = proto::Histogram::default();
        values.set_bucket(cumulative.into_iter().map(bucket).collect());
        values.set_sample_count(count);
        values.set_sample_sum(histogram.sum().as_secs_f64());
        self.add(labels, |sample| sample.set_histogram(values));
    }

    fn add(&mut self, labels: Labels<'_>, set: impl FnOnce(&mut proto::Metric)) {
        let pair = |(name, value): &(&'static str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut sample = proto::Metric::from_label(labels.iter().map(pair).collect());
        set(&mut sample);
        let family = self.families.last_mut().expect("a metric has begun");
        family.mut_metric().push(sample);
    }

    pub fn finish(mut self) -> String {
        self.families.retain(|family| !family.get_metric().is_empty());
        TextEncoder::new().encode_to_string(&self.families).expect("every metric has a name and a sample")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_the_values_of_labels() {
        const BUILD: Metric = Metric { labels: &["version", "revision"], ..Metric::gauge("build_info", "Always 1.") };
        let mut text = Exposition::default();
        text.begin(&BUILD);
        text.count(&[("version", "a\"b\\c\nd"), ("revision", "ü")], 1);
        let expected = "# HELP build_info Always 1.\n# TYPE build_info gauge\n\
            build_info{version=\"a\\\"b\\\\c\\nd\",revision=\"ü\"} 1\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn a_metric_without_samples_is_left_out() {
        let mut text = Exposition::default();
        text.begin(&Metric::gauge("age_seconds", "How old it is."));
        assert_eq!(text.finish(), "");
    }

    #[test]
    fn a_histogram_has_bounds_in_seconds_and_ends_with_sum_and_count() {
        const LATENCY: Metric = Metric::histogram("latency_seconds", &[], "How long it takes.");
        const BOUNDS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(86_400)];
        let histogram = Histogram::new(&BOUNDS);
        histogram.add(Duration::from_millis(20));
        let mut text = Exposition::default();
        text.begin(&LATENCY);
        text.histogram(&[], &histogram);
        let expected = [
            "# HELP latency_seconds How long it takes.",
            "# TYPE latency_seconds histogram",
            "latency_seconds_bucket{le=\"0.01\"} 0",
            "latency_seconds_bucket{le=\"86400\"} 1",
            "latency_seconds_bucket{le=\"+Inf\"} 1",
            "latency_seconds_sum 0.02",
            "latency_seconds_count 1",
        ];
        assert_eq!(text.finish().lines().collect::<Vec<_>>(), expected);
    }
}
