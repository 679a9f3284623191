//! What a person, a log collector and a monitor see. Reads the consumer's counters and conditions, and decides nothing.

mod exporter;
mod exposition;
mod http;
mod json;
mod logs;
mod metrics;
mod otel;
mod page;
mod progress;
mod traces;
mod usage;

pub use http::{CannotListen, Endpoint, Listen, listen};
pub use json::line;
pub use logs::{LogFormat, Logs};
pub use otel::Unsupported;
pub use page::REVISION;
pub use progress::{report, sum_up};
pub use traces::{NoTraces, Traces};
