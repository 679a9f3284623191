//! The faults that the proxy before the store injects: a few of each kind all the time, and many of one kind during a
//! fault of the schedule.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::dynamo_proxy::{Action, Request};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// No faults.
    Off,
    /// A few faults of each kind.
    Background,
    /// Half of all writes are throttled, some because of a hot key.
    Throttling,
    /// Half of all requests get HTTP 500, or 503 without a body.
    Errors,
    /// Connections are closed, before the request is forwarded or instead of its response.
    Closing,
    /// Every request is delayed by a second or more.
    Slow,
    /// No request gets a response.
    Hanging,
}

impl Mode {
    /// The modes with many faults of one kind.
    pub(super) const FAULTY: [Mode; 5] = [Mode::Throttling, Mode::Errors, Mode::Closing, Mode::Slow, Mode::Hanging];
}

/// The current mode, and how often each action was taken. Clones share them.
#[derive(Clone)]
pub(super) struct StoreFaults {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    mode: Mode,
    random: StdRng,
    counts: BTreeMap<&'static str, u64>,
}

impl StoreFaults {
    pub(super) fn new(seed: u64) -> StoreFaults {
        let inner = Inner { mode: Mode::Background, random: StdRng::seed_from_u64(seed), counts: BTreeMap::new() };
        StoreFaults { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.inner.lock().expect("no thread panics while it holds the lock").mode = mode;
    }

    /// Returns the number of requests for each action.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().expect("no thread panics while it holds the lock").counts.clone()
    }

    pub(super) fn action(&self, request: &Request) -> Action {
        let inner = &mut *self.inner.lock().expect("no thread panics while it holds the lock");
        let (name, action) = inner.mode.action(&mut inner.random);
        // Only writes are throttled.
        if matches!(action, Action::Respond(400, _)) && !request.is_write() {
            return Action::Forward;
        }
        *inner.counts.entry(name).or_default() += 1;
        action
    }
}

impl Mode {
    /// Returns the name of an action for the report, and the action.
    fn action(self, random: &mut StdRng) -> (&'static str, Action) {
        match self {
            Mode::Throttling if random.random_bool(0.5) => throttle(random),
            Mode::Errors if random.random_bool(0.5) => fail(random),
            Mode::Closing if random.random_bool(0.3) => close(random),
            Mode::Slow => delay(random, 1_000..2_500),
            Mode::Hanging => ("without a response", Action::Hang),
            Mode::Background if random.random_bool(0.01) => match random.random_range(0..4) {
                0 => throttle(random),
                1 => fail(random),
                2 => close(random),
                _ => delay(random, 10..500),
            },
            _ => ("forwarded", Action::Forward),
        }
    }
}

fn throttle(random: &mut StdRng) -> (&'static str, Action) {
    let reasons = [None, Some("TableWriteKeyRangeThroughputExceeded"), Some("TableWriteMaxOnDemandThroughputExceeded")];
    ("throttled", Action::throttled(reasons[random.random_range(0..reasons.len())]))
}

fn fail(random: &mut StdRng) -> (&'static str, Action) {
    match random.random_bool(0.5) {
        true => ("failed with 500", Action::internal_error()),
        false => ("failed with 503", Action::unavailable()),
    }
}

fn close(random: &mut StdRng) -> (&'static str, Action) {
    match random.random_bool(0.5) {
        true => ("closed before the store received them", Action::CloseBefore),
        false => ("closed instead of a response", Action::CloseAfter),
    }
}

fn delay(random: &mut StdRng, milliseconds: std::ops::Range<u64>) -> (&'static str, Action) {
    ("delayed", Action::Forward.after(Duration::from_millis(random.random_range(milliseconds))))
}
