//! The limit of writes in flight, which three signals change: it rises while that raises throughput, is halved while the
//! table throttles, and is lowered to what fits into the timeout of an attempt when attempts time out. It never rises above
//! what fits into half of that timeout, nor falls below one per thread. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::consumer::settings::ATTEMPT_TIMEOUT;

/// Throughput is measured over at least this time, and over at least one answer per permit.
const WINDOW: Duration = Duration::from_millis(50);
/// The minimum gain of an upward trial. With less, writes wait in the store's queue or for a core of this machine.
const MIN_GAIN: f64 = 1.2;
/// A gain that cannot be chance, so that one measurement is enough.
const CLEAR_GAIN: f64 = 1.6;
/// The share of the throughput that half as many writes must keep. It is closer to 1 than the gain, so that chance does not
/// raise the limit.
const MIN_KEPT: f64 = 0.95;
/// Throughput that grows faster than this from window to window grows by itself, e.g. after the start. Then no trial begins.
const STEADY: f64 = 1.05;
/// The time between a failed trial and the next one.
const PAUSE: Duration = Duration::from_secs(10);
/// A lowered limit that has free permits forgets its rate this long after the last throttled write or timeout.
const FORGET_AFTER: Duration = Duration::from_secs(10);
/// The minimum time between two changes of a lowered limit, except when attempts time out.
const STEP: Duration = Duration::from_millis(100);
/// Timeouts leave this share of the limit. In an outage this is enough for the probes and for a quick recovery, and on a slow
/// path few attempts are lost before the limit fits.
const LEFT_BY_TIMEOUTS: usize = 8;

/// A fast store needs few writes on few connections; a slow or distant one needs many.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Throttling and timeouts stop here.
    floor: usize,
    /// Downward trials stop here.
    start: usize,
    max: usize,
    limit: usize,
    window: Option<Window>,
    /// The throughput in the previous window, per second.
    rate: Option<f64>,
    phase: Phase,
    /// The direction of the current or the next trial.
    next: Direction,
    /// Until the first upward trial fails. Until then such trials double the limit. Later ones add half, because the connections
    /// of a trial stay open until the next one.
    is_climbing: bool,
    /// When timeouts lowered the limit.
    timed_out: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    /// The total number of answers at its start.
    answers: u64,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Steady { not_before: Option<Instant> },
    Trial(Trial),
    Lowered(Lowered),
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    /// The limit before the trial.
    before: usize,
    /// The throughput before the trial.
    rate: f64,
    /// Windows since its start. The first contains older writes. The others decide; there are several, so that chance rarely
    /// does.
    windows: u32,
}

