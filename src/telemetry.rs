//! What a person and a log collector see. Reads the consumer's counters, and decides nothing.

mod json;
mod logs;
mod progress;

pub use logs::{LogFormat, Logs};
pub use progress::report;
