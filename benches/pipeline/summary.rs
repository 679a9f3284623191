//! The figures that other documents quote: the README, and the page about batches.

use std::fmt::Write;

use crate::costs;
use crate::measure::Figure;
use crate::results::Results;
use crate::scenario::{BARE, named};

/// The rows of the README: the name of the scenario, its title there, and the bare loop that makes the same writes.
const RELEASE: [(&str, &str, Option<&str>); 3] = [
    ("new", "new scans", Some(BARE)),
    ("copies", "ten copies of each scan", None),
    ("batch-new", "new scans, `--write-mode batch`", Some("bare-inserts")),
];
/// The scenarios that the page about batches compares.
const MODES: [&str; 2] = ["new", "batch-new"];

/// Renders the README's table: the shipped program with its defaults.
pub(crate) fn release(results: &Results) -> String {
    let mut text = format!(
        "| {} cores, shared with the load generator | Messages per second | CPU per message | CPU of the bare SDK | \
         Peak memory | Writes per message | $ per million: write units and traffic |\n|---|--:|--:|--:|--:|--:|--:|\n",
        results.cores
    );
    for (name, title, bare) in RELEASE {
        let median = |name: &str, figure| Some(results.of(name, figure)?.median);
        let bare = bare.and_then(|bare| median(bare, Figure::CpuMicroseconds));
        let row = || {
            Some(format!(
                "| {title} | {} | {} µs | {} | {:.0} MB | {:.2} | {:.2} |",
                short(median(name, Figure::MessagesPerSecond)?),
                short(median(name, Figure::CpuMicroseconds)?),
                bare.map_or("–".to_owned(), |bare| format!("{} µs", short(bare))),
                median(name, Figure::PeakMb)?,
                median(name, Figure::WritesPerMessage)?,
                costs::dollars(results, name)?,
            ))
        };
        if let Some(row) = row() {
            _ = writeln!(text, "{row}");
        }
    }
    text
}

/// Renders the comparison of both write modes.
pub(crate) fn modes(results: &Results) -> String {
    let mut text = String::from("| New scans | `put` | `batch` |\n|---|--:|--:|\n");
    let throughput = format!("per second, {} cores shared with the load generator", results.cores);
    for (title, figure, unit) in [
        ("CPU per scan", Figure::CpuMicroseconds, " µs"),
        (&throughput, Figure::MessagesPerSecond, ""),
        ("bytes to the table per scan", Figure::BytesTo, ""),
    ] {
        if let [Some(put), Some(batch)] = MODES.map(|name| results.of(name, figure)) {
            _ = writeln!(text, "| {title} | {}{unit} | {}{unit} |", short(put.median), short(batch.median));
        }
    }
    text
}

/// Renders what the run found, in words, and where it ran.
pub(crate) fn findings(results: &Results) -> String {
    let mut text = format!(
        "The figures are medians of {} rounds on {} cores, which the load generator shares.\n",
        results.rounds, results.cores
    );
    for name in ["new", "stale", "batch-known", "batch-new"] {
        let row = || {
            let scenario = named(name)?;
            let floor = named(scenario.floor?)?;
            let ratio = results.of(name, Figure::CpuOverFloor)?.median;
            Some(format!("- {}: {ratio:.2} × the CPU time of the {}", scenario.title, floor.title))
        };
        if let Some(row) = row() {
            _ = write!(text, "\n{row}");
        }
    }
    text + "\n"
}

/// Formats a number with about three significant digits, and with commas between thousands.
fn short(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.1}");
    }
    let step = 10_f64.powf((value.log10().floor() - 2.0).max(0.0));
    let digits = format!("{:.0}", (value / step).round() * step);
    let mut text = String::new();
    for (number, digit) in digits.chars().enumerate() {
        if number > 0 && (digits.len() - number).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
