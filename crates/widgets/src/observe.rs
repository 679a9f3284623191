//! The program as people, log collectors and monitors see it.

mod calls;
mod instance;
mod metrics;

use ops::Program;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

pub use calls::TimedStore;
pub use instance::WatchedApi;
pub use metrics::ApiMetrics;

/// The name and version of this program in logs and metrics.
pub const PROGRAM: Program = Program {
    name: "widget-registry",
    target: "widget_registry",
    span_target: "widget_registry_spans",
    version: env!("CARGO_PKG_VERSION"),
};

/// The user agent of requests to AWS.
pub const USER_AGENT: &str = concat!("widget-registry/", env!("CARGO_PKG_VERSION"));

/// The revision of the source, if the build was told.
pub const REVISION: &str = match option_env!("WIDGET_REGISTRY_REVISION") {
    Some(revision) if !revision.is_empty() => revision,
    _ => "unknown",
};

/// Returns the default log levels: our own events, and the warnings of the clients.
pub fn default_levels() -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        // The start checks report in one sentence what it warns about at start.
        .with_target("aws_config", LevelFilter::ERROR)
        // The embedded server of `local` warns of each condition that fails.
        .with_target("dynoxide", LevelFilter::ERROR)
        .with_target(PROGRAM.target, LevelFilter::INFO)
}
