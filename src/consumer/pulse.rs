//! Whether the workers' loops still turn. Each looks at its timer at every turn, and a failed attempt is a turn, so no
//! outage stops them; only code that never comes back does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A loop's timer is due once a second at least, so one that did not for so long never will.
const STUCK_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    /// When each loop turned last, in milliseconds since `start`.
    loops: Mutex<Vec<Arc<AtomicU64>>>,
}

/// The loop of one worker, until it is dropped.
#[derive(Debug)]
pub(super) struct Beat<'a> {
    pulse: &'a Pulse,
    turned: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse { start: Instant::now(), loops: Mutex::default() }
    }
}

impl Pulse {
    /// A loop begins.
    pub(super) fn begin(&self) -> Beat<'_> {
        let turned = Arc::new(AtomicU64::new(self.now()));
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(turned.clone());
        Beat { pulse: self, turned }
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

impl Beat<'_> {
    /// The loop turned.
    pub(super) fn turn(&self) {
        self.turned.store(self.pulse.now(), Ordering::Relaxed);
    }
}

impl Drop for Beat<'_> {
    fn drop(&mut self) {
        let mut loops = self.pulse.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|turned| !Arc::ptr_eq(turned, &self.turned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_loop_that_does_not_turn_for_a_minute_is_enough() {
        let pulse = Pulse::default();
        let (turning, _stuck) = (pulse.begin(), pulse.begin());
        tokio::time::advance(STUCK_AFTER - Duration::from_millis(1)).await;
        turning.turn();
        assert!(pulse.is_alive());
        tokio::time::advance(Duration::from_millis(1)).await;
        turning.turn();
        assert!(!pulse.is_alive());
    }

    #[tokio::test(start_paused = true)]
    async fn before_the_first_loop_and_after_the_last_it_is_alive() {
        let pulse = Pulse::default();
        let beat = pulse.begin();
        tokio::time::advance(STUCK_AFTER).await;
        assert!(!pulse.is_alive());
        drop(beat);
        assert!(pulse.is_alive());
    }
}
