//! What the workers of a process tell each other about Pub/Sub. Pure: the caller passes the time.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Duration, Instant};

use super::idle::DELIVERY_TIME;

/// When any worker of the process last received a message or found that Pub/Sub does not respond. Either one is a reason
/// to doubt a stream that has been idle since.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    /// In whole seconds since `start`. 0 if there was none.
    last: AtomicU64,
}

impl Activity {
    pub fn new(start: Instant) -> Activity {
        Activity { start, last: AtomicU64::new(0) }
    }

    /// Records activity. Threads share the value, so this writes it at most once per second.
    pub(super) fn record(&self, now: Instant) {
        let seconds = now.saturating_duration_since(self.start).as_secs();
        if self.last.load(Ordering::Relaxed) < seconds {
            self.last.fetch_max(seconds, Ordering::Relaxed);
        }
    }

    /// Returns whether there was activity after `idle_since`. Activity counts after a second, because messages that are
    /// published together do not arrive at the same time.
    ///
    /// The recorded time is rounded down, so a worker's own message is never newer than the time when it arrived.
    pub(super) fn is_newer(&self, idle_since: Instant, now: Instant) -> bool {
        let last = self.start + Duration::from_secs(self.last.load(Ordering::Relaxed));
        last > idle_since && last + DELIVERY_TIME <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn activity_is_newer_a_second_later() {
        let start = Instant::now();
        let activity = Activity::new(start);
        activity.record(start + 10 * SECOND);
        assert!(!activity.is_newer(start + 9 * SECOND, start + 10 * SECOND));
        assert!(activity.is_newer(start + 9 * SECOND, start + 11 * SECOND));
        assert!(!activity.is_newer(start + 10 * SECOND, start + 60 * SECOND));
        activity.record(start + 8 * SECOND);
        assert!(activity.is_newer(start + 9 * SECOND, start + 11 * SECOND));
    }

    #[test]
    fn a_message_is_not_newer_than_its_own_arrival() {
        let start = Instant::now();
        for arrival in [0, 1, 999, 1000, 1001, 1999, 2500].map(|millis| start + Duration::from_millis(millis)) {
            let activity = Activity::new(start);
            activity.record(arrival);
            assert!(!activity.is_newer(arrival, arrival + 60 * SECOND), "{:?}", arrival - start);
        }
    }

    #[test]
    fn nothing_is_newer_before_the_first_activity() {
        let start = Instant::now();
        assert!(!Activity::new(start).is_newer(start, start + 600 * SECOND));
    }
}
