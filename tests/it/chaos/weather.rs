//! What the front before the store does to requests: a little of everything at all times, and much of one thing in bad
//! weather.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::store_front::{Fate, Request};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weather {
    /// Nothing at all happens.
    Clear,
    /// Of everything a little.
    Usual,
    /// Half of all writes are throttled, some for their key.
    Throttling,
    /// Half of all requests are answered with HTTP 500, or 503 without a body.
    Failing,
    /// Connections are cut, before the request is heard or in place of its answer.
    Cutting,
    /// Every request waits for a second or more.
    Slow,
    /// Every request is heard and never answered.
    Silent,
}

impl Weather {
    pub(super) const BAD: [Weather; 5] =
        [Weather::Throttling, Weather::Failing, Weather::Cutting, Weather::Slow, Weather::Silent];
}

/// The weather now, and what it did.
#[derive(Clone)]
pub(super) struct Sky {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    weather: Weather,
    dice: StdRng,
    done: BTreeMap<&'static str, u64>,
}

impl Sky {
    pub(super) fn new(seed: u64) -> Sky {
        let inner = Inner { weather: Weather::Usual, dice: StdRng::seed_from_u64(seed), done: BTreeMap::new() };
        Sky { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(super) fn set(&self, weather: Weather) {
        self.inner.lock().expect("nobody panics with it").weather = weather;
    }

    /// How often each thing was done to a request.
    pub(super) fn done(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().expect("nobody panics with it").done.clone()
    }

    pub(super) fn fate(&self, request: &Request) -> Fate {
        let inner = &mut *self.inner.lock().expect("nobody panics with it");
        let (name, fate) = inner.weather.fate(&mut inner.dice);
        // Only writes are throttled.
        if matches!(fate, Fate::Answer(400, _)) && !request.is_write() {
            return Fate::Pass;
        }
        *inner.done.entry(name).or_default() += 1;
        fate
    }
}

impl Weather {
    fn fate(self, dice: &mut StdRng) -> (&'static str, Fate) {
        let likely = |dice: &mut StdRng, share: f64| dice.random_bool(share);
        match self {
            Weather::Throttling if likely(dice, 0.5) => throttled(dice),
            Weather::Failing if likely(dice, 0.5) => failed(dice),
            Weather::Cutting if likely(dice, 0.3) => cut(dice),
            Weather::Slow => late(dice, 1_000..2_500),
            Weather::Silent => ("never answered", Fate::Silence),
            Weather::Usual if likely(dice, 0.01) => match dice.random_range(0..4) {
                0 => throttled(dice),
                1 => failed(dice),
                2 => cut(dice),
                _ => late(dice, 10..500),
            },
            _ => ("passed on", Fate::Pass),
        }
    }
}

fn throttled(dice: &mut StdRng) -> (&'static str, Fate) {
    let reasons = [None, Some("TableWriteKeyRangeThroughputExceeded"), Some("TableWriteMaxOnDemandThroughputExceeded")];
    ("throttled", Fate::throttled(reasons[dice.random_range(0..reasons.len())]))
}

fn failed(dice: &mut StdRng) -> (&'static str, Fate) {
    match dice.random_bool(0.5) {
        true => ("answered with 500", Fate::failed()),
        false => ("answered with 503", Fate::unavailable()),
    }
}

fn cut(dice: &mut StdRng) -> (&'static str, Fate) {
    match dice.random_bool(0.5) {
        true => ("cut before they were heard", Fate::CutBefore),
        false => ("cut in place of the answer", Fate::CutAfter),
    }
}

fn late(dice: &mut StdRng, milliseconds: std::ops::Range<u64>) -> (&'static str, Fate) {
    ("late", Fate::Pass.late(Duration::from_millis(dice.random_range(milliseconds))))
}
