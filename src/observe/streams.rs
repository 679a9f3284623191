//! Which workers have a stream, and since when. Locked only when a stream changes and when metrics are read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub struct Streams {
    /// When each worker's stream was opened.
    opened: Mutex<BTreeMap<usize, Instant>>,
}

impl Streams {
    pub fn opened(&self, worker: usize) {
        self.lock().insert(worker, Instant::now());
    }

    pub fn ended(&self, worker: usize) {
        self.lock().remove(&worker);
    }

    /// Returns the age of each stream. A stream that is still opening counts as well: on an idle subscription the client
    /// does not distinguish it from an open one.
    pub fn ages(&self) -> Vec<Duration> {
        self.lock().values().map(Instant::elapsed).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Instant>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_has_one_stream_whose_age_counts_from_its_opening() {
        let (streams, second) = (Streams::default(), Duration::from_secs(1));
        streams.opened(0);
        tokio::time::advance(second).await;
        streams.opened(1);
        assert_eq!(streams.ages(), [second, Duration::ZERO]);
        streams.ended(0);
        streams.opened(1);
        assert_eq!(streams.ages(), [Duration::ZERO]);
    }
}
