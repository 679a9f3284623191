//! What a person, a log collector and a monitor see of the consumer: names and values of its metrics, its status line and
//! summaries, and the spans of its messages. Reads and counts what the consumer reports, and decides nothing.

mod durations;
mod instance;
mod metrics;
mod names;
mod page;
mod progress;
mod spans;
mod streams;
mod traffic;

use ops::Program;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

pub use instance::Watched;
pub use metrics::{Metrics, Snapshot};
pub use progress::{report, sum_up};
pub use spans::Spans;

/// As the logs, traces and metrics name this program.
pub const PROGRAM: Program = Program {
    name: "mini-scan",
    target: "mini_scan",
    span_target: spans::TARGET,
    version: env!("CARGO_PKG_VERSION"),
    revision: match option_env!("MINI_SCAN_REVISION") {
        Some(revision) if !revision.is_empty() => revision,
        _ => "unknown",
    },
};

/// What is logged without other orders: our own state changes, and what goes wrong in the clients.
pub fn default_levels() -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        // What it warns of at start, the start checks say in a sentence.
        .with_target("aws_config", LevelFilter::ERROR)
        .with_target(PROGRAM.target, LevelFilter::INFO)
}
