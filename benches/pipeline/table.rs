//! Renders the results as Markdown, for a terminal and for docs/performance.md, and compares two results.

use std::fmt::Write;

use crate::measure::Figure;
use crate::results::Results;
use crate::scenario::{ALL, BYTES, Measure, Program, Scenario};
use crate::spread::cell;

type Column = (&'static str, Figure, usize);

const COLUMNS: [Column; 9] = [
    ("CPU × bare", Figure::CpuRatio, 2),
    ("CPU × floor", Figure::CpuOverFloor, 2),
    ("throughput × floor", Figure::ThroughputOverFloor, 2),
    ("CPU µs", Figure::CpuMicroseconds, 1),
    ("messages/s", Figure::MessagesPerSecond, 0),
    ("writes per message", Figure::WritesPerMessage, 3),
    ("writes per key", Figure::WritesPerKey, 2),
    ("connections", Figure::Connections, 0),
    ("peak MB", Figure::PeakMb, 0),
];

const MEMORY: [Column; 5] = [
    ("MB full", Figure::FullMb, 0),
    ("peak MB", Figure::PeakMb, 0),
    ("MB after", Figure::AfterMb, 0),
    ("bytes per outstanding message", Figure::OutstandingBytes, 0),
    ("bytes per message read ahead", Figure::ReadAheadBytes, 0),
];

/// The figures of rows that have no column.
const SINGLE: [(&str, Figure); 3] =
    [("ms", Figure::StartMilliseconds), ("% of a core", Figure::IdlePercent), ("MB", Figure::FileMb)];

/// Renders the table of CPU and throughput.
pub(crate) fn speed(results: &Results) -> String {
    table(results, &COLUMNS, |scenario| !measures_memory(scenario))
}

/// Renders the table of memory.
pub(crate) fn memory(results: &Results) -> String {
    table(results, &MEMORY, measures_memory)
}

fn measures_memory(scenario: &Scenario) -> bool {
    matches!(scenario.measure, Measure::Full { .. })
        || matches!(scenario.measure, Measure::Drain { program: Program::Consumer(BYTES), .. })
}

fn table(results: &Results, columns: &[Column], is_row: impl Fn(&Scenario) -> bool) -> String {
    let mut text = String::from("|");
    let names = columns.iter().map(|(name, ..)| *name);
    std::iter::once("").chain(names).for_each(|name| _ = write!(text, " {name} |"));
    text.push_str("\n|---|");
    columns.iter().for_each(|_| text.push_str("--:|"));
    text.push('\n');
    for scenario in ALL.iter().filter(|scenario| is_row(scenario) && results.scenarios.contains_key(scenario.name)) {
        _ = write!(text, "| {} |", named(scenario, results));
        for (_, figure, digits) in columns {
            let cell = results.of(scenario.name, *figure).map(|spread| cell(spread, *digits)).unwrap_or_default();
            _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

fn named(scenario: &Scenario, results: &Results) -> String {
    let single = SINGLE.iter().find_map(|(unit, figure)| {
        let spread = results.of(scenario.name, *figure)?;
        Some(format!("{}: {} {unit}", scenario.title, cell(spread, 1)))
    });
    single.unwrap_or_else(|| scenario.title.to_owned())
}

/// Compares two results. Only a difference outside both spreads is shown as a change.
pub(crate) fn comparison(before: &Results, after: &Results) -> String {
    let mut text = String::from("| | before | after | change |\n|---|--:|--:|--:|\n");
    for scenario in ALL {
        for (name, figure, digits) in COLUMNS.into_iter().chain(MEMORY) {
            let found = |results: &Results| results.of(scenario.name, figure);
            let (Some(before), Some(after)) = (found(before), found(after)) else { continue };
            let apart = before.high < after.low || after.high < before.low;
            let change = 100.0 * (after.median / before.median - 1.0);
            let change =
                if apart { format!("**{change:+.0} %**") } else { format!("within the spread ({change:+.0} %)") };
            let (before, after) = (cell(before, digits), cell(after, digits));
            _ = writeln!(text, "| {}, {name} | {before} | {after} | {change} |", scenario.title);
        }
    }
    text
}
