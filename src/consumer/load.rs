//! How far the bounds of the process are used at one moment.

use super::process::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Messages decoded, waiting or being written.
    pub outstanding: usize,
    pub outstanding_limit: usize,
    /// Messages held beside those.
    pub held: usize,
    pub held_limit: usize,
    pub writes: usize,
    /// How many writes there may be, as throttling leaves it.
    pub writes_limit: usize,
    pub writes_limit_max: usize,
    /// Whether the store is taken to be away.
    pub gate_closed: bool,
}

impl Process {
    pub fn load(&self) -> Load {
        let outstanding_limit = self.settings.max_outstanding.get();
        let (held, held_limit) = self.held.used();
        let (writes, writes_limit) = self.turns.used();
        Load {
            outstanding: outstanding_limit.saturating_sub(self.slots.available_permits()),
            outstanding_limit,
            held,
            held_limit,
            writes,
            writes_limit,
            writes_limit_max: self.settings.max_writes.get(),
            gate_closed: self.store_gate.is_closed(),
        }
    }
}
