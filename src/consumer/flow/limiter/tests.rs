//! The limit as answers, throttled writes and timeouts change it.

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
    limiter: Limiter,
    now: Instant,
    answers: f64,
}

impl Run {
    fn begin() -> Run {
        Run { limiter: Limiter::new(2, 64, 2048), now: Instant::now(), answers: 0.0 }
    }

    /// Writes for this time. Returns the limit after each millisecond.
    fn write_to(&mut self, store: &Store, time: Duration) -> Vec<usize> {
        let step = Duration::from_millis(1);
        let end = self.now + time;
        let mut seen = Vec::new();
        while self.now < end {
            self.now += step;
            self.answers += store.rate(self.limiter.limit()) * step.as_secs_f64();
            self.limiter.answered(self.answers as u64, true, self.now);
            seen.push(self.limiter.limit());
        }
        seen
    }

    /// Ends a window for each number of answers. Returns the limit after each of them.
    fn windows<const N: usize>(&mut self, answers: [u32; N]) -> [usize; N] {
        answers.map(|answers| {
            self.now += WINDOW;
            self.answers += f64::from(answers);
            self.limiter.answered(self.answers as u64, true, self.now);
            self.limiter.limit()
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
    assert!(run.limiter.limit() >= 1024);
    run.write_to(&slow(2, 15_000.0), Duration::from_secs(60));
    assert_eq!(run.limiter.limit(), 64);
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
fn a_trial_ends_when_a_permit_is_free() {
    let mut run = Run::begin();
    run.write_to(&slow(50, 1e6), Duration::from_millis(110));
    assert_eq!(run.limiter.limit(), 128);
    run.limiter.answered(run.answers as u64, false, run.now);
    assert_eq!(run.limiter.limit(), 64);
    let seen = run.write_to(&slow(50, 1e6), PAUSE - Duration::from_millis(1));
    assert!(seen.iter().all(|in_flight| *in_flight == 64));
}

#[test]
fn trials_after_the_first_failed_one_add_half() {
    let mut run = Run::begin();
    run.write_to(&slow(10, 25_000.0), Duration::from_secs(2));
    assert_eq!(run.limiter.limit(), 256);
    let seen = run.write_to(&slow(10, 25_000.0), Duration::from_secs(120));
    assert_eq!(seen.iter().max(), Some(&384));
    assert_eq!(seen.last(), Some(&256));
}

proptest! {
    #[test]
    fn it_stays_within_its_bounds(
        (floor, start, max) in (1usize..20, 1usize..100, 1usize..2000).prop_map(|(floor, start, more)| (floor, start, floor + more)),
        samples in proptest::collection::vec((0..10, 0u64..3000, any::<bool>(), 0u64..200), 0..300),
    ) {
        let mut limiter = Limiter::new(floor, start, max);
        let (mut now, mut answers) = (Instant::now(), 0);
        for (signal, more, is_exhausted, pause) in samples {
            now += Duration::from_millis(pause);
            answers += more;
            match signal {
                0 => limiter.throttled(now),
                1 => limiter.timed_out(more, now),
                _ => limiter.answered(answers, is_exhausted, now),
            }
            prop_assert!((floor..=max).contains(&limiter.limit()));
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

#[test]
fn throttling_halves_at_most_once_in_a_step_and_never_below_one() {
    let mut limiter = Limiter::new(1, 100, 100);
    let now = Instant::now();
    for (after, expected) in [(0, 50), (1, 50), (99, 50), (100, 25), (200, 12), (300, 6), (400, 3), (500, 1), (600, 1)]
    {
        limiter.throttled(now + Duration::from_millis(after));
        assert_eq!(limiter.limit(), expected, "after {after} ms");
    }
}

#[test]
fn it_doubles_up_to_half_and_then_grows_by_a_fiftieth_until_it_is_restored() {
    let mut limiter = Limiter::new(1, 100, 100);
    let mut now = Instant::now();
    for _ in 0..4 {
        limiter.throttled(now);
        now += STEP;
    }
    let mut seen = vec![limiter.limit()];
    while limiter.is_lowered() {
        limiter.answered(0, false, now);
        limiter.answered(0, false, now);
        seen.push(limiter.limit());
        now += STEP;
    }
    assert_eq!(&seen[..6], [6, 12, 24, 48, 96, 98]);
    assert_eq!(seen.last(), Some(&100));
}

#[test]
fn it_does_not_grow_while_writes_are_still_throttled() {
    let mut limiter = Limiter::new(1, 100, 100);
    let start = Instant::now();
    limiter.throttled(start);
    limiter.throttled(start + Duration::from_millis(90));
    limiter.answered(0, false, start + Duration::from_millis(150));
    assert_eq!(limiter.limit(), 50);
    limiter.answered(0, false, start + Duration::from_millis(190));
    assert_eq!(limiter.limit(), 52);
}

#[test]
fn throttling_stops_at_the_floor_and_ends_a_trial() {
    let mut run = Run::begin();
    assert_eq!(run.windows([0, 1000, 1000]), [64, 64, 128]);
    for expected in [32, 16, 8, 4, 2, 2] {
        run.limiter.throttled(run.now);
        assert_eq!(run.limiter.limit(), expected);
        run.now += STEP;
    }
}

#[test]
fn it_stays_below_its_target_while_more_writes_would_not_fit_into_the_timeout() {
    let mut limiter = Limiter::new(1, 64, 64);
    let mut now = Instant::now();
    limiter.timed_out(0, now);
    assert_eq!(limiter.limit(), 8);
    // 20 per second.
    for answers in 0..200 {
        now += STEP / 2;
        limiter.answered(answers, true, now);
    }
    assert_eq!(limiter.limit(), 16);
}

#[test]
fn an_isolated_timeout_changes_nothing() {
    let mut run = Run::begin();
    run.write_to(&slow(50, 1e6), Duration::from_secs(5));
    assert_eq!(run.limiter.limit(), 2048);
    run.limiter.timed_out(120_000, run.now);
    assert_eq!(run.limiter.limit(), 2048);
    assert!(!run.limiter.is_lowered());
}

#[test]
fn a_wave_of_timeouts_without_answers_lowers_it_once() {
    let mut limiter = Limiter::new(2, 64, 2048);
    let now = Instant::now();
    for after in [0, 1, 200, 2999] {
        limiter.timed_out(0, now + Duration::from_millis(after));
        assert_eq!(limiter.limit(), 8);
    }
    limiter.timed_out(0, now + ATTEMPT_TIMEOUT);
    assert_eq!(limiter.limit(), 2);
    assert!(limiter.is_lowered() && !limiter.is_throttled());
}

#[test]
fn after_a_minute_without_answers_it_is_restored_within_two_seconds() {
    let mut run = Run::begin();
    let store = slow(50, 1e6);
    run.write_to(&store, Duration::from_secs(5));
    run.limiter.timed_out(0, run.now);
    assert_eq!(run.limiter.limit(), 256);
    run.now += Duration::from_secs(60);
    let seen = run.write_to(&store, Duration::from_secs(2));
    assert_eq!(seen.last(), Some(&2048));
}

/// A line that all writes in flight share. An attempt that times out stays on the line until its bytes are sent.
struct Line {
    per_second: f64,
    /// The unsent share of each write in flight, when it was sent, and the number of answers by then.
    writes: Vec<(f64, Instant, u64)>,
    timed_out: Vec<f64>,
}

impl Line {
    /// Returns the numbers of timeouts and of answers in this time.
    fn carry(&mut self, run: &mut Run, time: Duration) -> (usize, u64) {
        let step = Duration::from_millis(10);
        let (mut timeouts, before) = (0, run.answers as u64);
        let end = run.now + time;
        while run.now < end {
            run.now += step;
            while self.writes.len() < run.limiter.limit() {
                self.writes.push((1.0, run.now, run.answers as u64));
            }
            let share = self.per_second * step.as_secs_f64() / (self.writes.len() + self.timed_out.len()) as f64;
            self.timed_out.iter_mut().for_each(|unsent| *unsent -= share);
            self.timed_out.retain(|unsent| *unsent > 0.0);
            for (mut unsent, sent, answered) in std::mem::take(&mut self.writes) {
                unsent -= share;
                if unsent <= 0.0 {
                    run.answers += 1.0;
                    run.limiter.answered(run.answers as u64, true, run.now);
                } else if run.now - sent >= ATTEMPT_TIMEOUT {
                    timeouts += 1;
                    self.timed_out.push(unsent);
                    run.limiter.timed_out(run.answers as u64 - answered, run.now);
                } else {
                    self.writes.push((unsent, sent, answered));
                }
            }
        }
        (timeouts, run.answers as u64 - before)
    }
}

#[test]
fn on_a_slow_path_it_settles_where_no_write_times_out() {
    for start in [32, 64, 128, 512] {
        let mut run = Run { limiter: Limiter::new(2, start, 1024), now: Instant::now(), answers: 0.0 };
        let mut line = Line { per_second: 41.0, writes: Vec::new(), timed_out: Vec::new() };
        let (timeouts, _) = line.carry(&mut run, Duration::from_secs(20));
        assert!(timeouts <= start * 5 / 4, "{timeouts} writes timed out from {start}");
        let (timeouts, answers) = line.carry(&mut run, Duration::from_secs(120));
        assert_eq!(timeouts, 0, "from {start}");
        assert!(answers >= 41 * 118, "{answers} from {start}");
        assert!((16..=64).contains(&run.limiter.limit()), "{} from {start}", run.limiter.limit());
    }
}

#[test]
fn a_limit_that_throttling_lowered_is_restored_while_there_is_little_to_write() {
    let mut run = Run::begin();
    run.limiter.throttled(run.now);
    run.write_to(&slow(1, 20.0), Duration::from_secs(5));
    assert!(run.limiter.limit() < 64 && run.limiter.is_throttled());
    for _ in 0..100 {
        run.now += Duration::from_millis(200);
        run.answers += 1.0;
        run.limiter.answered(run.answers as u64, false, run.now);
    }
    assert_eq!((run.limiter.limit(), run.limiter.is_throttled()), (64, false));
}

#[test]
fn a_limit_that_throttling_and_timeouts_lowered_grows_slowly_above_half_of_its_target() {
    let mut run = Run::begin();
    run.limiter.timed_out(16, run.now);
    run.now += STEP;
    run.limiter.throttled(run.now);
    let seen = run.write_to(&slow(1, 20_000.0), Duration::from_secs(1));
    assert!(seen.last().is_some_and(|limit| (33..48).contains(limit)), "{:?}", seen.last());
}
