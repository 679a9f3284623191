//! A log line whose cause repeats: said at most once in ten seconds, with how many were not said.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(super) const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct RateLimitedLog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimitedLog {
    /// Whether the line is to be said now, and then how many were not said since the last.
    pub(super) fn due(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_is_said_once_in_ten_seconds_with_the_count_of_the_others() {
        let line = RateLimitedLog::default();
        assert_eq!([line.due(), line.due(), line.due()], [Some(0), None, None]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!([line.due(), line.due()], [Some(2), None]);
    }
}
