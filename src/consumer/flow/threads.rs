//! Tests of the limits on real threads. The simulation runs on one thread, so it cannot miss a wake-up.
//!
//! A model checker (loom) does not see tokio's primitives in a normal build, so the tests repeat short races many times.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::{Change, CircuitBreaker, ParkingLot, Refusals, WritePermits};

/// Each race has new threads, because on a loaded machine the first two may share a core for long.
const RACES: u64 = 20;
/// A race ends after this many rounds, or after [`RACE_TIME`] on a loaded machine.
const ROUNDS: usize = 5_000;
const RACE_TIME: Duration = Duration::from_millis(250);
/// The pauses before a wait and before a signal, in iterations of an empty loop.
const HEAD_START: u32 = 100;
const MAX_OFFSET: u32 = 1_000;
const DITHER: u32 = 8;

/// The other tests run this many threads with this many steps each.
const THREADS: usize = 4;
const STEPS: usize = 50_000;

/// How long a waiter may be parked before a test counts it as parked forever.
const FOREVER: Duration = Duration::from_secs(30);

/// Records that a future was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

fn poll<F: Future>(future: Pin<&mut F>, woken: &Arc<Woken>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(woken.clone())))
}

/// Spins until the condition holds. Sleeps after a while, because the other thread may have no core.
fn spin_until(condition: impl Fn() -> bool) {
    let mut spins = 0u32;
    while !condition() {
        spins += 1;
        if spins.is_multiple_of(1_000) {
            thread::sleep(Duration::from_micros(50));
        } else {
            std::hint::spin_loop();
        }
    }
}

fn pause(iterations: u32) {
    for iteration in 0..iterations {
        std::hint::black_box(iteration);
    }
}

/// Sets the flag when it is dropped, so that a panic of one thread also ends the other.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Calls `wait` on one thread while another calls `signal`, again and again. Returns the number of waits that `signal` did not
/// wake in the first race that has any.
///
/// `prepare` begins each round, and `signal` ends it; both return true if they had an effect. `wait` must resolve when
/// `signal` has returned. Each third wait is cancelled.
fn missed_signals<F: Future>(
    prepare: impl Fn() -> bool,
    wait: impl Fn() -> F + Sync,
    signal: impl Fn() -> bool,
) -> usize {
    let mut missed = (0..RACES).map(|seed| missed_in_a_race(seed, &prepare, &wait, &signal));
    missed.find(|missed| *missed > 0).unwrap_or(0)
}

fn missed_in_a_race<F: Future>(
    seed: u64,
    prepare: impl Fn() -> bool,
    wait: impl Fn() -> F + Sync,
    signal: impl Fn() -> bool,
) -> usize {
    let [round, signalled, waited, missed] = [const { AtomicUsize::new(0) }; 4];
    let [is_over, was_pending] = [const { AtomicBool::new(false) }; 2];
    let reaches = |counter: &AtomicUsize, value: usize| {
        spin_until(|| counter.load(Ordering::Acquire) >= value || is_over.load(Ordering::Acquire));
        !is_over.load(Ordering::Acquire)
    };
    let wait_in_every_round = || {
        let _ends = SetOnDrop(&is_over);
        for current in 1.. {
            if !reaches(&round, current) {
                return;
            }
            let woken = Arc::new(Woken::default());
            pause(HEAD_START);
            let mut waiting = pin!(wait());
            let is_pending = poll(waiting.as_mut(), &woken).is_pending();
            was_pending.store(is_pending, Ordering::Relaxed);
            let is_cancelled = current.is_multiple_of(3);
            if is_pending && !is_cancelled {
                reaches(&signalled, current);
                if !woken.0.load(Ordering::Acquire) || poll(waiting.as_mut(), &woken).is_pending() {
                    missed.fetch_add(1, Ordering::Relaxed);
                }
            }
            waited.store(current, Ordering::Release);
        }
    };
    thread::scope(|scope| {
        scope.spawn(wait_in_every_round);
        let _ends = SetOnDrop(&is_over);
        let mut random = StdRng::seed_from_u64(seed);
        let (began, mut offset) = (Instant::now(), HEAD_START);
        for current in 1..=ROUNDS {
            assert!(prepare());
            round.store(current, Ordering::Release);
            pause(offset + random.random_range(0..DITHER));
            assert!(signal());
            signalled.store(current, Ordering::Release);
            if !reaches(&waited, current) || began.elapsed() > RACE_TIME {
                break;
            }
            // So the signal stays close to the moment that decides whether the wait is pending.
            offset = match was_pending.load(Ordering::Relaxed) {
                true => offset.saturating_sub(1),
                false => (offset + 1).min(MAX_OFFSET),
            };
        }
    });
    missed.into_inner()
}

/// Runs `work` on several threads, each with its own runtime, like the threads of an instance.
fn on_threads(work: impl AsyncFn(StdRng) + Sync) {
    thread::scope(|scope| {
        for number in 0..THREADS {
            let work = &work;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                runtime.expect("a runtime").block_on(work(StdRng::seed_from_u64(number as u64)));
            });
        }
    });
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(FOREVER, future).await.expect("a waiter is parked forever")
}

