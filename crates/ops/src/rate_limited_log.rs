//! A log message whose cause repeats: logged at most once in ten seconds, with the number of suppressed messages.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct RateLimitedLog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimitedLog {
    /// Returns the number of messages suppressed since the last one if the message is due now, and counts it as
    /// suppressed otherwise.
    pub fn due(&self) -> Option<u64> {
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
    async fn logs_once_in_ten_seconds_and_counts_the_suppressed_messages() {
        let log = RateLimitedLog::default();
        assert_eq!([log.due(), log.due(), log.due()], [Some(0), None, None]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!([log.due(), log.due()], [Some(2), None]);
    }
}
