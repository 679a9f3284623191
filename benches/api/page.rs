//! Renders the results as Markdown, for a terminal and for docs/performance.md.

use std::fmt::Write;

use anyhow::ensure;

use crate::document;
use crate::results::{Figure, Results};
use crate::spread::cell;

/// The least requests per second of CPU time, relative to the bare reads.
const GOAL: f64 = 0.8;

type Column = (&'static str, Figure, usize);

const RATE: [Column; 6] = [
    ("requests per CPU second × bare", Figure::PerCpuOverBare, 2),
    ("requests/s × bare", Figure::RateOverBare, 2),
    ("CPU µs", Figure::CpuMicroseconds, 0),
    ("bare CPU µs", Figure::BareCpuMicroseconds, 0),
    ("requests/s", Figure::PerSecond, 0),
    ("bare reads/s", Figure::BarePerSecond, 0),
];

const LATENCY: [Column; 5] = [
    ("requests/s", Figure::OpenPerSecond, 0),
    ("p50 ms", Figure::P50Ms, 2),
    ("bare p50 ms", Figure::BareP50Ms, 2),
    ("p99 ms", Figure::P99Ms, 2),
    ("bare p99 ms", Figure::BareP99Ms, 2),
];

struct Part {
    /// Its title on a terminal.
    title: &'static str,
    /// The line before it in the document.
    mark: &'static str,
    render: fn(&Results) -> String,
}

const PAGE: &str = "docs/performance.md";

const PARTS: [Part; 3] = [
    Part { title: "Goal", mark: "<!-- make bench-api: goal -->\n", render: goal },
    Part { title: "Rate", mark: "<!-- make bench-api: rate -->\n", render: |results| table(results, &RATE) },
    Part { title: "Latency", mark: "<!-- make bench-api: latency -->\n", render: |results| table(results, &LATENCY) },
];

pub(crate) fn print(results: &Results) {
    for Part { title, render, .. } in PARTS {
        println!("\n{title}\n\n{}", render(results));
    }
}

/// Writes the tables of a complete run into the document.
pub(crate) fn write(results: &Results) -> anyhow::Result<()> {
    ensure!(results.is_complete, "the last run was not complete, so the documents keep their figures");
    PARTS.iter().try_for_each(|part| document::replace(PAGE, part.mark, &(part.render)(results)))
}

/// Fails if the document lacks a mark. Call it before a run.
pub(crate) fn check_marks() -> anyhow::Result<()> {
    PARTS.iter().try_for_each(|part| document::check_mark(PAGE, part.mark))
}

fn goal(results: &Results) -> String {
    let mut text = String::from("| Services of the host | Target | Measured | Result |\n|---|--:|--:|---|\n");
    for (services, figures) in &results.hosts {
        let Some(measured) = figures.get(&Figure::PerCpuOverBare) else { continue };
        // The median, as printed.
        let median = (measured.median * 100.0).round() / 100.0;
        let result = match median < GOAL {
            true => format!("**{:.0} % below**", 100.0 * (1.0 - median / GOAL)),
            false => "met".to_owned(),
        };
        _ = writeln!(text, "| {services} | ≥ {GOAL} × bare | {} | {result} |", cell(*measured, 2));
    }
    text
}

fn table(results: &Results, columns: &[Column]) -> String {
    let mut text = String::from("| Services of the host |");
    columns.iter().for_each(|(name, ..)| _ = write!(text, " {name} |"));
    text.push_str("\n|---|");
    columns.iter().for_each(|_| text.push_str("--:|"));
    text.push('\n');
    for (services, figures) in &results.hosts {
        _ = write!(text, "| {services} |");
        for (_, figure, digits) in columns {
            let cell = figures.get(figure).map(|spread| cell(*spread, *digits)).unwrap_or_default();
            _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}
