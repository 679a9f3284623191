//! The schedule of retries.

use std::time::Duration;

/// The delays after failed attempts. After the last one, a delivery is dead.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub delays: Vec<Duration>,
    /// How much longer a delay may become at random, as a part of it. Deliveries that failed together must not return together.
    pub jitter: f64,
}

impl Default for Schedule {
    /// The schedule of the specification: ten attempts within about three days.
    fn default() -> Schedule {
        let hours = [2, 5, 10, 14, 20, 24].map(|hours| hours * 3600);
        let delays = [5, 300, 1800].into_iter().chain(hours).map(Duration::from_secs).collect();
        Schedule { delays, jitter: 0.2 }
    }
}

impl Schedule {
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

    /// Returns the delay after this number of attempts, or None after the last one. An endpoint may ask for up to twice the
    /// delay. `random` is from 0 to 1.
    pub fn delay(&self, attempts: u32, asked: Option<Duration>, random: f64) -> Option<Duration> {
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let delay = *self.delays.get(index)?;
        // The store and the clock must be able to add a delay to the current time.
        let delay = delay.min(Self::LONGEST);
        let clamped = asked.unwrap_or(delay).clamp(delay, delay.saturating_mul(2));
        Some(clamped.mul_f64(1.0 + self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ten_attempts_take_about_three_days() {
        let schedule = Schedule::default();
        let delays: Vec<_> = (1..20).map_while(|attempts| schedule.delay(attempts, None, 0.0)).collect();
        assert_eq!(delays.len(), 9);
        assert_eq!(delays[0], Duration::from_secs(5));
        let days = delays.iter().sum::<Duration>().as_secs_f64() / 86_400.0;
        assert!((3.0..3.5).contains(&days), "{days}");
    }

    #[test]
    fn an_endpoint_may_double_a_delay_but_not_shorten_it() {
        let schedule = Schedule::default();
        let delay = |asked| schedule.delay(2, Some(Duration::from_secs(asked)), 0.0).unwrap().as_secs();
        assert_eq!([delay(0), delay(400), delay(u64::MAX)], [300, 400, 600]);
    }

    proptest! {
        #[test]
        fn a_delay_is_at_least_its_step_and_at_most_doubled_with_jitter(
            attempts in any::<u32>(), asked in prop::option::of(any::<u64>()), random in 0.0..=1.0,
        ) {
            let schedule = Schedule::default();
            let delay = schedule.delay(attempts, asked.map(Duration::from_secs), random);
            let step = schedule.delay(attempts, None, 0.0);
            prop_assert_eq!(delay.is_some(), step.is_some());
            if let (Some(delay), Some(step)) = (delay, step) {
                prop_assert!(delay >= step && delay <= step.mul_f64(2.4) + Duration::from_millis(1));
            }
        }
    }
}
