//! Renders the results as Markdown, for a terminal and for docs/performance.md.

use std::fmt::Write;

use crate::document;
use crate::load::Protocol;
use crate::results::{Results, Round, spread};
use crate::spread::{Spread, cell};

/// The least deliveries per second of CPU time, relative to the bare loop.
const RATE_GOAL: f64 = 0.7;
/// The polling interval of a reader that gets records, which is 250 ms, and 250 ms more.
const LATENCY_GOAL_MS: f64 = 500.0;
/// The least rate of the others, while some endpoints hang.
const OTHERS_GOAL: f64 = 0.95;

struct Part {
    /// Its title on a terminal.
    title: &'static str,
    /// The line before it in the document.
    mark: &'static str,
    render: fn(&Results) -> String,
}

const PAGE: &str = "../../docs/performance.md";

const PARTS: [Part; 3] = [
    Part { title: "Goals", mark: "<!-- make bench-webhooks: goals -->\n", render: goals },
    Part { title: "Rate", mark: "<!-- make bench-webhooks: rate -->\n", render: rate },
    Part { title: "From commit to receipt", mark: "<!-- make bench-webhooks: latency -->\n", render: latency },
];

pub(crate) fn print(results: &Results) {
    for Part { title, render, .. } in PARTS {
        println!("\n{title}\n\n{}", render(results));
    }
}

pub(crate) fn write(results: &Results) -> anyhow::Result<()> {
    PARTS.iter().try_for_each(|part| document::replace(PAGE, part.mark, &(part.render)(results)))
}

/// Fails if the document lacks a mark. Call it before a run.
pub(crate) fn check_marks() -> anyhow::Result<()> {
    PARTS.iter().try_for_each(|part| document::check_mark(PAGE, part.mark))
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Tls => "TLS",
    }
}

fn goals(results: &Results) -> String {
    let mut text = String::from("| What | Target | Measured | Result |\n|---|--:|--:|---|\n");
    let mut row = |what: &str, goal: f64, measured: Spread| {
        // The median, as printed.
        let median = (measured.median * 100.0).round() / 100.0;
        let result = match median < goal {
            true => format!("**{:.0} % below**", 100.0 * (1.0 - median / goal)),
            false => "met".to_owned(),
        };
        _ = writeln!(text, "| {what} | ≥ {goal} × | {} | {result} |", cell(measured, 2));
    };
    for (protocol, rounds) in &results.rounds {
        let ratio = spread(rounds, |round| round.engine.per_second / round.bare.per_second);
        row(&format!("deliveries per second × bare, over {}", protocol_name(*protocol)), RATE_GOAL, ratio);
    }
    let ratio = spread(&results.hanging, |hanging| hanging.others / hanging.healthy);
    row("rate of 900 endpoints while 100 others hang × while they are healthy", OTHERS_GOAL, ratio);
    text
}

/// Its name, its digits, and its figure of a round.
type Column = (&'static str, usize, fn(&Round) -> f64);

fn rate(results: &Results) -> String {
    let columns: [Column; 8] = [
        ("deliveries/s", 0, |round| round.engine.per_second),
        ("bare deliveries/s", 0, |round| round.bare.per_second),
        ("per CPU second × bare", 2, |round| round.bare.cpu_microseconds / round.engine.cpu_microseconds),
        ("deliveries/s × bare", 2, |round| round.engine.per_second / round.bare.per_second),
        ("CPU µs", 0, |round| round.engine.cpu_microseconds),
        ("bare CPU µs", 0, |round| round.bare.cpu_microseconds),
        ("MB", 0, |round| round.engine.peak_mb),
        ("bare MB", 0, |round| round.bare.peak_mb),
    ];
    let mut text = String::from("| Over |");
    columns.iter().for_each(|(name, ..)| _ = write!(text, " {name} |"));
    text.push_str("\n|---|");
    columns.iter().for_each(|_| text.push_str("--:|"));
    text.push('\n');
    for (protocol, rounds) in &results.rounds {
        _ = write!(text, "| {} |", protocol_name(*protocol));
        for (_, digits, figure) in columns {
            _ = write!(text, " {} |", cell(spread(rounds, figure), digits));
        }
        text.push('\n');
    }
    let peak = results.hanging.iter().map(|hanging| hanging.peak_mb).fold(0.0, f64::max);
    _ = writeln!(text, "\nWith 100 hanging endpoints of 1,000, the process used at most {peak:.0} MB.");
    text
}

fn latency(results: &Results) -> String {
    let rounds = &results.end_to_end;
    if rounds.is_empty() {
        return "Not measured, because no program was given.\n".to_owned();
    }
    let p99 = spread(rounds, |round| round.p99_ms);
    let result = if p99.median.round() <= LATENCY_GOAL_MS { "met" } else { "**missed**" };
    format!(
        "| changes/s | p50 ms | p99 ms | Target | Result |\n|--:|--:|--:|--:|---|\n| {} | {} | {} | p99 ≤ {LATENCY_GOAL_MS} | {result} |\n",
        cell(spread(rounds, |round| round.per_second), 0),
        cell(spread(rounds, |round| round.p50_ms), 0),
        cell(p99, 0),
    )
}
