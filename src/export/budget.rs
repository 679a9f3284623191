//! Spreads read units over time: when the next request may be sent, and how many rows it may read. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::dynamo::MAX_PAGE_UNITS;

/// Half a read unit is the least that a row of up to 4 KB costs if it is read alone.
const FIRST_UNITS_PER_ROW: f64 = 0.5;
/// How much a page counts against the estimate so far.
const WEIGHT: f64 = 0.3;
/// The most that requests can catch up if they waited for units that others reserved and did not use.
const MAX_CATCH_UP: Duration = Duration::from_secs(1);

/// A token bucket without a burst. Each request reserves its expected units when it is sent, and corrects them when its
/// response shows what it has cost. Until the first page has shown the cost of a row, there is one request at a time.
#[derive(Debug)]
pub(super) struct Budget {
    /// Units per second. Without it nothing is delayed.
    rate: Option<f64>,
    /// When the units reserved so far are earned.
    next: Instant,
    /// `None` until a page has shown it.
    units_per_row: Option<f64>,
    /// A request whose page will show what a row costs.
    has_probe: bool,
}

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Decision {
    Send(Reservation),
    /// Not before this time, and earlier only if a reservation is settled.
    WaitUntil(Instant),
    /// Until a reservation is settled.
    WaitForPage,
}

/// The permission to send one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reservation {
    pub(super) limit: Option<i32>,
    units: f64,
}

impl Budget {
    pub(super) fn new(rate: Option<f64>, now: Instant) -> Budget {
        Budget { rate, next: now, units_per_row: None, has_probe: false }
    }

    /// Reserves the units of a page that costs at most about one second of the rate, for a request that has waited since
    /// `since`.
    #[expect(clippy::cast_possible_truncation, reason = "the number of rows is clamped")]
    pub(super) fn reserve(&mut self, since: Instant, now: Instant) -> Decision {
        let Some(rate) = self.rate else { return Decision::Send(Reservation { limit: None, units: 0.0 }) };
        if self.units_per_row.is_none() && self.has_probe {
            return Decision::WaitForPage;
        }
        if self.next > now {
            return Decision::WaitUntil(self.next);
        }
        let units_per_row = self.units_per_row.unwrap_or(FIRST_UNITS_PER_ROW);
        let rows = (rate / units_per_row).floor().clamp(1.0, 1e6);
        let units = (rows * units_per_row).min(MAX_PAGE_UNITS);
        // While a request waits, the rate is not idle.
        let earliest = now.checked_sub(MAX_CATCH_UP).map_or(since, |earliest| earliest.max(since));
        self.next = self.next.max(earliest) + Duration::from_secs_f64(units / rate);
        self.has_probe = true;
        Decision::Send(Reservation { limit: Some(rows as i32), units })
    }

