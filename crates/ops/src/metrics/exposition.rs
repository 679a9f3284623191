//! The text format of Prometheus.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{Display, Write};

use super::{Histogram, Metric};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of a metrics page. Writing to a `String` never fails, so the results of `write!` are ignored.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// Names and values.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

impl Exposition {
    /// Begins a metric: its samples come next.
    pub fn begin(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }

    pub fn sample(&mut self, metric: &Metric, labels: Labels<'_>, value: impl Display) {
        self.line(metric.name, "", labels, None, value);
    }

    pub fn histogram(&mut self, metric: &Metric, labels: Labels<'_>, histogram: &Histogram) {
        let mut below = 0;
        for (bound, cumulative) in histogram.cumulative() {
            let bound = bound.as_secs_f64().to_string();
            self.line(metric.name, "_bucket", labels, Some(&bound), cumulative);
            below = cumulative;
        }
        // Other threads may have added durations since the buckets were read, so this count is at least as high. The last
        // bucket and the count must be equal.
        let count = histogram.count().max(below);
        self.line(metric.name, "_bucket", labels, Some("+Inf"), count);
        self.line(metric.name, "_sum", labels, None, histogram.sum().as_secs_f64());
        self.line(metric.name, "_count", labels, None, count);
    }

    fn line(&mut self, name: &str, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        let text = &mut self.text;
        text.push_str(name);
        text.push_str(suffix);
        let labels = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (label, value) in labels {
            let _ = write!(text, "{before}{label}=\"");
            escape(text, value);
            text.push('"');
            before = ',';
        }
        let end = if before == ',' { "}" } else { "" };
        let _ = writeln!(text, "{end} {value}");
    }

    pub fn finish(self) -> String {
        self.text
    }
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str(r"\n"),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn escapes_the_values_of_labels() {
        const BUILD: Metric = Metric { labels: &["version", "revision"], ..Metric::gauge("build_info", "Always 1.") };
        let mut text = Exposition::default();
        text.begin(&BUILD);
        text.sample(&BUILD, &[("version", "a\"b\\c\nd"), ("revision", "ü")], 1);
        let expected = "# HELP build_info Always 1.\n# TYPE build_info gauge\n\
            build_info{version=\"a\\\"b\\\\c\\nd\",revision=\"ü\"} 1\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn a_histogram_has_bounds_in_seconds_and_ends_with_sum_and_count() {
        const LATENCY: Metric = Metric::histogram("latency_seconds", &[], "");
        const BOUNDS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(86_400)];
        let histogram = Histogram::new(&BOUNDS);
        histogram.add(Duration::from_millis(20));
        let mut text = Exposition::default();
        text.histogram(&LATENCY, &[], &histogram);
        let expected = [
            "latency_seconds_bucket{le=\"0.01\"} 0",
            "latency_seconds_bucket{le=\"86400\"} 1",
            "latency_seconds_bucket{le=\"+Inf\"} 1",
            "latency_seconds_sum 0.02",
            "latency_seconds_count 1",
        ];
        assert_eq!(text.finish().lines().collect::<Vec<_>>(), expected);
    }
}
