//! The demonstration: servers, messages, the real consumer and a check of what came out, in one process.

mod report;
mod truth;

use std::num::NonZeroU32;

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub count: NonZeroU32,
    pub seed: u64,
    /// Leave the servers up after the report.
    pub keep: bool,
}
