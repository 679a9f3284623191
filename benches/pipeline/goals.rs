//! What is to be reached, and whether this run reached it.

use std::fmt::Write;

use crate::measure::Figure;
use crate::results::{Results, Spread};
use crate::table::cell;

/// The row of what `make bench` counts of decoding, with its own program.
pub(crate) const DECODE: &str = "decode";

struct Goal {
    what: &'static str,
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

const fn most(what: &'static str, row: &'static str, figure: Figure, most: f64, unit: &'static str) -> Goal {
    Goal { what, row, figure, bound: Bound::AtMost(most), unit, digits: 2 }
}

const fn least(what: &'static str, row: &'static str, least: f64, unit: &'static str) -> Goal {
    Goal { what, row, figure: Figure::RateBeside, bound: Bound::AtLeast(least), unit, digits: 2 }
}

const fn digits(goal: Goal, digits: usize) -> Goal {
    Goal { digits, ..goal }
}

const GOALS: &[Goal] = &[
    most("CPU a message, PutItem mode", "new", Figure::CpuRatio, 0.9, " × bare"),
    most("CPU a message, batch mode, known keys", "batch-known", Figure::CpuRatio, 0.15, " × bare"),
    most("write units a message, batches, a tenth missing", "batch-tenth", Figure::UnitsAMessage, 1.1, ""),
    most("write units a message, batches, half missing", "batch-half", Figure::UnitsAMessage, 1.5, ""),
    least("rate with 10 messages held", "held", 0.95, " of that without"),
    least("rate at 50 ms, 10,000 outstanding", "slow-10000", 0.95, " of that of new scans"),
    digits(most("writes a message, ten copies", "copies", Figure::WritesAMessage, 0.11, ""), 3),
    least("rate, ten copies", "copies", 0.6, " of the worker's"),
    digits(most("writes a message, ten timestamps in order, 20 ms", "in-order", Figure::WritesAMessage, 0.21, ""), 3),
    digits(most("writes a message, a million stale of 10,000 keys", "backlog", Figure::WritesAMessage, 0.011, ""), 3),
    least("rate, a million stale of 10,000 keys", "backlog", 0.8, " of the worker's"),
    most("instructions of decoding, text", DECODE, Figure::DecodeTextRatio, 1.5, " × serde_json alone"),
    most("instructions of decoding, base64", DECODE, Figure::DecodeBase64Ratio, 1.5, " × serde_json alone"),
    digits(most("allocations of decoding", DECODE, Figure::DecodeAllocations, 4.0, ""), 0),
    digits(most("peak memory, 1,000 outstanding", "hold-1000", Figure::PeakMb, 40.0, " MB"), 0),
    digits(most("peak memory, 100,000 outstanding", "hold-100000", Figure::PeakMb, 150.0, " MB"), 0),
    digits(most("idle, 10 streams", "idle", Figure::IdlePercent, 0.5, " % of a core"), 1),
    digits(most("start to first write", "start", Figure::StartMilliseconds, 300.0, " ms"), 0),
    digits(most("the program's file", "size", Figure::FileMb, 20.0, " MB"), 1),
];

pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from("| Goal | | Measured | |\n|---|--:|--:|---|\n");
    for goal in GOALS {
        let found = results.of(goal.row, goal.figure);
        // A run of some rows says nothing of the others; decoding is counted apart, and only where valgrind is.
        if found.is_none() && goal.row != DECODE {
            continue;
        }
        let measured = found.map_or("not measured".to_owned(), |spread| cell(spread, goal.digits));
        let verdict = found.map(|spread| goal.verdict(spread)).unwrap_or_default();
        let (sign, bound) = match goal.bound {
            Bound::AtMost(bound) => ('≤', bound),
            Bound::AtLeast(bound) => ('≥', bound),
        };
        _ = writeln!(text, "| {} | {sign} {bound}{} | {measured} | {verdict} |", goal.what, goal.unit);
    }
    text
}

impl Goal {
    /// By the median, as it is printed.
    fn verdict(&self, Spread { median, .. }: Spread) -> String {
        let ten = 10_f64.powi(i32::try_from(self.digits).unwrap_or_default());
        let median = (median * ten).round() / ten;
        let missed = |bound: f64, word| format!("**{:.0} % {word}**", 100.0 * (median / bound - 1.0).abs());
        match self.bound {
            Bound::AtMost(most) if median > most => missed(most, "above"),
            Bound::AtLeast(least) if median < least => missed(least, "below"),
            Bound::AtMost(_) | Bound::AtLeast(_) => "reached".to_owned(),
        }
    }
}
