//! Computes the wait before the next stream is opened. Does not know why the last one ended.

use std::time::Duration;

use rand::Rng;

const MIN_BACKOFF: Duration = Duration::from_millis(200);
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Counts consecutive streams that ended soon after they were opened.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    short_lived: u32,
}

impl Backoff {
    /// Returns the wait after a stream with this lifetime.
    pub(super) fn after(&mut self, lived: Duration, rng: &mut impl Rng) -> Duration {
        self.short_lived = if lived > MAX_BACKOFF { 0 } else { self.short_lived.saturating_add(1) };
        jittered(MAX_BACKOFF.min(MIN_BACKOFF * 2u32.saturating_pow(self.short_lived.min(16))), rng)
    }
}

/// Returns a random duration from half of `wait` to `wait`, so that streams that ended together do not reopen together.
pub(super) fn jittered(wait: Duration, rng: &mut impl Rng) -> Duration {
    rng.random_range(wait / 2..=wait)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_wait_grows_to_ten_seconds_and_is_reset_by_a_stream_that_lasted() {
        let (mut backoff, mut rng) = (Backoff::default(), StdRng::seed_from_u64(0));
        let waits: Vec<_> = (0..20).map(|_| backoff.after(Duration::ZERO, &mut rng)).collect();
        assert!(waits[0] <= 2 * MIN_BACKOFF && waits[3] > waits[0] && waits.iter().all(|wait| *wait <= MAX_BACKOFF));
        assert!(waits[10..].iter().all(|wait| *wait >= MAX_BACKOFF / 2));
        assert!(backoff.after(MAX_BACKOFF * 2, &mut rng) <= MIN_BACKOFF);
    }
}
