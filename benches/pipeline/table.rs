//! The results as Markdown, for a terminal and for docs/performance.md alike; and two of them beside each other.

use std::fmt::Write;

use crate::measure::Figure;
use crate::results::{Results, Spread};
use crate::scenario::{ALL, Scenario};

const COLUMNS: [(&str, Figure, usize); 8] = [
    ("CPU × bare", Figure::CpuRatio, 2),
    ("rate × bare", Figure::RateRatio, 2),
    ("CPU µs", Figure::CpuMicroseconds, 1),
    ("of it kernel", Figure::SystemMicroseconds, 1),
    ("messages/s", Figure::MessagesASecond, 0),
    ("writes a message", Figure::WritesAMessage, 3),
    ("writes a key", Figure::WritesAKey, 2),
    ("peak MB", Figure::PeakMb, 0),
];

/// Figures of rows that have none of the columns'.
const SINGLE: [(&str, Figure); 2] = [("ms", Figure::StartMilliseconds), ("% of a core", Figure::IdlePercent)];

pub(crate) fn table(results: &Results) -> String {
    let mut text = String::from("|");
    let names = COLUMNS.iter().map(|(name, ..)| *name);
    std::iter::once("").chain(names).for_each(|name| _ = write!(text, " {name} |"));
    text.push_str("\n|---|");
    COLUMNS.iter().for_each(|_| text.push_str("--:|"));
    text.push('\n');
    for scenario in ALL.iter().filter(|scenario| results.scenarios.contains_key(scenario.name)) {
        _ = write!(text, "| {} |", named(scenario, results));
        for (_, figure, digits) in COLUMNS {
            let cell = results.of_scenario(scenario, figure).map(|spread| cell(spread, digits)).unwrap_or_default();
            _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

fn named(scenario: &Scenario, results: &Results) -> String {
    let single = SINGLE.iter().find_map(|(unit, figure)| {
        let spread = results.of_scenario(scenario, *figure)?;
        Some(format!("{}: {} {unit}", scenario.what, cell(spread, 1)))
    });
    single.unwrap_or_else(|| scenario.what.to_owned())
}

/// The median, and lowest and highest where they differ from it.
fn cell(Spread { low, median, high }: Spread, digits: usize) -> String {
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
        for (name, figure, digits) in COLUMNS {
            let found = |results: &Results| results.of_scenario(scenario, figure);
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
