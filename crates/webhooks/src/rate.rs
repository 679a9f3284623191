//! The rate of an endpoint, and the slow start of its backlog after it recovered.

use std::time::Duration;

use tokio::time::Instant;

/// Starts at most this many attempts per second, in bursts of at most one second.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// When the attempts so far would have ended at exactly the rate.
    used_until: Option<Instant>,
}

impl RateLimit {
    const BURST: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> RateLimit {
        RateLimit { used_until: None }
    }

    /// Returns the earliest time of the next attempt.
    pub(crate) fn next(&self, now: Instant, per_second: Option<f64>) -> Instant {
        match (self.used_until, per_second) {
            (Some(until), Some(per_second)) => {
                // One attempt must always be possible, also if the rate is below one per burst.
                let burst = Self::BURST.max(interval(per_second)) - interval(per_second);
                now.max(until.checked_sub(burst).unwrap_or(now))
            }
            _ => now,
        }
    }

    /// Counts an attempt that starts at this time.
    pub(crate) fn take(&mut self, at: Instant, per_second: Option<f64>) {
        if let Some(per_second) = per_second {
            self.used_until = Some(self.used_until.map_or(at, |until| until.max(at)) + interval(per_second));
        }
    }

    pub(crate) fn is_unused(&self, now: Instant) -> bool {
        self.used_until.is_none_or(|until| until <= now)
    }
}

fn interval(per_second: f64) -> Duration {
    const LONGEST: f64 = 3600.0;
    // This is also the interval of a rate that is no positive number.
    let seconds = if per_second > 0.0 { (1.0 / per_second).min(LONGEST) } else { LONGEST };
    Duration::from_secs_f64(seconds)
}

/// The rate of a backlog. It is unlimited until the endpoint recovers from an open circuit. Then it starts at one attempt
/// per second, and doubles with time, so that the backlog does not break the endpoint again.
#[derive(Debug)]
pub(crate) struct Ramp {
    limited: Option<Limited>,
}

#[derive(Debug)]
struct Limited {
    per_second: f64,
    doubled: Instant,
    rate: RateLimit,
}

impl Ramp {
    const FIRST: f64 = 1.0;
    const LAST: f64 = 1000.0;
    const DOUBLES_AFTER: Duration = Duration::from_secs(2);

    pub(crate) fn new() -> Ramp {
        Ramp { limited: None }
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        self.limited.is_none()
    }

    pub(crate) fn restart(&mut self, now: Instant) {
        self.limited = Some(Limited { per_second: Self::FIRST, doubled: now, rate: RateLimit::new() });
    }

    pub(crate) fn next(&self, now: Instant) -> Instant {
        self.limited.as_ref().map_or(now, |limited| {
            // Without bursts: one attempt per interval.
            limited.rate.used_until.map_or(now, |until| until.max(now))
        })
    }

    pub(crate) fn take(&mut self, at: Instant) {
        if let Some(limited) = &mut self.limited {
            limited.rate.take(at, Some(limited.per_second));
        }
    }

    /// Doubles the rate for each time without a failure.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        let Some(limited) = &mut self.limited else { return };
        while limited.doubled + Self::DOUBLES_AFTER <= now && limited.per_second < Self::LAST {
            limited.per_second *= 2.0;
            limited.doubled += Self::DOUBLES_AFTER;
        }
        if limited.per_second >= Self::LAST {
            self.limited = None;
        }
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        if let Some(limited) = &mut self.limited {
            limited.per_second = (limited.per_second / 2.0).max(Self::FIRST);
            limited.doubled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_backlog_starts_slowly_and_doubles() {
        let start = Instant::now();
        let mut ramp = Ramp::new();
        assert_eq!(ramp.next(start), start);
        ramp.restart(start);
        let (mut now, mut per_second) = (start, vec![0; 40]);
        while !ramp.is_unlimited() {
            now = ramp.next(now);
            per_second[(now - start).as_secs() as usize] += 1;
            ramp.take(now);
            ramp.succeeded(now);
        }
        assert!(per_second[..2].iter().sum::<i32>() <= 3, "{per_second:?}");
        for second in (4..16).step_by(2) {
            assert!(per_second[second] <= 2 * per_second[second - 2] + 2, "{per_second:?}");
        }
        assert!((16..30).contains(&(now - start).as_secs()), "{per_second:?}");
    }

    #[test]
    fn a_failure_halves_the_rate_of_the_backlog() {
        let mut ramp = Ramp::new();
        let now = Instant::now();
        ramp.restart(now);
        let later = now + Duration::from_secs(6);
        ramp.succeeded(later);
        assert_eq!(ramp.limited.as_ref().unwrap().per_second, 8.0);
        ramp.failed(later);
        assert_eq!(ramp.limited.as_ref().unwrap().per_second, 4.0);
        for _ in 0..10 {
            ramp.failed(later);
        }
        assert_eq!(ramp.limited.as_ref().unwrap().per_second, 1.0);
    }

    #[test]
    fn without_a_rate_attempts_start_at_once() {
        let (now, mut rate) = (Instant::now(), RateLimit::new());
        for _ in 0..1000 {
            assert_eq!(rate.next(now, None), now);
            rate.take(now, None);
        }
    }

    #[test]
    fn a_rate_that_is_no_positive_number_allows_almost_nothing() {
        for per_second in [0.0, -1.0, f64::NAN, f64::MIN_POSITIVE] {
            let (now, mut rate) = (Instant::now(), RateLimit::new());
            rate.take(now, Some(per_second));
            assert_eq!(rate.next(now, Some(per_second)), now + Duration::from_secs(3600), "{per_second}");
        }
    }

    proptest! {
        #[test]
        fn attempts_keep_the_rate_with_a_burst_of_one_second(
            per_second in 0.1..200.0f64, pauses in prop::collection::vec(0..2000u64, 1..300),
        ) {
            let start = Instant::now();
            let (mut now, mut rate, mut starts) = (start, RateLimit::new(), Vec::new());
            for pause in pauses {
                now = rate.next(now + Duration::from_millis(pause / 20), Some(per_second));
                rate.take(now, Some(per_second));
                starts.push((now - start).as_secs_f64());
            }
            for (index, first) in starts.iter().enumerate() {
                let count = starts[index..].iter().take_while(|at| **at <= first + 10.0).count();
                prop_assert!(count as f64 <= per_second * 11.0 + 2.0, "{} in 10 s at {} per second", count, per_second);
            }
        }
    }
}
