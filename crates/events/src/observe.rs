//! The program as people, log collectors and monitors see it.

mod clients;
mod deliver;
mod processor;
mod recent;
mod spans;

use ops::Program;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

pub use deliver::{DeliverMetrics, WatchedDeliverer};
pub use processor::{Counts, ProcessorMetrics, WatchedProcessor};
pub use spans::{DeliverySpans, MessageSpans};

/// The name and version of this program in logs, traces and metrics.
pub const PROGRAM: Program = Program {
    name: "event-pipeline",
    target: "event_pipeline",
    span_target: SPANS,
    version: env!("CARGO_PKG_VERSION"),
};

/// The target of all spans.
const SPANS: &str = "event_pipeline_spans";

/// What requests to AWS say about this program.
pub const USER_AGENT: &str = concat!("event-pipeline/", env!("CARGO_PKG_VERSION"));

/// The revision of the source, if the build was told.
pub const REVISION: &str = match option_env!("EVENT_PIPELINE_REVISION") {
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
