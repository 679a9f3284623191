//! Chooses the verb to try first for an unknown key: the one that most unknown keys needed lately. Pure.

use crate::consumer::ports::Verb;

/// Tracks the share over about this many keys. A wrong verb costs a write unit. This is long enough that chance rarely flips a
/// share near one half, and short enough to follow a changing backlog.
const WINDOW: f64 = 256.0;

/// The recent share of missing records among the unknown keys.
#[derive(Debug, Default)]
pub(super) struct Forecast {
    missing: f64,
    seen: f64,
}

impl Forecast {
    pub(super) fn verb(&self) -> Verb {
        if self.missing > 0.5 { Verb::Insert } else { Verb::Update }
    }

    /// Records whether the record of an unknown key was missing.
    pub(super) fn record(&mut self, is_missing: bool) {
        self.seen = (self.seen + 1.0).min(WINDOW);
        self.missing += (f64::from(u8::from(is_missing)) - self.missing) / self.seen;
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn wrong_verbs(share: f64, keys: u32, seed: u64) -> f64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut forecast = Forecast::default();
        let mut wrong = 0;
        for _ in 0..keys {
            let is_missing = random.random_bool(share);
            wrong += u32::from((forecast.verb() == Verb::Insert) != is_missing);
            forecast.record(is_missing);
        }
        f64::from(wrong) / f64::from(keys)
    }

    #[test]
    fn the_first_answers_decide() {
        let mut forecast = Forecast::default();
        assert_eq!(forecast.verb(), Verb::Update);
        forecast.record(true);
        assert_eq!(forecast.verb(), Verb::Insert);
        forecast.record(false);
        assert_eq!(forecast.verb(), Verb::Update);
    }

    #[test]
    fn a_changed_backlog_flips_the_verb_within_the_window() {
        let mut forecast = Forecast::default();
        (0..10_000).for_each(|_| forecast.record(true));
        let turned = (0..).find(|_| {
            forecast.record(false);
            forecast.verb() == Verb::Update
        });
        assert!(turned.is_some_and(|keys| keys < 256), "{turned:?}");
    }

    /// The seeds are fixed, because a sample of random keys deviates from its share by chance.
    #[test]
    fn the_share_of_wrong_verbs_is_the_smaller_of_the_two_shares() {
        for percent in 0..=100u32 {
            let share = f64::from(percent) / 100.0;
            let wrong = wrong_verbs(share, 20_000, u64::from(percent));
            assert!(wrong <= f64::min(share, 1.0 - share) + 0.02, "{wrong} of a share of {share}");
        }
    }
}
