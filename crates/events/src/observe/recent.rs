//! What was seen in the last one to two minutes, so that a gauge falls when its cause is over.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);

/// The values of this minute and of the one before.
#[derive(Debug)]
pub(super) struct Recent<T> {
    began: Instant,
    current: T,
    previous: T,
}

impl<T: Default> Recent<T> {
    pub(super) fn new() -> Recent<T> {
        Recent { began: Instant::now(), current: T::default(), previous: T::default() }
    }

    /// Returns the value of this minute.
    pub(super) fn current(&mut self) -> &mut T {
        let windows = self.began.elapsed().as_secs() / WINDOW.as_secs();
        if windows > 0 {
            let last = std::mem::take(&mut self.current);
            self.previous = if windows == 1 { last } else { T::default() };
            self.began = Instant::now();
        }
        &mut self.current
    }

    /// Returns the values of both minutes.
    pub(super) fn both(&mut self) -> [&T; 2] {
        self.current();
        [&self.current, &self.previous]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_is_forgotten_after_two_minutes_at_most() {
        let mut recent = Recent::<u32>::new();
        *recent.current() = 7;
        assert_eq!(recent.both(), [&7, &0]);
        tokio::time::advance(WINDOW).await;
        assert_eq!(recent.both(), [&0, &7]);
        tokio::time::advance(WINDOW).await;
        assert_eq!(recent.both(), [&0, &0]);
        *recent.current() = 7;
        tokio::time::advance(2 * WINDOW).await;
        assert_eq!(recent.both(), [&0, &0]);
    }
}
