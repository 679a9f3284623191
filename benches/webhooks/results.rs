//! The figures of all rounds.

use std::collections::BTreeMap;

use crate::load::{Figures, Protocol};
use crate::spread::Spread;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) bare: Figures,
    pub(crate) engine: Figures,
}

/// Deliveries per second to 900 endpoints, while 100 others are healthy or hang.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hanging {
    pub(crate) healthy: f64,
    pub(crate) others: f64,
    pub(crate) peak_mb: f64,
}

/// Latencies from the commit of a change to its receipt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndToEnd {
    /// The rate of the writes.
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) rounds: BTreeMap<Protocol, Vec<Round>>,
    pub(crate) hanging: Vec<Hanging>,
    /// Empty without a program.
    pub(crate) end_to_end: Vec<EndToEnd>,
}

/// Returns the median of a figure. Each ratio is computed within its round.
pub(crate) fn spread<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> Spread {
    Spread::of(rounds.iter().map(figure).collect()).expect("there is at least one round")
}
