//! The circuit breaker of an endpoint.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Debug)]
pub struct BreakerSettings {
    /// This many failures without a success between them open the circuit.
    pub failures: u32,
    /// How long the circuit stays open at first. Each failed probe doubles the time.
    pub first_open: Duration,
    pub max_open: Duration,
}

impl Default for BreakerSettings {
    fn default() -> BreakerSettings {
        BreakerSettings { failures: 5, first_open: Duration::from_secs(5), max_open: Duration::from_secs(300) }
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Whether an attempt may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Normal,
    /// The only attempt until it has a result.
    Probe,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, openings: u32 },
    HalfOpen { openings: u32 },
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened,
    Recovered,
    None,
}

#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    state: State,
}

impl CircuitBreaker {
    pub(crate) fn new() -> CircuitBreaker {
        CircuitBreaker { state: State::Closed { failures: 0 } }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether the breaker knows nothing that a new one does not know.
    pub(crate) fn is_new(&self) -> bool {
        self.state == State::Closed { failures: 0 }
    }

    /// Whether an attempt would start, without starting it.
    pub(crate) fn would_pass(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, .. } => now >= until,
            State::HalfOpen { .. } => false,
        }
    }

    /// Starts an attempt, if it may. A probe must end by a result or by [`CircuitBreaker::cancelled`].
    pub(crate) fn pass(&mut self, now: Instant) -> Pass {
        match self.state {
            State::Closed { .. } => Pass::Normal,
            State::Open { until, openings } if now >= until => {
                self.state = State::HalfOpen { openings };
                Pass::Probe
            }
            State::Open { .. } | State::HalfOpen { .. } => Pass::Refused,
        }
    }

    /// A success closes the circuit, also that of an attempt that started before it opened.
    pub(crate) fn succeeded(&mut self) -> Change {
        let change = if self.is_closed() { Change::None } else { Change::Recovered };
        self.state = State::Closed { failures: 0 };
        change
    }

    pub(crate) fn failed(&mut self, pass: Pass, now: Instant, settings: &BreakerSettings, random: f64) -> Change {
        match (self.state, pass) {
            (State::Closed { failures }, _) if failures + 1 < settings.failures => {
                self.state = State::Closed { failures: failures + 1 };
                Change::None
            }
            (State::Closed { .. }, _) => {
                self.open(0, now, settings, random);
                Change::Opened
            }
            (State::HalfOpen { openings }, Pass::Probe) => {
                self.open(openings.saturating_add(1), now, settings, random);
                Change::None
            }
            // An attempt from before the circuit opened adds nothing new.
            (State::HalfOpen { .. } | State::Open { .. }, _) => Change::None,
        }
    }

    fn open(&mut self, openings: u32, now: Instant, settings: &BreakerSettings, random: f64) {
        let doubled = settings.first_open.saturating_mul(1 << openings.min(20)).min(settings.max_open);
        let until = now + doubled.mul_f64(1.0 + 0.2 * random.clamp(0.0, 1.0));
        self.state = State::Open { until, openings };
    }

    /// The endpoint asked for a pause. It is clamped: a pause of zero would open and close the circuit at the rate of requests.
    pub(crate) fn pause(&mut self, asked: Duration, now: Instant, settings: &BreakerSettings) -> Change {
        let change = if self.is_closed() { Change::Opened } else { Change::None };
        let openings = match self.state {
            State::Closed { .. } => 0,
            State::Open { openings, .. } | State::HalfOpen { openings } => openings,
        };
        self.state = State::Open { until: now + asked.max(SHORTEST_PAUSE).min(settings.max_open), openings };
        change
    }

    /// An attempt ended without a result, e.g. because its lease was lost. Another attempt may probe at once.
    pub(crate) fn cancelled(&mut self, pass: Pass, now: Instant) {
        if let (State::HalfOpen { openings }, Pass::Probe) = (self.state, pass) {
            self.state = State::Open { until: now, openings };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> BreakerSettings {
        BreakerSettings::default()
    }

    fn opened(now: Instant) -> CircuitBreaker {
        let mut breaker = CircuitBreaker::new();
        let changes: Vec<_> = (0..5).map(|_| breaker.failed(Pass::Normal, now, &settings(), 0.0)).collect();
        assert_eq!(changes, [Change::None, Change::None, Change::None, Change::None, Change::Opened]);
        breaker
    }

    #[test]
    fn five_failures_open_the_circuit_and_one_probe_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.pass(now + Duration::from_millis(4999)), Pass::Refused);
        assert_eq!(breaker.pass(now + Duration::from_secs(5)), Pass::Probe);
        assert_eq!(breaker.pass(now + Duration::from_secs(5)), Pass::Refused);
        assert_eq!(breaker.succeeded(), Change::Recovered);
        assert_eq!(breaker.pass(now), Pass::Normal);
    }

    #[test]
    fn a_success_between_failures_keeps_the_circuit_closed() {
        let (now, mut breaker) = (Instant::now(), CircuitBreaker::new());
        for _ in 0..100 {
            for _ in 0..4 {
                assert_eq!(breaker.failed(Pass::Normal, now, &settings(), 0.0), Change::None);
            }
            assert_eq!(breaker.succeeded(), Change::None);
        }
    }

    #[test]
    fn each_failed_probe_doubles_the_time_up_to_a_limit() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let start = now;
            while breaker.pass(now) == Pass::Refused {
                now += Duration::from_secs(1);
            }
            waits.push((now - start).as_secs());
            breaker.failed(Pass::Probe, now, &settings(), 0.0);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_cancelled_probe_lets_another_one_pass() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + Duration::from_secs(5);
        assert_eq!(breaker.pass(later), Pass::Probe);
        breaker.cancelled(Pass::Normal, later);
        assert_eq!(breaker.pass(later), Pass::Refused);
        breaker.cancelled(Pass::Probe, later);
        assert_eq!(breaker.pass(later), Pass::Probe);
    }

    #[test]
    fn a_late_failure_from_before_does_not_end_the_probe() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + Duration::from_secs(5);
        assert_eq!(breaker.pass(later), Pass::Probe);
        assert_eq!(breaker.failed(Pass::Normal, later, &settings(), 0.0), Change::None);
        assert_eq!(breaker.pass(later), Pass::Refused);
        assert_eq!(breaker.succeeded(), Change::Recovered);
    }

    #[test]
    fn a_pause_that_the_endpoint_asks_for_is_clamped() {
        let (now, mut breaker) = (Instant::now(), CircuitBreaker::new());
        assert_eq!(breaker.pause(Duration::from_secs(u64::MAX), now, &settings()), Change::Opened);
        assert!(!breaker.would_pass(now + Duration::from_secs(299)));
        assert!(breaker.would_pass(now + Duration::from_secs(300)));
        assert_eq!(breaker.pause(Duration::ZERO, now, &settings()), Change::None);
        assert!(!breaker.would_pass(now + Duration::from_millis(999)));
        assert!(breaker.would_pass(now + Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn at_most_one_probe_runs_and_the_circuit_is_never_refused_for_ever(
            steps in prop::collection::vec((0..5u8, 0..40u64, 0.0..1.0), 1..80),
        ) {
            let (mut now, mut breaker) = (Instant::now(), CircuitBreaker::new());
            let mut probe = None;
            for (step, seconds, random) in steps {
                now += Duration::from_secs(seconds);
                match step {
                    0 => match breaker.pass(now) {
                        Pass::Probe => { prop_assert!(probe.is_none()); probe = Some(Pass::Probe); }
                        Pass::Normal => prop_assert!(breaker.is_closed()),
                        Pass::Refused => {}
                    },
                    1 => { breaker.succeeded(); probe = None; }
                    2 => { breaker.failed(probe.take().unwrap_or(Pass::Normal), now, &settings(), random); }
                    3 => breaker.cancelled(probe.take().unwrap_or(Pass::Normal), now),
                    _ => { breaker.pause(Duration::from_secs(seconds * 20), now, &settings()); probe = None; }
                }
            }
            if probe.is_none() {
                prop_assert!(breaker.would_pass(now + Duration::from_secs(360)));
            }
        }
    }
}
