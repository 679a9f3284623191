//! What an instance knows of one endpoint: its queue, its running attempts, its circuit breaker and its rates.

use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::{BreakerSettings, Change, CircuitBreaker, Pass};
use crate::ports::Deferred;
use crate::rate::{Ramp, RateLimit};

#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) breaker: CircuitBreaker,
    pub(crate) rate: RateLimit,
    pub(crate) ramp: Ramp,
    max_concurrency: usize,
    running: usize,
    newest_start: Option<Instant>,
    successes: Successes,
    queued: usize,
    queued_bytes: usize,
}

impl Traffic {
    /// How many deliveries of an endpoint may wait or run, unless it is known to answer more per second.
    const MIN_QUEUE: usize = 64;

    pub(crate) fn new(max_concurrency: usize) -> Traffic {
        Traffic {
            breaker: CircuitBreaker::new(),
            rate: RateLimit::new(),
            ramp: Ramp::new(),
            max_concurrency,
            running: 0,
            newest_start: None,
            successes: Successes::default(),
            queued: 0,
            queued_bytes: 0,
        }
    }

    /// Whether a delivery may wait in the queue. Its bytes count until [`Traffic::leave`].
    pub(crate) fn enter(
        &mut self,
        bytes: usize,
        now: Instant,
        max_bytes: usize,
        stalled_after: Duration,
    ) -> Result<(), Deferred> {
        if !self.breaker.would_pass(now) {
            return Err(Deferred::CircuitOpen);
        }
        if self.is_stalled(now, stalled_after) {
            return Err(Deferred::Stalled);
        }
        // Each delivery that waits holds a record of its program. So an endpoint that hangs or is slow must not hold many.
        let max_queue = self.successes.per_second(now).max(4 * self.max_concurrency).max(Self::MIN_QUEUE);
        if self.queued >= max_queue || self.queued_bytes + bytes > max_bytes {
            return Err(Deferred::QueueFull);
        }
        self.queued += 1;
        self.queued_bytes += bytes;
        Ok(())
    }

    pub(crate) fn leave(&mut self, bytes: usize) {
        self.queued -= 1;
        self.queued_bytes -= bytes;
    }

    fn is_stalled(&self, now: Instant, after: Duration) -> bool {
        self.running >= self.max_concurrency && self.newest_start.is_some_and(|start| start + after <= now)
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// Starts an attempt, unless the circuit is open.
    pub(crate) fn start(&mut self, now: Instant) -> Pass {
        let pass = self.breaker.pass(now);
        if pass != Pass::Refused {
            self.running += 1;
            self.newest_start = Some(now);
        }
        pass
    }

    pub(crate) fn succeeded(&mut self, now: Instant) -> Change {
        self.successes.add(now);
        let change = self.breaker.succeeded();
        if change == Change::Recovered {
            self.ramp.restart(now);
        }
        self.ramp.succeeded(now);
        change
    }

    pub(crate) fn failed(
        &mut self,
        pass: Pass,
        asked: Option<Duration>,
        now: Instant,
        (settings, random): (&BreakerSettings, f64),
    ) -> Change {
        self.ramp.failed(now);
        match (self.breaker.failed(pass, now, settings, random), asked) {
            (Change::None, Some(asked)) => self.breaker.pause(asked, now, settings),
            (change, _) => change,
        }
    }

    /// Ends an attempt. Without a result before, it was cancelled.
    pub(crate) fn end(&mut self, pass: Pass, has_result: bool, now: Instant) {
        self.running -= 1;
        if !has_result {
            self.breaker.cancelled(pass, now);
        }
    }

    /// Whether a new value would behave the same.
    pub(crate) fn is_new(&self, now: Instant) -> bool {
        self.breaker.is_new()
            && self.ramp.is_unlimited()
            && self.rate.is_unused(now)
            && self.running == 0
            && self.queued == 0
            && self.successes.per_second(now) == 0
    }
}

/// Counts successes in windows of a second.
#[derive(Debug, Default)]
struct Successes {
    began: Option<Instant>,
    count: usize,
    before: usize,
}

impl Successes {
    const WINDOW: Duration = Duration::from_secs(1);

    fn add(&mut self, now: Instant) {
        let age = self.began.map(|began| now.saturating_duration_since(began));
        if age.is_none_or(|age| age >= Self::WINDOW) {
            self.before = if age.is_some_and(|age| age < 2 * Self::WINDOW) { self.count } else { 0 };
            (self.began, self.count) = (Some(now), 0);
        }
        self.count += 1;
    }

