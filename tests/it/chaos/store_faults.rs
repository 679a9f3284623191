//! The faults that the proxy before the store injects: a few of each kind all the time, and many of one kind during a
//! fault of the schedule.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::publisher::REFUSED_SERVICE;
use crate::support::dynamo_proxy::{Action, Request, StatementError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
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
    /// The role may not write.
    Denied,
    /// Many statements of batches get an error. Half of the internal errors are executed all the same.
    Statements,
}

impl Mode {
    /// The modes for consumers that write one item per request.
    pub(super) const PUT: [Mode; 6] =
        [Mode::Throttling, Mode::Denied, Mode::Errors, Mode::Closing, Mode::Slow, Mode::Hanging];

    /// The modes for consumers some of which write in batches.
    pub(super) const BATCH: [Mode; 7] =
        [Mode::Throttling, Mode::Statements, Mode::Denied, Mode::Errors, Mode::Closing, Mode::Slow, Mode::Hanging];
}

/// The current modes, and how often each action was taken. Clones share them.
#[derive(Clone)]
pub(super) struct StoreFaults {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// The modes that have begun and not ended, and whether each has injected a fault since then.
    modes: Vec<(Mode, bool)>,
    /// Whether there are a few faults of each kind while there is no mode.
    background: bool,
    random: StdRng,
    counts: BTreeMap<&'static str, u64>,
    /// The faults that each mode has injected.
    injected: BTreeMap<Mode, u64>,
    /// Statements of batches with an injected error, without those of refused items.
    failed_statements: u64,
}

