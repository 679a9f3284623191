//! The consumer as people, log collectors and monitors see it: metrics, the status line, summaries and spans. Counts what
//! the consumer reports and never influences it.

mod api;
mod changes;
mod durations;
mod instance;
mod metrics;
mod names;
mod page;
mod progress;
mod request_spans;
mod spans;
mod streams;
mod traffic;
mod webhooks;

use ops::Program;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

pub use api::{ApiMetrics, WatchedApi};
pub use changes::{ChangesMetrics, WatchedChanges};
pub use instance::Watched;
pub use metrics::{Metrics, Snapshot};
pub use progress::{report, sum_up};
pub use request_spans::RequestSpans;
pub use spans::Spans;
pub use webhooks::WebhookMetrics;

/// The name and version of this program in logs, traces and metrics.
pub const PROGRAM: Program =
    Program { name: "mini-scan", target: "mini_scan", span_target: spans::TARGET, version: env!("CARGO_PKG_VERSION") };

/// The revision of the source, if the build was told.
pub const REVISION: &str = match option_env!("MINI_SCAN_REVISION") {
    Some(revision) if !revision.is_empty() => revision,
    _ => "unknown",
};

/// Returns the default log levels: our own events, and the warnings of the clients.
pub fn default_levels() -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        // The start checks report in one sentence what it warns about at start.
        .with_target("aws_config", LevelFilter::ERROR)
        .with_target(PROGRAM.target, LevelFilter::INFO)
}
