//! Whether every loop of the program still runs. A loop records each iteration. Outages stop no loop, because a failed
//! attempt ends in an iteration as well; only code that never returns does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The timer of a loop is due at least once per second. A loop without an iteration for this long is stuck forever.
const STUCK_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Liveness {
    start: Instant,
    /// The time of the last iteration of each loop, in milliseconds since `start`.
    loops: Mutex<Vec<Arc<AtomicU64>>>,
}

/// One running loop. Dropping it ends the watch on that loop.
#[derive(Debug)]
pub struct Heartbeat<'a> {
    liveness: &'a Liveness,
    last_beat: Arc<AtomicU64>,
}

impl Default for Liveness {
    fn default() -> Liveness {
        Liveness { start: Instant::now(), loops: Mutex::default() }
    }
}

impl Liveness {
    /// Starts to watch a loop.
    pub fn begin(&self) -> Heartbeat<'_> {
        let last_beat = Arc::new(AtomicU64::new(self.now()));
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(last_beat.clone());
        Heartbeat { liveness: self, last_beat }
    }

    /// Returns whether every loop that runs had an iteration within the last minute.
    pub fn is_alive(&self) -> bool {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = loops.iter().map(|beat| beat.load(Ordering::Relaxed)).min();
        oldest.is_none_or(|beat| Duration::from_millis(self.now().saturating_sub(beat)) < STUCK_AFTER)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Heartbeat<'_> {
    /// Records an iteration of the loop.
    pub fn beat(&self) {
        self.last_beat.store(self.liveness.now(), Ordering::Relaxed);
    }
}

impl Drop for Heartbeat<'_> {
    fn drop(&mut self) {
        let mut loops = self.liveness.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|beat| !Arc::ptr_eq(beat, &self.last_beat));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_loop_without_an_iteration_for_a_minute_ends_liveness() {
        let liveness = Liveness::default();
        let (running, _stuck) = (liveness.begin(), liveness.begin());
        tokio::time::advance(STUCK_AFTER - Duration::from_millis(1)).await;
        running.beat();
        assert!(liveness.is_alive());
        tokio::time::advance(Duration::from_millis(1)).await;
        running.beat();
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
