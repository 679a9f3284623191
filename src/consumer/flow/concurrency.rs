//! Finds the number of writes in flight that the throughput needs. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Throughput is measured over at least this time, and over at least one answer per permit.
const WINDOW: Duration = Duration::from_millis(50);
/// The minimum gain of an upward trial. With less, they wait in the store's queue or for a core of this machine.
const MIN_GAIN: f64 = 1.2;
/// A gain that cannot be chance, so that one measurement is enough.
const CLEAR_GAIN: f64 = 1.6;
/// The share of the throughput that half as many writes must keep. It is closer to 1 than the gain, so that chance does not
/// raise the number.
const MIN_KEPT: f64 = 0.95;
/// Throughput that grows faster than this from window to window grows by itself, e.g. after the start. Then no trial begins.
const STEADY: f64 = 1.05;
/// The time between a failed trial and the next one.
const PAUSE: Duration = Duration::from_secs(10);

/// Raises the number while that raises throughput, and halves it while that does not lower throughput. A fast store needs
/// few writes on few connections; a slow or distant one needs many.
#[derive(Debug)]
pub(super) struct Concurrency {
    min: usize,
    max: usize,
    current: usize,
    window: Option<Window>,
    /// The throughput in the previous window, per second.
    rate: Option<f64>,
    trial: Option<Trial>,
    next: Direction,
    /// Until the first upward trial fails. Until then such trials double the number. Later ones add half, because the connections
    /// of a trial stay open until the next one.
    is_climbing: bool,
    not_before: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    /// The total number of answers at its start.
    answers: u64,
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    direction: Direction,
    /// The number before the trial.
    before: usize,
    /// The throughput before the trial.
    rate: f64,
    /// Windows since its start. The first contains older writes. The others decide; there are several, so that chance rarely
    /// does.
    windows: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Concurrency {
    pub(super) fn new(min: usize, max: usize) -> Concurrency {
        let current = min.min(max);
        Concurrency {
            min: current,
            max,
            current,
            window: None,
            rate: None,
            trial: None,
            next: Direction::Up,
            is_climbing: true,
            not_before: None,
        }
    }

    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// Records the total number of answers. `is_exhausted`: no permit is free; otherwise more permits would change nothing.
    pub(super) fn answered(&mut self, answers: u64, is_exhausted: bool, now: Instant) {
        if !is_exhausted {
            self.abort_trial(now);
            return;
        }
        let Some(Window { began, answers: before }) = self.window else {
            self.window = Some(Window { began: now, answers });
            return;
        };
        let (lasted, counted) = (now.duration_since(began), answers.saturating_sub(before));
        if lasted < WINDOW || counted < self.current as u64 {
            return;
        }
        self.window = Some(Window { began: now, answers });
        let rate = counted as f64 / lasted.as_secs_f64();
        match self.trial.take() {
            Some(trial) => self.classify(trial, rate, now),
            None if self.not_before.is_none_or(|time| time <= now) => {
                if let Some(before) = self.rate.filter(|before| rate <= STEADY * before) {
                    self.begin_trial(rate.max(before), now);
                }
            }
            None => {}
        }
        self.rate = Some(rate);
    }

    /// Ends a trial without a result, because the table throttles or has too little to do. Restores the number before it.
    pub(super) fn abort_trial(&mut self, now: Instant) {
        self.window = None;
        self.rate = None;
        if let Some(trial) = self.trial.take() {
            self.current = trial.before;
            self.not_before = Some(now + PAUSE);
        }
    }

    fn begin_trial(&mut self, rate: f64, now: Instant) {
        let direction = self.next;
        let to = match direction {
            Direction::Up if self.is_climbing => (self.current * 2).min(self.max),
            Direction::Up => (self.current + (self.current / 2).max(1)).min(self.max),
            Direction::Down => (self.current / 2).max(self.min),
        };
        if to == self.current {
            self.reverse(now);
        } else {
            self.trial = Some(Trial { direction, before: self.current, rate, windows: 0 });
            self.current = to;
        }
    }

    fn classify(&mut self, mut trial: Trial, rate: f64, now: Instant) {
        trial.windows += 1;
        let required = match trial.direction {
            Direction::Up => MIN_GAIN,
            Direction::Down => MIN_KEPT,
        };
        let is_clear = trial.direction == Direction::Up && rate >= CLEAR_GAIN * trial.rate;
        match trial.windows {
            1 => self.trial = Some(trial),
            _ if rate < required * trial.rate => {
                self.current = trial.before;
                self.is_climbing &= trial.direction == Direction::Down;
                self.reverse(now);
            }
            2 | 3 if !is_clear => self.trial = Some(trial),
            _ => self.begin_trial(rate, now),
        }
    }

    fn reverse(&mut self, now: Instant) {
        self.next = match self.next {
            Direction::Up => Direction::Down,
            Direction::Down => Direction::Up,
        };
        self.not_before = Some(now + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A store that answers each write after its latency, up to its maximum throughput.
    struct Store {
        latency: Duration,
        max_per_second: f64,
    }

    impl Store {
        fn rate(&self, in_flight: usize) -> f64 {
            (in_flight as f64 / self.latency.as_secs_f64()).min(self.max_per_second)
        }
    }

    struct Run {
        concurrency: Concurrency,
        now: Instant,
        answers: f64,
    }

    impl Run {
        fn begin() -> Run {
            Run { concurrency: Concurrency::new(64, 2048), now: Instant::now(), answers: 0.0 }
        }

        /// Writes for this time. Returns the number of permits after each millisecond.
        fn write_to(&mut self, store: &Store, time: Duration) -> Vec<usize> {
            let step = Duration::from_millis(1);
            let end = self.now + time;
            let mut seen = Vec::new();
            while self.now < end {
                self.now += step;
                self.answers += store.rate(self.concurrency.current()) * step.as_secs_f64();
                self.concurrency.answered(self.answers as u64, true, self.now);
                seen.push(self.concurrency.current());
            }
            seen
        }

        /// Ends a window for each number of answers. Returns the number of permits after each of them.
        fn windows<const N: usize>(&mut self, answers: [u32; N]) -> [usize; N] {
            answers.map(|answers| {
                self.now += WINDOW;
                self.answers += f64::from(answers);
                self.concurrency.answered(self.answers as u64, true, self.now);
                self.concurrency.current()
            })
        }
    }

    fn slow(milliseconds: u64, max_per_second: f64) -> Store {
        Store { latency: Duration::from_millis(milliseconds), max_per_second }
    }

    #[test]
    fn a_slow_store_gets_the_maximum_within_a_second() {
        let seen = Run::begin().write_to(&slow(50, 1e6), Duration::from_secs(1));
        assert_eq!(seen.last(), Some(&2048));
    }

    #[test]
    fn a_fast_store_gets_no_more_than_it_needs() {
        let seen = Run::begin().write_to(&slow(1, 20_000.0), Duration::from_secs(60));
        let above = seen.iter().filter(|in_flight| **in_flight > 64).count();
        assert_eq!(seen.last(), Some(&64));
        assert!(above * 50 < seen.len(), "{above} of {} milliseconds", seen.len());
    }

    #[test]
    fn the_number_falls_again_when_a_slow_store_becomes_fast() {
        let mut run = Run::begin();
        run.write_to(&slow(100, 15_000.0), Duration::from_secs(60));
        assert!(run.concurrency.current() >= 1024);
        run.write_to(&slow(2, 15_000.0), Duration::from_secs(60));
        assert_eq!(run.concurrency.current(), 64);
    }

    #[test]
    fn no_trial_begins_while_throughput_grows_by_itself() {
        let mut run = Run::begin();
        for number in 1..=10 {
            let seen = run.write_to(&slow(1, 1000.0 * 1.2f64.powi(number)), WINDOW);
            assert_eq!(seen.last(), Some(&64));
        }
    }

    #[test]
    fn an_aborted_trial_restores_the_number_before_it() {
        let mut run = Run::begin();
        run.write_to(&slow(50, 1e6), Duration::from_millis(110));
        assert_eq!(run.concurrency.current(), 128);
        run.concurrency.answered(run.answers as u64, false, run.now);
        assert_eq!(run.concurrency.current(), 64);
        let seen = run.write_to(&slow(50, 1e6), PAUSE - Duration::from_millis(1));
        assert!(seen.iter().all(|in_flight| *in_flight == 64));
    }

    #[test]
    fn trials_after_the_first_failed_one_add_half() {
        let mut run = Run::begin();
        run.write_to(&slow(10, 25_000.0), Duration::from_secs(2));
        assert_eq!(run.concurrency.current(), 256);
        let seen = run.write_to(&slow(10, 25_000.0), Duration::from_secs(120));
        assert_eq!(seen.iter().max(), Some(&384));
        assert_eq!(seen.last(), Some(&256));
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            (min, max) in (1usize..100).prop_flat_map(|min| (Just(min), 1usize..2000)),
            samples in proptest::collection::vec((0u64..3000, any::<bool>(), 0u64..200), 0..300),
        ) {
            let mut concurrency = Concurrency::new(min, max);
            let (mut now, mut answers) = (Instant::now(), 0);
            for (more, is_exhausted, pause) in samples {
                now += Duration::from_millis(pause);
                answers += more;
                concurrency.answered(answers, is_exhausted, now);
                prop_assert!((min.min(max)..=max).contains(&concurrency.current()));
            }
        }
    }

    #[test]
    fn a_clear_gain_is_accepted_in_the_second_window() {
        assert_eq!(Run::begin().windows([0, 1000, 1000, 1700, 1700]), [64, 64, 128, 128, 256]);
    }

    #[test]
    fn a_small_gain_is_accepted_in_the_fourth_window() {
        let seen = Run::begin().windows([0, 1000, 1000, 1300, 1300, 1300, 1300]);
        assert_eq!(seen, [64, 64, 128, 128, 128, 128, 256]);
    }

    #[test]
    fn a_trial_fails_in_any_window_but_its_first() {
        assert_eq!(Run::begin().windows([0, 1000, 1000, 500, 1100]), [64, 64, 128, 128, 64]);
        assert_eq!(Run::begin().windows([0, 1000, 1000, 500, 1300, 1100]), [64, 64, 128, 128, 128, 64]);
    }

    #[test]
    fn a_trial_begins_while_throughput_grows_by_less_than_5_percent() {
        assert_eq!(Run::begin().windows([0, 1000, 1040]), [64, 64, 128]);
    }

    #[test]
    fn a_window_stays_open_until_it_has_one_answer_per_permit() {
        assert_eq!(Run::begin().windows([0, 1000, 63, 1]), [64, 64, 64, 128]);
    }

    #[test]
    fn a_downward_trial_halves_the_number() {
        let mut run = Run::begin();
        let seen = run.windows([0, 1000, 1000, 1700, 1700, 3000, 3000, 3000, 3000]);
        assert_eq!(seen, [64, 64, 128, 128, 256, 256, 512, 512, 256]);
        // The trial after a failed one comes after a pause and goes down. It needs 95 % of the throughput.
        let seen = (0..1000).map(|_| run.windows([3000])).find(|seen| *seen != [256]);
        assert_eq!(seen, Some([128]));
        assert_eq!(run.windows([2000, 2900, 2900, 2900]), [128, 128, 128, 64]);
    }
}
