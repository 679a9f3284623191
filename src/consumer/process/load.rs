//! How far the bounds of the process are used at one moment.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Messages that were delivered and are not settled, undecoded ones too.
    pub unsettled: usize,
    /// Messages decoded, waiting or being written.
    pub outstanding: usize,
    pub outstanding_limit: usize,
    /// Messages held beside those.
    pub parked: usize,
    pub parked_limit: usize,
    pub writes: usize,
    /// How many writes there may be, as throttling leaves it.
    pub writes_limit: usize,
    pub writes_limit_max: usize,
    /// Whether the store is taken to be away.
    pub circuit_breaker_open: bool,
}
