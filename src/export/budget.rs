//! Spreads read units over time: when the next request may be sent, and how many rows it may read. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::dynamo::MAX_PAGE_UNITS;

/// Half a read unit is the least that a row of up to 4 KB costs if it is read alone.
const FIRST_UNITS_PER_ROW: f64 = 0.5;
/// How much a page counts against the estimate so far.
const WEIGHT: f64 = 0.3;

/// A token bucket without a burst. Each request reserves its expected units when it is sent, and corrects them when its
/// response shows what it has cost.
#[derive(Debug)]
pub(super) struct Budget {
    /// Units per second. Without it nothing is delayed.
    rate: Option<f64>,
    /// When the units reserved so far are earned.
    next: Instant,
    units_per_row: f64,
}

/// The permission to send one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reservation {
    pub(super) at: Instant,
    pub(super) limit: Option<i32>,
    units: f64,
}

impl Budget {
    pub(super) fn new(rate: Option<f64>, now: Instant) -> Budget {
        Budget { rate, next: now, units_per_row: FIRST_UNITS_PER_ROW }
    }

    /// Reserves the units of a page that costs at most about one second of the rate.
    #[expect(clippy::cast_possible_truncation, reason = "the number of rows is clamped")]
    pub(super) fn reserve(&mut self, now: Instant) -> Reservation {
        let Some(rate) = self.rate else { return Reservation { at: now, limit: None, units: 0.0 } };
        let rows = (rate / self.units_per_row).floor().clamp(1.0, 1e6);
        let units = (rows * self.units_per_row).min(MAX_PAGE_UNITS);
        let at = self.next.max(now);
        self.next = at + Duration::from_secs_f64(units / rate);
        Reservation { at, limit: Some(rows as i32), units }
    }

    /// Corrects a reservation by the units that its page of `rows` has cost.
    pub(super) fn settle(&mut self, reservation: Reservation, used: f64, rows: u64) {
        let Some(rate) = self.rate else { return };
        let difference = used - reservation.units;
        let time = Duration::from_secs_f64(difference.abs() / rate);
        self.next = if difference < 0.0 { self.next.checked_sub(time).unwrap_or(self.next) } else { self.next + time };
        if rows > 0 && used > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a page has far fewer rows than 2^52")]
            let seen = used / rows as f64;
            self.units_per_row += WEIGHT * (seen - self.units_per_row);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use proptest::prelude::*;

    use super::*;

    /// Reads pages of rows of this cost by several requests at a time. Returns the units per second.
    fn run(rate: f64, units_per_row: f64, segments: usize, latency: Duration) -> f64 {
        let start = Instant::now();
        let mut budget = Budget::new(Some(rate), start);
        let (mut used, mut end) = (0.0, start);
        let mut free = BinaryHeap::from(vec![Reverse(start); segments]);
        for _ in 0..400 {
            let Reverse(now) = free.pop().unwrap();
            let reservation = budget.reserve(now);
            let rows = u64::try_from(reservation.limit.unwrap()).unwrap();
            // A page ends at 1 MB.
            let units = (rows as f64 * units_per_row).min(MAX_PAGE_UNITS);
            let rows = (units / units_per_row).round() as u64;
            end = reservation.at + latency;
            budget.settle(reservation, units, rows);
            used += units;
            free.push(Reverse(end));
        }
        used / (end - start).as_secs_f64()
    }

    #[test]
    fn the_rate_is_kept_and_used_whatever_a_row_costs() {
        for rate in [5.0, 100.0, 5_000.0] {
            for units_per_row in [0.02, 0.08, 0.5, 3.0] {
                let measured = run(rate, units_per_row, 8, Duration::from_millis(5));
                assert!((0.85 * rate..1.05 * rate).contains(&measured), "{rate} {units_per_row}: {measured}");
            }
        }
    }

    #[test]
    fn without_a_rate_nothing_is_delayed_or_limited() {
        let now = Instant::now();
        let mut budget = Budget::new(None, now);
        for _ in 0..3 {
            let reservation = budget.reserve(now);
            assert_eq!((reservation.at, reservation.limit), (now, None));
            budget.settle(reservation, 128.0, 1_000);
        }
    }

    #[test]
    fn idle_time_earns_no_burst() {
        let start = Instant::now();
        let mut budget = Budget::new(Some(10.0), start);
        let later = start + Duration::from_secs(3600);
        let first = budget.reserve(later);
        let second = budget.reserve(later);
        assert_eq!(first.at, later);
        assert_eq!(second.at, later + Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn a_later_request_is_never_sent_before_an_earlier_one_if_estimates_hold(
            rate in 1.0..10_000.0_f64, waits in proptest::collection::vec(0..5_000_u64, 1..50),
        ) {
            let mut now = Instant::now();
            let mut budget = Budget::new(Some(rate), now);
            let mut last = now;
            for wait in waits {
                now += Duration::from_millis(wait);
                let reservation = budget.reserve(now);
                prop_assert!(reservation.at >= last && reservation.at >= now);
                budget.settle(reservation, reservation.units, 0);
                last = reservation.at;
            }
        }
    }
}