impl StoreFaults {
    pub(super) fn new(seed: u64) -> StoreFaults {
        let inner = Inner {
            modes: Vec::new(),
            background: true,
            random: StdRng::seed_from_u64(seed),
            counts: BTreeMap::new(),
            injected: BTreeMap::new(),
            failed_statements: 0,
        };
        StoreFaults { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(super) fn begin(&self, mode: Mode) {
        self.inner().modes.push((mode, false));
    }

    pub(super) fn end(&self, mode: Mode) {
        let modes = &mut self.inner().modes;
        let place = modes.iter().position(|(begun, _)| *begun == mode).expect("the mode has begun");
        modes.remove(place);
    }

    /// Ends the few faults of each kind. Items of [`REFUSED_SERVICE`] are refused for good.
    pub(super) fn end_background(&self) {
        self.inner().background = false;
    }

    /// Returns the number of requests for each action.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.inner().counts.clone()
    }

    /// Returns how many faults a mode has injected.
    pub(super) fn injected(&self, mode: Mode) -> u64 {
        self.inner().injected.get(&mode).copied().unwrap_or_default()
    }

    pub(super) fn failed_statements(&self) -> u64 {
        self.inner().failed_statements
    }

    pub(super) fn action(&self, request: &Request) -> Action {
        let inner = &mut *self.inner();
        let (name, action) = match inner.modes.is_empty() {
            false => inner.apply_mode(request),
            true if inner.background => for_request(request, background(request, &mut inner.random)),
            true => FORWARDED,
        };
        *inner.counts.entry(name).or_default() += 1;
        if let Action::FailStatements(errors) = &action {
            inner.failed_statements += u64::try_from(errors.len()).expect("a batch is small");
        }
        if !request.is_write() {
            return action;
        }
        let (action, refused) = refuse_items(request, action);
        if refused > 0 {
            *inner.counts.entry("with a refused item").or_default() += 1;
        }
        action
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no thread panics while it holds the lock")
    }
}

impl Inner {
    /// Takes the action of one mode. Modes overlap, so those without an effect come first. Otherwise a mode that seldom has
    /// one could hide another to its end.
    fn apply_mode(&mut self, request: &Request) -> (&'static str, Action) {
        self.modes.sort_by_key(|(_, has_effect)| *has_effect);
        for (mode, has_effect) in &mut self.modes {
            let (name, action) = for_request(request, mode.action(request, &mut self.random));
            if name != FORWARDED.0 {
                *has_effect = true;
                *self.injected.entry(*mode).or_default() += 1;
                return (name, action);
            }
        }
        FORWARDED
    }
}

/// Forwards a request that is not a write instead of throttling or denying it.
fn for_request(request: &Request, (name, action): (&'static str, Action)) -> (&'static str, Action) {
    match request.is_write() || !matches!(action, Action::Respond(400, _)) {
        true => (name, action),
        false => FORWARDED,
    }
}

const FORWARDED: (&str, Action) = ("forwarded", Action::Forward);

impl Mode {
    /// Returns the name of an action for the report, and the action.
    fn action(self, request: &Request, random: &mut StdRng) -> (&'static str, Action) {
        match self {
            Mode::Throttling if random.random_bool(0.5) => throttle(random),
            Mode::Errors if random.random_bool(0.5) => fail(random),
            Mode::Closing if random.random_bool(0.3) => close(random),
            Mode::Slow => delay(random, 1_000..2_500),
            Mode::Hanging => ("without a response", Action::Hang),
            Mode::Denied => ("denied", Action::access_denied()),
            Mode::Statements => fail_statements(request, 0.3, random),
            Mode::Throttling | Mode::Errors | Mode::Closing => FORWARDED,
        }
    }
}

/// Injects a few faults of each kind.
fn background(request: &Request, random: &mut StdRng) -> (&'static str, Action) {
    if !request.statements().is_empty() && random.random_bool(0.05) {
        return fail_statements(request, 0.3, random);
    }
    if random.random_bool(0.99) {
        return FORWARDED;
    }
    match random.random_range(0..4) {
        0 => throttle(random),
        1 => fail(random),
        2 => close(random),
        _ => delay(random, 10..500),
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

/// Fails some statements of a batch. The server does not execute them, except for some with an internal error.
fn fail_statements(request: &Request, share: f64, random: &mut StdRng) -> (&'static str, Action) {
    const CODES: [&str; 5] = [
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        "InternalServerError",
        "ValidationError",
        "TransactionConflict",
    ];
    let mut errors = Vec::new();
    for index in 0..request.statements().len() {
        if random.random_bool(share) {
            let code = CODES[random.random_range(0..CODES.len())];
            let executed = code == "InternalServerError" && random.random_bool(0.5);
            errors.push(StatementError { index, code, executed });
        }
    }
    match errors.is_empty() {
        true => FORWARDED,
        false => ("with errors of single statements", Action::FailStatements(errors)),
    }
}

/// Makes an action that forwards a write refuse the items of [`REFUSED_SERVICE`], and returns how many there are.
fn refuse_items(request: &Request, action: Action) -> (Action, usize) {
    let rows = request.rows().into_iter().enumerate();
    let refused = rows.filter(|(_, row)| row.key.ends_with(&format!("#{REFUSED_SERVICE}")));
    let refused: Vec<usize> = refused.map(|(index, _)| index).collect();
    let count = refused.len();
    if count == 0 {
        return (action, 0);
    }
    let refusal = |index| StatementError { index, code: "ValidationError", executed: false };
    let action = match action {
        Action::Delay(delay, then) => return (refuse_items(request, *then).0.after(delay), count),
        Action::Forward | Action::FailStatements(_) | Action::CloseAfter if request.is_put() => Action::invalid_item(),
        Action::Forward => Action::FailStatements(refused.into_iter().map(refusal).collect()),
        Action::FailStatements(mut errors) => {
            errors.retain(|error| !refused.contains(&error.index));
            errors.extend(refused.into_iter().map(refusal));
            errors.sort_by_key(|error| error.index);
            Action::FailStatements(errors)
        }
        // The refused items must not reach the server.
        Action::CloseAfter => Action::CloseBefore,
        Action::Respond(..) | Action::CloseBefore | Action::Hang | Action::Hold(_) | Action::ProcessKeys(_) => {
            return (action, 0);
        }
    };
    (action, count)
}
