//! How many writes may be in flight at a time, as a throttled table teaches it. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// The limit moves at most this often, in either direction.
const STEP: Duration = Duration::from_millis(100);

/// Halved by throttling alone; without any it doubles up to half of what it was, then grows by 2 % of that.
#[derive(Debug)]
pub(super) struct Limit {
    most: usize,
    current: usize,
    /// From the first halving until the limit is what it was.
    episode: Option<Episode>,
}

#[derive(Debug, Clone, Copy)]
struct Episode {
    moved: Instant,
    throttled: Instant,
}

impl Limit {
    pub(super) fn new(most: usize) -> Limit {
        Limit { most, current: most, episode: None }
    }

    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// What it is while nothing is throttled, from now on; nothing is at this moment.
    pub(super) fn set_most(&mut self, most: usize) {
        self.most = most;
        self.current = most;
    }

    /// Whether throttling was seen and the limit is not yet what it was.
    pub(super) fn is_lowered(&self) -> bool {
        self.episode.is_some()
    }

    /// Notes that the table throttled a write.
    pub(super) fn throttled(&mut self, now: Instant) {
        let moved = match self.episode {
            Some(Episode { moved, .. }) if now.duration_since(moved) < STEP => moved,
            _ => {
                self.current = (self.current / 2).max(1);
                now
            }
        };
        self.episode = Some(Episode { moved, throttled: now });
    }

    /// Notes that the table took a write.
    pub(super) fn taken(&mut self, now: Instant) {
        let Some(episode) = &mut self.episode else { return };
        if now.duration_since(episode.moved.max(episode.throttled)) < STEP {
            return;
        }
        episode.moved = now;
        let grown =
            if self.current < self.most / 2 { self.current * 2 } else { self.current + (self.most / 50).max(1) };
        self.current = grown.min(self.most);
        if self.current == self.most {
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
        let mut limit = Limit::new(100);
        let now = Instant::now();
        for (after, expected) in
            [(0, 50), (1, 50), (99, 50), (100, 25), (200, 12), (300, 6), (400, 3), (500, 1), (600, 1)]
        {
            limit.throttled(now + Duration::from_millis(after));
            assert_eq!(limit.current(), expected, "after {after} ms");
        }
    }

    #[test]
    fn it_doubles_up_to_half_and_then_grows_by_a_fiftieth_until_it_is_what_it_was() {
        let mut limit = Limit::new(100);
        let mut now = Instant::now();
        for _ in 0..4 {
            limit.throttled(now);
            now += STEP;
        }
        let mut seen = vec![limit.current()];
        while limit.is_lowered() {
            limit.taken(now);
            limit.taken(now);
            seen.push(limit.current());
            now += STEP;
        }
        assert_eq!(&seen[..6], [6, 12, 24, 48, 96, 98]);
        assert_eq!(seen.last(), Some(&100));
    }

    #[test]
    fn it_does_not_grow_while_writes_are_still_throttled() {
        let mut limit = Limit::new(100);
        let start = Instant::now();
        limit.throttled(start);
        limit.throttled(start + Duration::from_millis(90));
        limit.taken(start + Duration::from_millis(150));
        assert_eq!(limit.current(), 50);
        limit.taken(start + Duration::from_millis(190));
        assert_eq!(limit.current(), 52);
    }

    proptest! {
        #[test]
        fn it_stays_within_one_and_its_most(most in 1usize..2000, steps in proptest::collection::vec((any::<bool>(), 0u64..300), 0..200)) {
            let mut limit = Limit::new(most);
            let mut now = Instant::now();
            for (throttled, pause) in steps {
                now += Duration::from_millis(pause);
                if throttled { limit.throttled(now) } else { limit.taken(now) }
                prop_assert!((1..=most).contains(&limit.current()));
                prop_assert_eq!(limit.current() < most, limit.is_lowered() && most > 1);
            }
        }
    }

    #[test]
    fn a_new_maximum_is_the_limit_at_once() {
        let mut limit = Limit::new(100);
        for most in [200, 50] {
            limit.set_most(most);
            assert_eq!(limit.current(), most);
        }
        let now = Instant::now();
        limit.throttled(now);
        assert_eq!(limit.current(), 25);
        for step in 1..100 {
            limit.taken(now + step * STEP);
        }
        assert_eq!(limit.current(), 50);
    }
}
