//! What the benchmark asks of a bare loop, and what the loop reports. Both programs contain this file.

use serde::{Deserialize, Serialize};

/// Throughput is measured between these shares of the messages or writes, which excludes the start and the end.
pub(crate) const MEASURED_FROM: f64 = 0.2;
pub(crate) const MEASURED_TO: f64 = 0.9;

/// The consumer's limit of writes in flight per thread at its start, which it keeps while the table responds at once.
pub(crate) const IN_FLIGHT: usize = 32;

/// Writes without a subscription: only the SDK, on as many threads as the consumer has.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct BareLoop {
    pub(crate) calls: Calls,
    pub(crate) count: usize,
    pub(crate) in_flight: InFlight,
    pub(crate) timestamps: Timestamps,
    pub(crate) response_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Calls {
    Put,
    /// 25 UPDATE statements in each.
    Update,
    /// 25 INSERT statements in each.
    Insert,
}

/// The limit of calls in flight.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum InFlight {
    PerThread(usize),
    /// Over all threads.
    Total(usize),
}

/// The timestamps of the writes, relative to the initial records of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Timestamps {
    Newer,
    Older,
    /// Every other write is older.
    Alternating,
}

/// What a bare loop prints when it is done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Writes per second between [`MEASURED_FROM`] and [`MEASURED_TO`].
    pub(crate) per_second: f64,
    /// CPU time from the start of the process to the last response.
    pub(crate) cpu_seconds: f64,
    /// The part of it spent in the kernel.
    pub(crate) system_seconds: f64,
    pub(crate) peak_mb: f64,
    /// The writes whose condition failed.
    pub(crate) stale: usize,
}
