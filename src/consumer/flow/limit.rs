//! The limit of writes in flight while the table throttles. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// The minimum time between two changes of the limit.
const STEP: Duration = Duration::from_millis(100);

/// Throttling halves it. Without throttling it doubles up to half of the maximum, and then grows by 2 % of the maximum.
#[derive(Debug)]
pub(super) struct Limit {
    min: usize,
    max: usize,
    current: usize,
    /// From the first halving until the limit is restored.
    episode: Option<Episode>,
}

#[derive(Debug, Clone, Copy)]
struct Episode {
    changed: Instant,
    throttled: Instant,
}

impl Limit {
    pub(super) fn new(min: usize, max: usize) -> Limit {
        Limit { min, max, current: max, episode: None }
    }

    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// Sets the maximum. Call it only while the limit is not lowered.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.current = max;
    }

    /// Returns whether throttling has lowered the limit and it is not restored yet.
    pub(super) fn is_lowered(&self) -> bool {
        self.episode.is_some()
    }

    /// Records a throttled write.
    pub(super) fn throttled(&mut self, now: Instant) {
        let changed = match self.episode {
            Some(Episode { changed, .. }) if now.duration_since(changed) < STEP => changed,
            _ => {
                self.current = (self.current / 2).max(self.min);
                now
            }
        };
        self.episode = Some(Episode { changed, throttled: now });
    }

    /// Records a write that succeeded.
    pub(super) fn succeeded(&mut self, now: Instant) {
        let Some(episode) = &mut self.episode else { return };
        if now.duration_since(episode.changed.max(episode.throttled)) < STEP {
            return;
        }
        episode.changed = now;
        let grown = if self.current < self.max / 2 { self.current * 2 } else { self.current + (self.max / 50).max(1) };
        self.current = grown.min(self.max);
        if self.current == self.max {
            self.episode = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn throttling_halves_at_most_once_in_a_step_and_never_below_one() {
        let mut limit = Limit::new(1, 100);
        let now = Instant::now();
        for (after, expected) in
            [(0, 50), (1, 50), (99, 50), (100, 25), (200, 12), (300, 6), (400, 3), (500, 1), (600, 1)]
        {
            limit.throttled(now + Duration::from_millis(after));
            assert_eq!(limit.current(), expected, "after {after} ms");
        }
    }

    #[test]
    fn it_doubles_up_to_half_and_then_grows_by_a_fiftieth_until_it_is_restored() {
        let mut limit = Limit::new(1, 100);
        let mut now = Instant::now();
        for _ in 0..4 {
            limit.throttled(now);
            now += STEP;
        }
        let mut seen = vec![limit.current()];
        while limit.is_lowered() {
            limit.succeeded(now);
            limit.succeeded(now);
            seen.push(limit.current());
            now += STEP;
        }
        assert_eq!(&seen[..6], [6, 12, 24, 48, 96, 98]);
        assert_eq!(seen.last(), Some(&100));
    }

    #[test]
    fn it_does_not_grow_while_writes_are_still_throttled() {
        let mut limit = Limit::new(1, 100);
        let start = Instant::now();
        limit.throttled(start);
        limit.throttled(start + Duration::from_millis(90));
        limit.succeeded(start + Duration::from_millis(150));
        assert_eq!(limit.current(), 50);
        limit.succeeded(start + Duration::from_millis(190));
        assert_eq!(limit.current(), 52);
    }

    proptest! {
        #[test]
        fn it_stays_between_one_and_its_maximum(max in 1usize..2000, steps in proptest::collection::vec((any::<bool>(), 0u64..300), 0..200)) {
            let mut limit = Limit::new(1, max);
            let mut now = Instant::now();
            for (throttled, pause) in steps {
                now += Duration::from_millis(pause);
                if throttled { limit.throttled(now) } else { limit.succeeded(now) }
                prop_assert!((1..=max).contains(&limit.current()));
                prop_assert_eq!(limit.current() < max, limit.is_lowered() && max > 1);
            }
        }
    }

    #[test]
    fn a_limit_that_is_not_lowered_follows_its_maximum() {
        let mut limit = Limit::new(1, 100);
        for max in [200, 50] {
            limit.set_max(max);
            assert_eq!(limit.current(), max);
        }
        let now = Instant::now();
        limit.throttled(now);
        assert_eq!(limit.current(), 25);
        for step in 1..100 {
            limit.succeeded(now + step * STEP);
        }
        assert_eq!(limit.current(), 50);
    }
}
