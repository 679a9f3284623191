//! What every program needs to be operated: logs, traces, metrics, health, an HTTP endpoint for them, signals, safe text
//! for terminals, and the habits of a command line.
//!
//! It knows no program: names of metrics, flags and spans are given to it.

mod cause;
mod confirm;
pub mod console;
pub mod findings;
pub mod flags;
pub mod health;
mod help;
pub mod http;
mod liveness;
pub mod logs;
pub mod metrics;
mod pipe;
mod rate_limited_log;
pub mod signals;
mod stderr;
mod store_watch;
pub mod terminal;
pub mod traces;
pub mod version;

pub use cause::{cause, panic_text};
pub use confirm::confirm;
pub use liveness::{Heartbeat, Liveness};
pub use pipe::Pipe;
pub use rate_limited_log::RateLimitedLog;
pub use stderr::Stderr;
pub use store_watch::{Probe, StoreWatch};

/// The program that uses this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// The service name of its traces, unless an environment variable sets another.
    pub name: &'static str,
    /// The target of its log events: its crate's name. Its level also holds for the events of this crate.
    pub target: &'static str,
    /// The target of its spans. They go to traces and never to the logs.
    pub span_target: &'static str,
    pub version: &'static str,
}
