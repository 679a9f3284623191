//! Spreads actions over time at a rate. Pure, but for the wait.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A rate per second, without a burst.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: Option<f64>,
    next: Instant,
}

impl Pace {
    /// Without a rate nothing is delayed.
    pub(super) fn new(per_second: Option<f64>) -> Pace {
        Pace { per_second, next: Instant::now() }
    }

    /// Waits until `count` more actions may begin.
    pub(super) async fn wait(&mut self, count: usize) {
        let Some(per_second) = self.per_second else { return };
        // Time that was lost by slow answers is not caught up.
        self.next = self.next.max(Instant::now());
        sleep_until(self.next).await;
        #[expect(clippy::cast_precision_loss, reason = "a batch has few entries")]
        let seconds = count as f64 / per_second;
        self.next += Duration::from_secs_f64(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_over_many_batches() {
        let (mut pace, start) = (Pace::new(Some(100.0)), Instant::now());
        for _ in 0..51 {
            pace.wait(10).await;
        }
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let (mut pace, start) = (Pace::new(None), Instant::now());
        pace.wait(1_000_000).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
