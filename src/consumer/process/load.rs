//! The current use of the limits of a process.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Messages that were delivered and not settled, including undecoded ones.
    pub unsettled: usize,
    /// Messages that are decoded, waiting or being written.
    pub outstanding: usize,
    pub outstanding_limit: usize,
    /// Messages that wait without a slot: rejected without a dead letter, or refused by the table.
    pub parked: usize,
    pub parked_limit: usize,
    /// Writes in flight.
    pub writes: usize,
    /// The current limit of writes in flight.
    pub writes_limit: usize,
    /// The upper bound of that limit.
    pub writes_limit_max: usize,
    /// Whether the circuit breaker of the store is open.
    pub circuit_breaker_open: bool,
}