    /// Returns those of the present window or of the one before, whichever are more.
    fn per_second(&self, now: Instant) -> usize {
        match self.began.map(|began| now.saturating_duration_since(began)) {
            Some(age) if age < Self::WINDOW => self.count.max(self.before),
            Some(age) if age < 2 * Self::WINDOW => self.count,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALLED: Duration = Duration::from_secs(2);

    #[test]
    fn the_queue_is_bounded_by_bytes() {
        let (now, mut traffic) = (Instant::now(), Traffic::new(1));
        assert_eq!(traffic.enter(600, now, 1000, STALLED), Ok(()));
        assert_eq!(traffic.enter(600, now, 1000, STALLED), Err(Deferred::QueueFull));
        traffic.leave(600);
        assert_eq!(traffic.enter(600, now, 1000, STALLED), Ok(()));
    }

    #[test]
    fn the_queue_of_an_endpoint_is_as_long_as_what_it_answers_in_a_second() {
        let (now, mut traffic) = (Instant::now(), Traffic::new(20));
        let enter = |traffic: &mut Traffic, now| traffic.enter(1, now, 1000, STALLED);
        assert!((0..80).all(|_| enter(&mut traffic, now).is_ok()));
        assert_eq!(enter(&mut traffic, now), Err(Deferred::QueueFull));
        for _ in 0..81 {
            traffic.succeeded(now);
        }
        assert_eq!(enter(&mut traffic, now), Ok(()));
        assert_eq!(enter(&mut traffic, now), Err(Deferred::QueueFull));
        traffic.leave(1);
        let window = |count| now + Duration::from_secs(count);
        assert_eq!(enter(&mut traffic, window(1)), Ok(()));
        traffic.leave(1);
        assert_eq!(enter(&mut traffic, window(2)), Err(Deferred::QueueFull));
        traffic.succeeded(window(1));
        assert_eq!(enter(&mut traffic, window(1)), Ok(()), "the window before counts");
        traffic.leave(1);
        assert_eq!(enter(&mut traffic, window(2)), Err(Deferred::QueueFull));
    }

    #[test]
    fn an_endpoint_whose_attempts_all_hang_takes_no_more() {
        let (now, mut traffic) = (Instant::now(), Traffic::new(2));
        traffic.start(now);
        let later = now + Duration::from_secs(1);
        traffic.start(later);
        assert_eq!(traffic.enter(1, now + STALLED, 1000, STALLED), Ok(()));
        assert_eq!(traffic.enter(1, later + STALLED, 1000, STALLED), Err(Deferred::Stalled));
        traffic.end(Pass::Normal, true, later);
        assert_eq!(traffic.enter(1, later + STALLED, 1000, STALLED), Ok(()));
    }

    #[test]
    fn an_open_circuit_takes_no_more_until_it_may_probe() {
        let (now, mut traffic) = (Instant::now(), Traffic::new(2));
        let settings = BreakerSettings::default();
        for _ in 0..5 {
            let pass = traffic.start(now);
            traffic.failed(pass, None, now, (&settings, 0.0));
            traffic.end(pass, true, now);
        }
        assert_eq!(traffic.enter(1, now, 1000, STALLED), Err(Deferred::CircuitOpen));
        let later = now + Duration::from_secs(5);
        assert_eq!(traffic.enter(1, later, 1000, STALLED), Ok(()));
        assert_eq!(traffic.start(later), Pass::Probe);
        assert_eq!(traffic.start(later), Pass::Refused);
        assert_eq!(traffic.running(), 1);
        assert_eq!(traffic.succeeded(later), Change::Recovered);
        assert!(!traffic.ramp.is_unlimited());
    }

    #[test]
    fn a_busy_receiver_pauses_its_endpoint_at_once() {
        let (now, mut traffic) = (Instant::now(), Traffic::new(2));
        let pass = traffic.start(now);
        let settings = BreakerSettings::default();
        let change = traffic.failed(pass, Some(Duration::from_secs(9)), now, (&settings, 0.0));
        assert_eq!(change, Change::Opened);
        assert_eq!(traffic.enter(1, now + Duration::from_secs(8), 1000, STALLED), Err(Deferred::CircuitOpen));
        assert_eq!(traffic.enter(1, now + Duration::from_secs(9), 1000, STALLED), Ok(()));
    }
}
