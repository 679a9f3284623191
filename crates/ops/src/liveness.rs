//! Whether every loop of the program still runs. A loop records each turn; a failed attempt is a turn too, so an outage
//! stops no loop. Only code that never returns does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The timer of a loop is due at least once per second, so a loop without a turn for this long will never turn again.
const STUCK_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Liveness {
    start: Instant,
    /// The last turn of each loop, in milliseconds since `start`.
    loops: Mutex<Vec<Arc<AtomicU64>>>,
}

/// One running loop. Dropping it ends the watch on that loop.
#[derive(Debug)]
pub struct Heartbeat<'a> {
    liveness: &'a Liveness,
    last_turn: Arc<AtomicU64>,
}

impl Default for Liveness {
    fn default() -> Liveness {
        Liveness { start: Instant::now(), loops: Mutex::default() }
    }
}

impl Liveness {
    /// Starts to watch a loop.
    pub fn begin(&self) -> Heartbeat<'_> {
        let last_turn = Arc::new(AtomicU64::new(self.now()));
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(last_turn.clone());
        Heartbeat { liveness: self, last_turn }
    }

    /// Returns whether every loop that runs had a turn within the last minute.
    pub fn is_alive(&self) -> bool {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = loops.iter().map(|turn| turn.load(Ordering::Relaxed)).min();
        oldest.is_none_or(|turn| Duration::from_millis(self.now().saturating_sub(turn)) < STUCK_AFTER)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Heartbeat<'_> {
    /// Records a turn of the loop.
    pub fn turn(&self) {
        self.last_turn.store(self.liveness.now(), Ordering::Relaxed);
    }
}

impl Drop for Heartbeat<'_> {
    fn drop(&mut self) {
        let mut loops = self.liveness.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|turn| !Arc::ptr_eq(turn, &self.last_turn));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_loop_without_a_turn_for_a_minute_ends_liveness() {
        let liveness = Liveness::default();
        let (running, _stuck) = (liveness.begin(), liveness.begin());
        tokio::time::advance(STUCK_AFTER - Duration::from_millis(1)).await;
        running.turn();
        assert!(liveness.is_alive());
        tokio::time::advance(Duration::from_millis(1)).await;
        running.turn();
        assert!(!liveness.is_alive());
    }

    #[tokio::test(start_paused = true)]
    async fn is_alive_before_the_first_loop_and_after_the_last() {
        let liveness = Liveness::default();
        let heartbeat = liveness.begin();
        tokio::time::advance(STUCK_AFTER).await;
        assert!(!liveness.is_alive());
        drop(heartbeat);
        assert!(liveness.is_alive());
    }
}
