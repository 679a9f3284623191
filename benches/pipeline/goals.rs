//! The goals, and whether this run met them.

use std::fmt::Write;

use crate::measure::Figure;
use crate::results::Results;
use crate::spread::{Spread, cell};

/// The row of the decoding figures, which `make bench` counts with a separate program.
pub(crate) const DECODE: &str = "decode";

struct Goal {
    title: &'static str,
    row: &'static str,
    figure: Figure,
    bound: Bound,
    unit: &'static str,
    digits: usize,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

const fn at_most(title: &'static str, row: &'static str, figure: Figure, bound: f64, unit: &'static str) -> Goal {
    Goal { title, row, figure, bound: Bound::AtMost(bound), unit, digits: 2 }
}

const fn throughput_at_least(title: &'static str, row: &'static str, bound: f64, unit: &'static str) -> Goal {
    Goal { title, row, figure: Figure::RelativeThroughput, bound: Bound::AtLeast(bound), unit, digits: 2 }
}

const fn digits(goal: Goal, digits: usize) -> Goal {
    Goal { digits, ..goal }
}

const GOALS: &[Goal] = &[
    at_most("CPU per message, PutItem mode", "new", Figure::CpuOverFloor, 1.1, " × bare"),
    at_most("CPU per message, PutItem mode, stale scans", "stale", Figure::CpuOverFloor, 1.1, " × bare"),
    at_most("CPU per message, batch mode, new keys", "batch-new", Figure::CpuOverFloor, 2.0, " × bare batch"),
    at_most("CPU per message, batch mode, known keys", "batch-known", Figure::CpuOverFloor, 2.0, " × bare batch"),
    at_most("write units per message, batches, a tenth missing", "batch-tenth", Figure::UnitsPerMessage, 1.1, ""),
    at_most("write units per message, batches, half missing", "batch-half", Figure::UnitsPerMessage, 1.5, ""),
    throughput_at_least("throughput with 10 unanswered writes", "unanswered", 0.95, " × without"),
    throughput_at_least("throughput at 50 ms, 10,000 outstanding", "slow-10000", 0.95, " × new scans"),
    digits(at_most("writes per message, ten copies", "copies", Figure::WritesPerMessage, 0.11, ""), 3),
    throughput_at_least("throughput, ten copies", "copies", 0.6, " × worker"),
    digits(
        at_most("writes per message, ten timestamps in order, 20 ms", "in-order", Figure::WritesPerMessage, 0.21, ""),
        3,
    ),
    digits(
        at_most("writes per message, a million stale of 10,000 keys", "backlog", Figure::WritesPerMessage, 0.011, ""),
        3,
    ),
    Goal {
        figure: Figure::ThroughputOverFloor,
        ..throughput_at_least("throughput, a million stale of 10,000 keys", "backlog", 0.8, " × bare consumer")
    },
    at_most("instructions of decoding, text", DECODE, Figure::DecodeTextRatio, 1.5, " × serde_json alone"),
    at_most("instructions of decoding, base64", DECODE, Figure::DecodeBase64Ratio, 1.5, " × serde_json alone"),
    digits(at_most("allocations of decoding", DECODE, Figure::DecodeAllocations, 4.0, ""), 0),
    digits(at_most("peak memory, 1,000 outstanding", "full-1000", Figure::PeakMb, 40.0, " MB"), 0),
    digits(at_most("peak memory, 100,000 outstanding", "full-100000", Figure::PeakMb, 150.0, " MB"), 0),
    digits(at_most("idle, 10 streams", "idle", Figure::IdlePercent, 0.5, " % of a core"), 1),
    digits(at_most("start to first write", "start", Figure::StartMilliseconds, 300.0, " ms"), 0),
    digits(at_most("size of the executable", "size", Figure::FileMb, 20.0, " MB"), 1),
];

pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from("| Goal | Target | Measured | Result |\n|---|--:|--:|---|\n");
    for goal in GOALS {
        let found = results.of(goal.row, goal.figure);
        // A partial run omits goals of other rows. Decoding is counted separately, and only if valgrind is installed.
        if found.is_none() && goal.row != DECODE {
            continue;
        }
        let measured = found.map_or("not measured".to_owned(), |spread| cell(spread, goal.digits));
        let result = found.map(|spread| goal.result(spread)).unwrap_or_default();
        let (sign, bound) = match goal.bound {
            Bound::AtMost(bound) => ('≤', bound),
            Bound::AtLeast(bound) => ('≥', bound),
        };
        _ = writeln!(text, "| {} | {sign} {bound}{} | {measured} | {result} |", goal.title, goal.unit);
    }
    text
}

impl Goal {
    /// Compares the median, as printed, with the goal.
    fn result(&self, Spread { median, .. }: Spread) -> String {
        let ten = 10_f64.powi(i32::try_from(self.digits).unwrap_or_default());
        let median = (median * ten).round() / ten;
        let missed = |bound: f64, word| format!("**{:.0} % {word}**", 100.0 * (median / bound - 1.0).abs());
        match self.bound {
            Bound::AtMost(most) if median > most => missed(most, "above"),
            Bound::AtLeast(least) if median < least => missed(least, "below"),
            Bound::AtMost(_) | Bound::AtLeast(_) => "met".to_owned(),
        }
    }
}