    /// Corrects a reservation by the units that its page of `rows` has cost.
    pub(super) fn settle(&mut self, reservation: Reservation, used: f64, rows: u64) {
        let Some(rate) = self.rate else { return };
        self.has_probe = false;
        let difference = used - reservation.units;
        let time = Duration::from_secs_f64(difference.abs() / rate);
        self.next = if difference < 0.0 { self.next.checked_sub(time).unwrap_or(self.next) } else { self.next + time };
        if rows > 0 && used > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a page has far fewer rows than 2^52")]
            let seen = used / rows as f64;
            self.units_per_row = Some(self.units_per_row.map_or(seen, |known| known + WEIGHT * (seen - known)));
        }
    }

    /// Keeps the units of a reservation whose request may have been executed.
    pub(super) fn keep(&mut self, reservation: Reservation) {
        self.settle(reservation, reservation.units, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const LATENCY: Duration = Duration::from_millis(40);

    /// Segments without an end that share a budget, on a simulated clock.
    struct Simulation {
        budget: Budget,
        rate: f64,
        start: Instant,
        now: Instant,
        /// When each segment has begun to wait.
        waiting: VecDeque<Instant>,
        /// When each response comes, with its rows and units.
        in_flight: VecDeque<(Instant, Reservation, u64, f64)>,
        used: f64,
        /// The rows of the longest page.
        max_rows: u64,
    }

    impl Simulation {
        fn new(rate: f64, segments: usize) -> Simulation {
            let start = Instant::now();
            let budget = Budget::new(Some(rate), start);
            let (waiting, in_flight) = (vec![start; segments].into(), VecDeque::new());
            Simulation { budget, rate, start, now: start, waiting, in_flight, used: 0.0, max_rows: u64::MAX }
        }

        /// Reads for this time. `cost` returns the units of a row of the next page. Checks the limit after each request.
        fn run(&mut self, time: Duration, mut cost: impl FnMut() -> f64) {
            while self.now < self.start + time {
                let mut event = self.start + time;
                while let Some(since) = self.waiting.front() {
                    match self.budget.reserve(*since, self.now) {
                        Decision::Send(reservation) => self.send(reservation, cost()),
                        Decision::WaitUntil(at) => {
                            event = event.min(at);
                            break;
                        }
                        Decision::WaitForPage => break,
                    }
                }
                event = self.in_flight.front().map_or(event, |(at, ..)| event.min(*at));
                self.now = event;
                while let Some((_, reservation, rows, units)) = self.in_flight.pop_front_if(|(at, ..)| *at <= event) {
                    self.budget.settle(reservation, units, rows);
                    self.waiting.push_back(event);
                }
            }
        }

        fn send(&mut self, reservation: Reservation, units_per_row: f64) {
            // A page ends at 1 MB.
            let units = (f64::from(reservation.limit.unwrap()) * units_per_row).min(MAX_PAGE_UNITS);
            let rows = ((units / units_per_row).round() as u64).clamp(1, self.max_rows);
            let units = units.min(rows as f64 * units_per_row);
            self.waiting.pop_front();
            self.in_flight.push_back((self.now + LATENCY, reservation, rows, units));
            self.used += units;
            // What was in flight when units were reserved may cost more than was expected, but never more than a full page.
            let in_flight = self.in_flight.len() as f64 * MAX_PAGE_UNITS.max(units);
            let allowed = self.rate * (self.now - self.start).as_secs_f64() + in_flight;
            assert!(self.used <= allowed * 1.000_001, "{} of {allowed}", self.used);
        }

        fn rate(&self) -> f64 {
            self.used / (self.now - self.start).as_secs_f64()
        }
    }

    #[test]
    fn the_rate_is_kept_and_used_whatever_a_row_costs_with_few_and_many_segments() {
        for rate in [5.0, 100.0, 300.0, 5_000.0] {
            for units_per_row in [0.02, 0.07, 0.5, 3.0] {
                for segments in [2, 8, 256] {
                    let mut simulation = Simulation::new(rate, segments);
                    simulation.run(Duration::from_secs(20), || units_per_row);
                    // The units of a page are earned after it is sent.
                    let (measured, page) = (simulation.rate(), rate.min(MAX_PAGE_UNITS).max(units_per_row));
                    let highest = rate + page / 20.0 + 0.001 * rate;
                    assert!(
                        (0.95 * rate..=highest).contains(&measured),
                        "{rate} {units_per_row} {segments}: {measured}"
                    );
                }
            }
        }
    }

    #[test]
    fn pages_that_end_before_their_limit_do_not_lower_the_rate() {
        let mut simulation = Simulation::new(300.0, 256);
        simulation.max_rows = 100;
        simulation.run(Duration::from_secs(20), || 0.07);
        let measured = simulation.rate();
        assert!((280.0..=307.0).contains(&measured), "{measured}");
    }

    #[test]
    fn one_request_shows_the_cost_of_a_row_before_others_reserve() {
        let start = Instant::now();
        let mut budget = Budget::new(Some(100.0), start);
        let Decision::Send(first) = budget.reserve(start, start) else { panic!("the first is sent") };
        assert_eq!(budget.reserve(start, start + Duration::from_secs(9)), Decision::WaitForPage);
        // The response was lost, so the next request shows it.
        budget.keep(first);
        assert_eq!(budget.reserve(start, start), Decision::WaitUntil(start + Duration::from_secs(1)));
        let later = start + Duration::from_secs(1);
        let Decision::Send(second) = budget.reserve(start, later) else { panic!("the second is sent") };
        budget.settle(second, 10.0, 200);
        let then = later + Duration::from_millis(100);
        assert_eq!(budget.reserve(start, later), Decision::WaitUntil(then));
        assert!(matches!(budget.reserve(start, then), Decision::Send(third) if third.limit == Some(2_000)));
    }

    #[test]
    fn units_that_others_did_not_use_are_caught_up_for_at_most_a_second() {
        let start = Instant::now();
        let mut budget = Budget::new(Some(100.0), start);
        let Decision::Send(first) = budget.reserve(start, start) else { panic!("the first is sent") };
        budget.settle(first, 100.0, 100);
        let at = |seconds| start + Duration::from_secs(seconds);
        let Decision::Send(slow) = budget.reserve(start, at(1)) else { panic!("the second is sent") };
        budget.settle(slow, 0.0, 0);
        for _ in 0..2 {
            assert!(matches!(budget.reserve(start, at(60)), Decision::Send(_)));
        }
        assert_eq!(budget.reserve(start, at(60)), Decision::WaitUntil(at(61)));
    }

    #[test]
    fn without_a_rate_nothing_is_delayed_or_limited() {
        let now = Instant::now();
        let mut budget = Budget::new(None, now);
        for _ in 0..3 {
            let Decision::Send(reservation) = budget.reserve(now, now) else { panic!("it is sent") };
            assert_eq!(reservation.limit, None);
            budget.settle(reservation, 128.0, 1_000);
        }
    }

    #[test]
    fn idle_time_earns_no_burst() {
        let start = Instant::now();
        let mut budget = Budget::new(Some(10.0), start);
        let later = start + Duration::from_secs(3600);
        let Decision::Send(first) = budget.reserve(later, later) else { panic!("it is sent") };
        budget.keep(first);
        assert_eq!(budget.reserve(later, later), Decision::WaitUntil(later + Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn the_rate_is_an_upper_bound_whatever_the_pages_cost(
            rate in 1.0..10_000.0_f64, segments in 1..300_usize, costs in proptest::collection::vec(0.01..50.0_f64, 1..50),
        ) {
            let mut costs = costs.into_iter().cycle();
            Simulation::new(rate, segments).run(Duration::from_secs(20), || costs.next().unwrap());
        }
    }
}
