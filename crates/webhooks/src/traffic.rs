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
    /// The last success, if nothing has failed since.
    last_success: Option<Instant>,
    queued: usize,
    queued_bytes: usize,
}

impl Traffic {
    /// How long a success shows that the endpoint answers.
    const ANSWERS_FOR: Duration = Duration::from_secs(10);
    /// How many deliveries of an endpoint may wait or run, unless it is known to answer.
    const MIN_QUEUE: usize = 64;

    pub(crate) fn new(max_concurrency: usize) -> Traffic {
        Traffic {
            breaker: CircuitBreaker::new(),
            rate: RateLimit::new(),
            ramp: Ramp::new(),
            max_concurrency,
            running: 0,
            newest_start: None,
            last_success: None,
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
        // Each delivery that waits holds a record of its program. So endpoints that hang must not hold many.
        let max_queue = (4 * self.max_concurrency).max(Self::MIN_QUEUE);
        let is_long = self.queued >= max_queue && !self.answers(now);
        if is_long || self.queued_bytes + bytes > max_bytes {
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

    fn answers(&self, now: Instant) -> bool {
        self.last_success.is_some_and(|success| now < success + Self::ANSWERS_FOR)
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
        self.last_success = Some(now);
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
        self.last_success = None;
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
            && !self.answers(now)
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
    fn the_queue_of_an_endpoint_is_short_unless_it_answers() {
        let (now, mut traffic) = (Instant::now(), Traffic::new(20));
        for _ in 0..80 {
            assert_eq!(traffic.enter(1, now, 1000, STALLED), Ok(()));
        }
        assert_eq!(traffic.enter(1, now, 1000, STALLED), Err(Deferred::QueueFull));
        let pass = traffic.start(now);
        traffic.succeeded(now);
        assert_eq!(traffic.enter(1, now, 1000, STALLED), Ok(()));
        let later = now + Traffic::ANSWERS_FOR;
        assert_eq!(traffic.enter(1, later, 1000, STALLED), Err(Deferred::QueueFull));
        traffic.succeeded(later);
        traffic.failed(pass, None, later, (&BreakerSettings::default(), 0.0));
        assert_eq!(traffic.enter(1, later, 1000, STALLED), Err(Deferred::QueueFull));
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
