//! Counts of answers, and latencies. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use indicatif::HumanCount;
use serde_json::{Value, json};

/// The growth from one class of latencies to the next, so percentiles are exact to 2 %.
const GROWTH: f64 = 1.02;

/// The latencies of any number of requests in a few kilobytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// How many had at most `GROWTH` to the power of the index, in microseconds.
    classes: BTreeMap<u32, u64>,
    count: u64,
    max: Duration,
}

impl Latencies {
    pub fn add(&mut self, latency: Duration) {
        let microseconds = (latency.as_secs_f64() * 1e6).max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let class = (microseconds.ln() / GROWTH.ln()).ceil() as u32;
        *self.classes.entry(class).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// Returns a percentile in milliseconds, e.g. the 99th for 0.99.
    pub fn percentile(&self, share: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count below 2^52")]
        let wanted = share * self.count as f64;
        let mut below = 0;
        for (class, count) in &self.classes {
            below += count;
            #[expect(clippy::cast_precision_loss, reason = "a count below 2^52")]
            if below as f64 >= wanted {
                return (GROWTH.powf(f64::from(*class)) / 1e3).min(self.max_ms());
            }
        }
        self.max_ms()
    }

    pub fn max_ms(&self) -> f64 {
        self.max.as_secs_f64() * 1e3
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    Status(u16),
    NoAnswer,
}

impl Ended {
    /// Returns whether no correct and reachable API ends a request like this.
    pub fn is_wrong(self) -> bool {
        match self {
            Ended::Status(status) => status >= 500 && status != 503,
            Ended::NoAnswer => true,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Status(status) => write!(f, "{status}"),
            Ended::NoAnswer => f.write_str("no answer"),
        }
    }
}

/// What a run measured.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Results {
    counts: BTreeMap<(&'static str, Ended), u64>,
    pub latencies: Latencies,
}

impl Results {
    /// Notes the end of a request. Creations have no intended start, so they have no latency.
    pub fn add(&mut self, operation: &'static str, ended: Ended, latency: Option<Duration>) {
        *self.counts.entry((operation, ended)).or_default() += 1;
        if let Some(latency) = latency {
            self.latencies.add(latency);
        }
    }

    /// Returns the number of all requests.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Returns how many requests had no answer, or one that no correct API gives.
    pub fn wrong(&self) -> u64 {
        self.counts.iter().filter(|((_, ended), _)| ended.is_wrong()).map(|(_, count)| count).sum()
    }

    pub fn json(&self, lasted: Duration) -> Value {
        let counts = self.counts.iter().map(|((operation, ended), count)| {
            let status = match ended {
                Ended::Status(status) => json!(status),
                Ended::NoAnswer => Value::Null,
            };
            json!({ "operation": operation, "status": status, "count": count })
        });
        let latencies = &self.latencies;
        json!({
            "seconds": rounded(lasted.as_secs_f64()),
            "counts": counts.collect::<Vec<_>>(),
            "latency_ms": {
                "p50": rounded(latencies.percentile(0.5)),
                "p90": rounded(latencies.percentile(0.9)),
                "p99": rounded(latencies.percentile(0.99)),
                "max": rounded(latencies.max_ms()),
            },
        })
    }
}

/// Returns a number with three digits after the point.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<12}  {:<9}  {:>12}", "OPERATION", "STATUS", "COUNT")?;
        for ((operation, ended), count) in &self.counts {
            writeln!(f, "  {operation:<12}  {:<9}  {:>12}", ended.to_string(), HumanCount(*count).to_string())?;
        }
        let latencies = &self.latencies;
        if latencies.count() > 0 {
            let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| latencies.percentile(share));
            let max = latencies.max_ms();
            writeln!(
                f,
                "\n  Latency from the intended start: p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, max {max:.1} ms"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_two_percent() {
        let mut latencies = Latencies::default();
        (1..=10_000).for_each(|n| latencies.add(Duration::from_micros(100 * n)));
        for (share, wanted) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = latencies.percentile(share);
            assert!((found / wanted - 1.0_f64).abs() < 0.021, "{share}: {found}");
        }
        assert!((latencies.max_ms() - 1_000.0).abs() < 1e-9);
        assert!(Latencies::default().percentile(0.99).abs() < 1e-9);
    }

    #[test]
    fn only_answers_that_a_correct_api_never_gives_are_wrong() {
        let mut results = Results::default();
        for status in [200, 404, 409, 503, 500, 502] {
            results.add("connect", Ended::Status(status), Some(Duration::from_millis(1)));
        }
        results.add("create", Ended::NoAnswer, None);
        assert_eq!((results.wrong(), results.latencies.count()), (3, 6));
        assert!(results.to_string().contains("  create        no answer             1\n"), "{results}");
    }
}
