//! The text that Prometheus reads. Knows no metric by name.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{Display, Write};

use super::metrics::Metric;
use crate::consumer::Histogram;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writing to a `String` never fails, so what `write!` returns is nothing to look at.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

type Labels<'a> = &'a [(&'static str, &'a str)];

impl Exposition {
    /// The samples of this metric come next.
    pub(super) fn begin(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }

    pub(super) fn sample(&mut self, metric: &Metric, labels: Labels<'_>, value: impl Display) {
        self.line(metric.name, "", labels, None, value);
    }

    pub(super) fn histogram(&mut self, metric: &Metric, labels: Labels<'_>, histogram: &Histogram) {
        let mut below = 0;
        for (bound, at_most) in histogram.at_most() {
            let bound = bound.as_secs_f64().to_string();
            self.line(metric.name, "_bucket", labels, Some(&bound), at_most);
            below = at_most;
        }
        // Counted after the buckets, so at least as many; a reader takes the last bucket and the count for the same.
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

    pub(super) fn finish(self) -> String {
        self.text
    }
}

fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str(r"\n"),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{BUILD_INFO, PUBLISH_TO_DURABLE};
    use super::*;
    use crate::consumer::Durations;

    #[test]
    fn what_a_label_says_cannot_end_it() {
        let mut text = Exposition::default();
        text.begin(&BUILD_INFO);
        text.sample(&BUILD_INFO, &[("version", "a\"b\\c\nd"), ("revision", "ü")], 1);
        let expected = "# HELP mini_scan_build_info Always 1.\n# TYPE mini_scan_build_info gauge\n\
            mini_scan_build_info{version=\"a\\\"b\\\\c\\nd\",revision=\"ü\"} 1\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn a_histogram_has_its_bounds_in_seconds_and_ends_with_sum_and_count() {
        let mut text = Exposition::default();
        text.histogram(&PUBLISH_TO_DURABLE, &[], &Durations::default().publish_to_durable);
        let text = text.finish();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "mini_scan_publish_to_durable_seconds_bucket{le=\"0.01\"} 0");
        assert_eq!(lines[lines.len() - 4], "mini_scan_publish_to_durable_seconds_bucket{le=\"86400\"} 0");
        assert_eq!(
            lines[lines.len() - 3..],
            [
                "mini_scan_publish_to_durable_seconds_bucket{le=\"+Inf\"} 0",
                "mini_scan_publish_to_durable_seconds_sum 0",
                "mini_scan_publish_to_durable_seconds_count 0"
            ]
        );
    }
}
