//! How long to wait before the next stream is opened.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(200);
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// Counts the streams in a row that ended soon.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    short_lives: u32,
}

impl Backoff {
    /// The wait after a stream that lived so long.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        self.short_lives = if lived > LONGEST { 0 } else { self.short_lives.saturating_add(1) };
        jittered(LONGEST.min(FIRST * 2u32.saturating_pow(self.short_lives.min(16))))
    }
}

/// Between half of it and all of it, so that streams which ended together do not come back together.
pub(super) fn jittered(wait: Duration) -> Duration {
    rand::rng().random_range(wait / 2..=wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_ten_seconds_while_streams_end_soon_and_starts_anew_after_one_that_did_not() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..20).map(|_| backoff.after(Duration::ZERO)).collect();
        assert!(waits[0] <= 2 * FIRST && waits[3] > waits[0] && waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits[10..].iter().all(|wait| *wait >= LONGEST / 2));
        assert!(backoff.after(LONGEST * 2) <= FIRST);
    }
}