/// Throttling or timeouts have lowered the limit, and it is not back at its target.
#[derive(Debug, Clone, Copy)]
struct Lowered {
    target: usize,
    /// Below this the limit doubles. Then it grows by 2 % of the target.
    doubles_to: usize,
    /// When the limit changed.
    changed: Instant,
    /// The latest throttled write or timeout.
    latest: Instant,
    is_throttled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Limiter {
    pub(super) fn new(floor: usize, start: usize, max: usize) -> Limiter {
        let start = start.clamp(floor, max);
        Limiter {
            floor,
            start,
            max,
            limit: start,
            window: None,
            rate: None,
            phase: Phase::Steady { not_before: None },
            next: Direction::Up,
            is_climbing: true,
            timed_out: None,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns whether throttling or timeouts have lowered the limit and it is not restored yet.
    pub(super) fn is_lowered(&self) -> bool {
        matches!(self.phase, Phase::Lowered(_))
    }

    /// Returns whether throttling has lowered the limit and it is not restored yet.
    pub(super) fn is_throttled(&self) -> bool {
        matches!(self.phase, Phase::Lowered(Lowered { is_throttled: true, .. }))
    }

    /// Records the total number of answers. `is_exhausted`: a thread has no free permit; otherwise more permits would change
    /// nothing.
    pub(super) fn answered(&mut self, answers: u64, is_exhausted: bool, now: Instant) {
        if is_exhausted {
            if let Some(rate) = self.measure(answers, now) {
                let before = self.rate.replace(rate);
                self.evaluate(before, rate, now);
            }
        } else {
            self.window = None;
            self.end_trial(now);
            // The rate bounds a lowered limit, also while an open circuit breaker leaves permits free.
            match self.phase {
                Phase::Lowered(lowered) if now.duration_since(lowered.latest) < FORGET_AFTER => {}
                Phase::Steady { .. } | Phase::Trial(_) | Phase::Lowered(_) => self.rate = None,
            }
        }
        if let Phase::Lowered(lowered) = self.phase {
            self.grow(lowered, now);
        }
    }

    /// Records a throttled write.
    pub(super) fn throttled(&mut self, now: Instant) {
        let is_due = match self.phase {
            Phase::Lowered(Lowered { changed, .. }) => now.duration_since(changed) >= STEP,
            Phase::Steady { .. } | Phase::Trial(_) => true,
        };
        let mut lowered = self.lowered(now);
        lowered.doubles_to = lowered.doubles_to.min(lowered.target / 2);
        if is_due {
            self.limit = (self.limit / 2).max(self.floor);
            lowered.changed = now;
        }
        self.phase = Phase::Lowered(Lowered { latest: now, is_throttled: true, ..lowered });
    }

    /// Records an attempt that timed out while a thread had no free permit. `answered` is the number of writes that succeeded
    /// since it was sent. By Little's law, half as many writes in flight take half of the timeout.
    pub(super) fn timed_out(&mut self, answered: u64, now: Instant) {
        let fits = usize::try_from(answered / 2).unwrap_or(usize::MAX);
        if fits >= self.limit {
            return;
        }
        self.end_trial(now);
        // Attempts that were sent before the last timeout say nothing about the limit that it set.
        if fits >= self.limit || self.timed_out.is_some_and(|at| now.duration_since(at) < ATTEMPT_TIMEOUT) {
            return;
        }
        let was_lowered = self.is_lowered();
        let mut lowered = self.lowered(now);
        if !was_lowered {
            lowered.doubles_to = lowered.target;
        }
        self.limit = fits.max(self.limit / LEFT_BY_TIMEOUTS).max(self.floor);
        self.phase = Phase::Lowered(Lowered { changed: now, latest: now, ..lowered });
        self.timed_out = Some(now);
        self.window = None;
        self.rate = Some(answered as f64 / ATTEMPT_TIMEOUT.as_secs_f64());
    }

    /// Returns the throughput, per second, if this answer ends a window.
    fn measure(&mut self, answers: u64, now: Instant) -> Option<f64> {
        let Window { began, answers: before } = *self.window.get_or_insert(Window { began: now, answers });
        let (lasted, counted) = (now.duration_since(began), answers.saturating_sub(before));
        if lasted < WINDOW || counted < self.limit as u64 {
            return None;
        }
        self.window = Some(Window { began: now, answers });
        Some(counted as f64 / lasted.as_secs_f64())
    }

    /// Decides what follows from the throughput of a window and of the one before it.
    fn evaluate(&mut self, before: Option<f64>, rate: f64, now: Instant) {
        match self.phase {
            Phase::Trial(trial) => self.classify(trial, rate, now),
            Phase::Steady { not_before } if not_before.is_none_or(|time| time <= now) => {
                if let Some(before) = before.filter(|before| rate <= STEADY * before) {
                    self.begin_trial(rate.max(before), now);
                }
            }
            Phase::Steady { .. } | Phase::Lowered(_) => {}
        }
    }

    fn begin_trial(&mut self, rate: f64, now: Instant) {
        let to = match self.next {
            Direction::Up if self.is_climbing => self.limit * 2,
            Direction::Up => self.limit + (self.limit / 2).max(1),
            Direction::Down => (self.limit / 2).max(self.start.min(self.limit)),
        };
        let to = to.min(self.max);
        if to == self.limit || self.next == Direction::Up && !self.fits(to) {
            self.reverse(now);
        } else {
            self.phase = Phase::Trial(Trial { before: self.limit, rate, windows: 0 });
            self.limit = to;
        }
    }

    fn classify(&mut self, mut trial: Trial, rate: f64, now: Instant) {
        trial.windows += 1;
        let required = match self.next {
            Direction::Up => MIN_GAIN,
            Direction::Down => MIN_KEPT,
        };
        let is_clear = self.next == Direction::Up && rate >= CLEAR_GAIN * trial.rate;
        match trial.windows {
            1 => self.phase = Phase::Trial(trial),
            _ if rate < required * trial.rate => {
                self.limit = trial.before;
                self.is_climbing &= self.next == Direction::Down;
                self.reverse(now);
            }
            2 | 3 if !is_clear => self.phase = Phase::Trial(trial),
            _ => self.begin_trial(rate, now),
        }
    }

    /// Lets the next trial have the other direction.
    fn reverse(&mut self, now: Instant) {
        self.next = match self.next {
            Direction::Up => Direction::Down,
            Direction::Down => Direction::Up,
        };
        self.phase = Phase::Steady { not_before: Some(now + PAUSE) };
    }

    /// Ends a trial without a result, because writes are throttled or time out, or there is too little to do. Restores the
    /// limit before it.
    fn end_trial(&mut self, now: Instant) {
        if let Phase::Trial(trial) = self.phase {
            self.limit = trial.before;
            self.phase = Phase::Steady { not_before: Some(now + PAUSE) };
        }
    }

    /// Returns the current phase of a lowered limit, or one that begins now.
    fn lowered(&mut self, now: Instant) -> Lowered {
        if let Phase::Lowered(lowered) = self.phase {
            return lowered;
        }
        self.end_trial(now);
        self.window = None;
        self.rate = None;
        let target = self.limit;
        Lowered { target, doubles_to: target / 2, changed: now, latest: now, is_throttled: false }
    }

    /// Raises a lowered limit by a step, if one is due.
    fn grow(&mut self, mut lowered: Lowered, now: Instant) {
        if now.duration_since(lowered.changed.max(lowered.latest)) < STEP {
            return;
        }
        let more = if self.limit < lowered.doubles_to { self.limit } else { (lowered.target / 50).max(1) };
        let grown = (self.limit + more).min(lowered.target);
        if self.fits(grown) {
            self.limit = grown;
            lowered.changed = now;
            self.phase = match grown == lowered.target {
                true => Phase::Steady { not_before: None },
                false => Phase::Lowered(lowered),
            };
        }
    }

    /// Returns whether that many writes in flight take at most half of the timeout, at the throughput of the last window.
    fn fits(&self, limit: usize) -> bool {
        self.rate.is_none_or(|rate| limit as f64 <= rate * ATTEMPT_TIMEOUT.as_secs_f64() / 2.0)
    }
}

#[cfg(test)]
mod tests;
