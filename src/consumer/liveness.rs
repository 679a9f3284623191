//! Whether the workers' loops still turn. Each looks at its timer at every turn, and a failed attempt is a turn, so no
//! outage stops them; only code that never comes back does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A loop's timer is due once a second at least, so one that did not for so long never will.
const STUCK_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Liveness {
    start: Instant,
    /// When each loop turned last, in milliseconds since `start`.
    loops: Mutex<Vec<Arc<AtomicU64>>>,
}

/// The loop of one worker, until it is dropped.
#[derive(Debug)]
pub(super) struct Heartbeat<'a> {
    liveness: &'a Liveness,
    turned: Arc<AtomicU64>,
}

impl Default for Liveness {
    fn default() -> Liveness {
        Liveness { start: Instant::now(), loops: Mutex::default() }
    }
}

impl Liveness {
    /// A loop begins.
    pub(super) fn begin(&self) -> Heartbeat<'_> {
        let turned = Arc::new(AtomicU64::new(self.now()));
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(turned.clone());
        Heartbeat { liveness: self, turned }
    }

    /// Whether every loop that has begun and not ended turned within the last minute.
    pub fn is_alive(&self) -> bool {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = loops.iter().map(|turned| turned.load(Ordering::Relaxed)).min();
        oldest.is_none_or(|turned| Duration::from_millis(self.now().saturating_sub(turned)) < STUCK_AFTER)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Heartbeat<'_> {
    /// The loop turned.
    pub(super) fn turn(&self) {
        self.turned.store(self.liveness.now(), Ordering::Relaxed);
    }
}

impl Drop for Heartbeat<'_> {
    fn drop(&mut self) {
        let mut loops = self.liveness.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|turned| !Arc::ptr_eq(turned, &self.turned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_loop_that_does_not_turn_for_a_minute_is_enough() {
        let liveness = Liveness::default();
        let (turning, _stuck) = (liveness.begin(), liveness.begin());
        tokio::time::advance(STUCK_AFTER - Duration::from_millis(1)).await;
        turning.turn();
        assert!(liveness.is_alive());
        tokio::time::advance(Duration::from_millis(1)).await;
        turning.turn();
        assert!(!liveness.is_alive());
    }

    #[tokio::test(start_paused = true)]
    async fn before_the_first_loop_and_after_the_last_it_is_alive() {
        let liveness = Liveness::default();
        let beat = liveness.begin();
        tokio::time::advance(STUCK_AFTER).await;
        assert!(!liveness.is_alive());
        drop(beat);
        assert!(liveness.is_alive());
    }
}
