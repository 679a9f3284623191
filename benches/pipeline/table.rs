//! The results as Markdown, for a terminal and for docs/performance.md alike; and two of them beside each other.

use std::fmt::Write;

use crate::measure::Figure;
use crate::results::{Results, Spread};
use crate::scenario::{ALL, BYTES, Measure, Program, Scenario};

type Column = (&'static str, Figure, usize);

const COLUMNS: [Column; 8] = [
    ("CPU × bare", Figure::CpuRatio, 2),
    ("rate × bare", Figure::RateRatio, 2),
    ("CPU µs", Figure::CpuMicroseconds, 1),
    ("of it kernel", Figure::SystemMicroseconds, 1),
    ("messages/s", Figure::MessagesASecond, 0),
    ("writes a message", Figure::WritesAMessage, 3),
    ("writes a key", Figure::WritesAKey, 2),
    ("peak MB", Figure::PeakMb, 0),
];

const MEMORY: [Column; 5] = [
    ("MB held", Figure::HeldMb, 0),
    ("peak MB", Figure::PeakMb, 0),
    ("MB after", Figure::AfterMb, 0),
    ("bytes an outstanding message", Figure::OutstandingBytes, 0),
    ("bytes a message read ahead", Figure::ReadAheadBytes, 0),
];

/// Figures of rows that have none of the columns'.
const SINGLE: [(&str, Figure); 3] =
    [("ms", Figure::StartMilliseconds), ("% of a core", Figure::IdlePercent), ("MB", Figure::FileMb)];

/// What was measured of speed.
pub(crate) fn speed(results: &Results) -> String {
    table(results, &COLUMNS, |scenario| !is_of_memory(scenario))
}

/// What was measured of memory.
pub(crate) fn memory(results: &Results) -> String {
    table(results, &MEMORY, is_of_memory)
}

fn is_of_memory(scenario: &Scenario) -> bool {
    matches!(scenario.measure, Measure::Hold { .. })
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
        Some(format!("{}: {} {unit}", scenario.what, cell(spread, 1)))
    });
    single.unwrap_or_else(|| scenario.what.to_owned())
}

/// The median, and lowest and highest where they differ from it.
pub(crate) fn cell(Spread { low, median, high }: Spread, digits: usize) -> String {
    let text = |value: f64| format!("{value:.digits$}");
    match text(low) == text(high) {
        true => text(median),
        false => format!("{} ({}–{})", text(median), text(low), text(high)),
    }
}

/// What changed from `before` to `after`. Only what lies outside both spreads is called a change.
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
            _ = writeln!(text, "| {}, {name} | {before} | {after} | {change} |", scenario.what);
        }
    }
    text
}
