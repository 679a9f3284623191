//! How far the bounds of the process are used at one moment.

use super::process::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
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

impl Process {
    pub fn load(&self) -> Load {
        let outstanding_limit = self.settings.max_outstanding.get();
        let (parked, parked_limit) = self.parked.used();
        let (writes, writes_limit) = self.write_permits.used();
        Load {
            outstanding: outstanding_limit.saturating_sub(self.slots.available_permits()),
            outstanding_limit,
            parked,
            parked_limit,
            writes,
            writes_limit,
            writes_limit_max: self.settings.max_writes.get(),
            circuit_breaker_open: self.store_breaker.is_open(),
        }
    }
}