#[tokio::test]
async fn a_breaker_that_closes_wakes_every_waiter() {
    let breaker = CircuitBreaker::new(1);
    breaker.failed();
    assert!(breaker.pass().await, "the first caller is a probe");
    // The next probe is never polled again, so only the closing wakes the other waiters.
    let mut next_probe = pin!(breaker.pass());
    assert!((&mut next_probe).now_or_never().is_none());

    assert_eq!(missed_signals(|| breaker.is_open() || breaker.failed(), || breaker.pass(), || breaker.answered()), 0);
}

#[tokio::test]
async fn the_end_of_the_pace_wakes_every_waiter() {
    let refusals = Refusals::default();
    let begin_pace = || {
        let _parked = refusals.park(refusals.first());
        refusals.parking_lot_is_full()
    };
    assert!(begin_pace());
    refusals.admission().await;
    // The next admission is never polled again, so only the end of the pace wakes the other waiters.
    let mut next_admission = pin!(refusals.admission());
    assert!((&mut next_admission).now_or_never().is_none());

    let begin_unless_paced = || refusals.is_paced() || begin_pace();
    assert_eq!(missed_signals(begin_unless_paced, || refusals.admission(), || refusals.answered(0)), 0);
}

#[test]
fn every_opening_of_a_breaker_has_one_closing_and_leaves_no_caller_parked() {
    let breaker = CircuitBreaker::new(2);
    let [opened, closed] = [const { AtomicUsize::new(0) }; 2];
    on_threads(async |mut random| {
        for _ in 0..STEPS {
            match random.random_range(0..4) {
                0 | 1 => drop(opened.fetch_add(breaker.failed().into(), Ordering::Relaxed)),
                2 => drop(closed.fetch_add(breaker.answered().into(), Ordering::Relaxed)),
                // A cancelled caller.
                _ => drop(breaker.pass().now_or_never()),
            }
        }
        soon(async {
            let (passed, ()) = tokio::join!(breaker.pass(), async {
                closed.fetch_add(breaker.answered().into(), Ordering::Relaxed);
            });
            passed
        })
        .await;
    });
    assert!(!breaker.is_open());
    assert!(opened.load(Ordering::Relaxed) > 0);
    assert_eq!(opened.into_inner(), closed.into_inner());
}

/// Takes all permits that are free.
fn acquire_all(write_permits: &WritePermits) -> usize {
    let permits: Vec<_> = std::iter::from_fn(|| write_permits.acquire().now_or_never()).collect();
    permits.len()
}

#[test]
fn changes_of_the_limit_neither_lose_nor_add_write_permits() {
    const MAX: usize = 8;
    let write_permits = WritePermits::new(MAX, MAX);
    let [threads, in_use, lowered] = [const { AtomicUsize::new(0) }; 3];
    let is_over = AtomicBool::new(false);
    let change_limit = async |mut random: StdRng| {
        // This clock runs fast, because the limit changes at most once per 100 ms.
        tokio::time::pause();
        while !is_over.load(Ordering::Acquire) {
            tokio::time::advance(Duration::from_millis(100)).await;
            let change = match random.random_range(0..4) {
                0 => write_permits.throttled(),
                _ => write_permits.succeeded(),
            };
            lowered.fetch_add(matches!(change, Change::Lowered(_)).into(), Ordering::Relaxed);
        }
    };
    let write = async || {
        for _ in 0..STEPS / 4 {
            // A cancelled caller leaves the queue.
            drop(write_permits.acquire().now_or_never());
            let _permit = soon(write_permits.acquire()).await;
            assert!(in_use.fetch_add(1, Ordering::AcqRel) < MAX);
            yield_now().await;
            in_use.fetch_sub(1, Ordering::AcqRel);
        }
    };
    on_threads(async |random| {
        if threads.fetch_add(1, Ordering::Relaxed) == 0 {
            return change_limit(random).await;
        }
        let _ends = SetOnDrop(&is_over);
        soon(async {
            while lowered.load(Ordering::Acquire) == 0 {
                yield_now().await;
            }
        })
        .await;
        tokio::join!(write(), write(), write(), write());
    });
    assert!(lowered.into_inner() > 0);
    // A permit that was released while the limit fell is removed only by the next release.
    acquire_all(&write_permits);
    let (in_use, limit) = write_permits.used();
    assert_eq!((in_use, acquire_all(&write_permits)), (0, limit));
}

#[test]
fn a_parking_lot_never_exceeds_its_limit_and_gets_every_permit_back() {
    const LIMIT: usize = 3;
    let parking_lot = ParkingLot::new(LIMIT);
    let parked = AtomicUsize::new(0);
    on_threads(async |mut random| {
        for _ in 0..STEPS {
            // A cancelled caller leaves the queue.
            drop(parking_lot.permit().now_or_never());
            let permit = match random.random() {
                true => Some(soon(parking_lot.permit()).await),
                false => parking_lot.try_permit(),
            };
            if let Some(_permit) = permit {
                assert!(parked.fetch_add(1, Ordering::AcqRel) < LIMIT);
                parked.fetch_sub(1, Ordering::AcqRel);
            }
        }
    });
    assert_eq!(parking_lot.used(), (0, LIMIT));
}
