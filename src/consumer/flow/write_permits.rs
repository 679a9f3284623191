//! The permits of writes in flight, in one share per thread. A connection belongs to the client of a thread. If permits moved
//! between threads, each thread would open as many connections as the whole instance may have writes in flight. The sum of the
//! shares follows [`Limiter`].

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::limiter::Limiter;

/// The initial number of writes in flight per thread. It keeps a core busy with a store that answers in a few milliseconds.
const INITIAL_PER_THREAD: usize = 32;
/// Throughput is evaluated after this many answers.
const EVALUATE_EVERY: u64 = 16;

#[derive(Debug)]
pub(crate) struct WritePermits {
    threads: Box<[ThreadPermits]>,
    shares: Shares,
    limiter: Mutex<Limiter>,
    /// Writes that succeeded.
    succeeded: AtomicU64,
    /// A copy of [`Limiter::is_lowered`], so that most answers do not lock the limiter.
    is_lowered: AtomicBool,
}

#[derive(Debug)]
struct ThreadPermits {
    permits: Semaphore,
    /// Permits in use above the share. They are not returned to the semaphore.
    excess: AtomicUsize,
}

/// How the permits are shared: one per thread, and the others in proportion to the workers of each thread.
#[derive(Debug, Clone, Copy)]
struct Shares {
    threads: usize,
    workers: usize,
}

impl Shares {
    fn of(self, thread: usize, limit: usize) -> usize {
        self.before(thread + 1, limit) - self.before(thread, limit)
    }

    /// Returns the sum of the shares of the threads before this one.
    fn before(self, thread: usize, limit: usize) -> usize {
        let workers = thread * (self.workers / self.threads) + thread.min(self.workers % self.threads);
        thread + limit.saturating_sub(self.threads) * workers / self.workers
    }
}

/// The right to have one write in flight. Dropping it releases the permit.
#[derive(Debug)]
pub(crate) struct WritePermit<'a> {
    thread: &'a ThreadPermits,
    /// The writes that had succeeded when the permit was taken.
    succeeded: u64,
    permit: Option<SemaphorePermit<'a>>,
}

/// How a write changed the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// The first throttled write lowered it to this value.
    Lowered(usize),
    /// It is back at its value before the throttling.
    Restored,
}

impl WritePermits {
    /// Shares at most `max` permits among the threads, but at least one per thread. The threads run the workers in turn.
    pub(crate) fn new(threads: usize, workers: usize, max: usize) -> WritePermits {
        let max = max.max(threads).min(Semaphore::MAX_PERMITS);
        let limiter = Limiter::new(threads, INITIAL_PER_THREAD * threads, max);
        let shares = Shares { threads, workers };
        let permits = |thread| ThreadPermits {
            permits: Semaphore::new(shares.of(thread, limiter.limit())),
            excess: AtomicUsize::new(0),
        };
        WritePermits {
            threads: (0..threads).map(permits).collect(),
            shares,
            limiter: Mutex::new(limiter),
            succeeded: AtomicU64::new(0),
            is_lowered: AtomicBool::new(false),
        }
    }

    /// Waits for a permit of this thread, in the order of the calls.
    pub(crate) async fn acquire(&self, thread: usize) -> WritePermit<'_> {
        let thread = &self.threads[thread];
        let permit = thread.permits.acquire().await.expect("the semaphore is never closed");
        WritePermit { thread, succeeded: self.succeeded.load(Ordering::Relaxed), permit: Some(permit) }
    }

    /// Returns the number of permits in use and the limit.
    pub(crate) fn used(&self) -> (usize, usize) {
        let limit = self.limiter.lock().unwrap_or_else(PoisonError::into_inner).limit();
        let excess: usize = self.threads.iter().map(|thread| thread.excess.load(Ordering::Acquire)).sum();
        let free: usize = self.threads.iter().map(|thread| thread.permits.available_permits()).sum();
        ((limit + excess).saturating_sub(free), limit)
    }

    /// Records a throttled write.
    pub(crate) fn throttled(&self) -> Change {
        self.change_limit(Limiter::throttled)
    }

    /// Records an attempt that timed out. If every thread has a free permit, the number of writes in flight is not the cause.
    pub(crate) fn timed_out(&self, permit: &WritePermit<'_>) {
        if self.is_exhausted() {
            let answered = self.succeeded.load(Ordering::Relaxed) - permit.succeeded;
            self.change_limit(|limiter, now| limiter.timed_out(answered, now));
        }
    }

    /// Records a write that succeeded.
    pub(crate) fn succeeded(&self) -> Change {
        let succeeded = self.succeeded.fetch_add(1, Ordering::Relaxed) + 1;
        if !succeeded.is_multiple_of(EVALUATE_EVERY) && !self.is_lowered.load(Ordering::Acquire) {
            return Change::None;
        }
        let is_exhausted = self.is_exhausted();
        self.change_limit(|limiter, now| limiter.answered(succeeded, is_exhausted, now))
    }

    /// Returns whether a thread has no free permit. If all threads had to have none, a busy thread beside an idle one would
    /// never get more.
    fn is_exhausted(&self) -> bool {
        self.threads.iter().any(|thread| thread.permits.available_permits() == 0)
    }

    fn change_limit(&self, change: impl FnOnce(&mut Limiter, Instant)) -> Change {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, was_throttled) = (limiter.limit(), limiter.is_throttled());
        change(&mut limiter, Instant::now());
        let after = limiter.limit();
        if after != before {
            for (number, thread) in self.threads.iter().enumerate() {
                thread.resize(self.shares.of(number, before), self.shares.of(number, after));
            }
        }
        self.is_lowered.store(limiter.is_lowered(), Ordering::Release);
        match (was_throttled, limiter.is_throttled()) {
            (false, true) => Change::Lowered(after),
            (true, false) => Change::Restored,
            _ => Change::None,
        }
    }
}

impl ThreadPermits {
    fn resize(&self, before: usize, after: usize) {
        if after < before {
            let idle = self.permits.forget_permits(before - after);
            self.excess.fetch_add(before - after - idle, Ordering::AcqRel);
        } else {
            let kept = (before..after).filter(|_| self.reduce_excess()).count();
            self.permits.add_permits(after - before - kept);
        }
    }

    /// Takes one permit out of the excess. Returns false if there is none.
    fn reduce_excess(&self) -> bool {
        self.excess.fetch_update(Ordering::AcqRel, Ordering::Acquire, |excess| excess.checked_sub(1)).is_ok()
    }
}

impl Drop for WritePermit<'_> {
    fn drop(&mut self) {
        if self.thread.excess.load(Ordering::Acquire) > 0
            && self.thread.reduce_excess()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn acquire_all(write_permits: &WritePermits) -> Vec<WritePermit<'_>> {
        acquire_all_of(write_permits, 0)
    }

    fn acquire_all_of(write_permits: &WritePermits, thread: usize) -> Vec<WritePermit<'_>> {
        std::iter::from_fn(|| write_permits.acquire(thread).now_or_never()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn permits_above_the_limit_are_not_reused() {
        let write_permits = WritePermits::new(1, 1, 8);
        let mut in_use = acquire_all(&write_permits);
        assert_eq!(in_use.len(), 8);
        assert_eq!(write_permits.throttled(), Change::Lowered(4));
        assert_eq!(write_permits.used(), (8, 4));
        in_use.truncate(4);
        assert_eq!(write_permits.used(), (4, 4));
        assert!(acquire_all(&write_permits).is_empty());
        in_use.truncate(3);
        assert_eq!(acquire_all(&write_permits).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restored_limit_provides_every_permit_again() {
        let write_permits = WritePermits::new(1, 1, 8);
        let in_use = acquire_all(&write_permits);
        write_permits.throttled();
        tokio::time::advance(Duration::from_millis(100)).await;
        write_permits.throttled();
        let mut changes = Vec::new();
        while changes.last() != Some(&Change::Restored) {
            tokio::time::advance(Duration::from_millis(100)).await;
            changes.push(write_permits.succeeded());
        }
        assert_eq!(write_permits.used(), (8, 8));
        assert!(acquire_all(&write_permits).is_empty());
        drop(in_use);
        assert_eq!(acquire_all(&write_permits).len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn each_thread_has_its_share_of_the_permits() {
        // Two workers on the first thread, one on the second.
        let write_permits = WritePermits::new(2, 3, 32);
        let first = acquire_all_of(&write_permits, 0);
        assert_eq!((first.len(), write_permits.used()), (21, (21, 32)));
        let second = acquire_all_of(&write_permits, 1);
        assert_eq!((second.len(), write_permits.used()), (11, (32, 32)));
        assert_eq!(write_permits.throttled(), Change::Lowered(16));
        drop((first, second));
        let [first, second] = [0, 1].map(|thread| acquire_all_of(&write_permits, thread).len());
        assert_eq!((first, second), (10, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_leaves_each_thread_a_permit() {
        let write_permits = WritePermits::new(3, 3, 4);
        for _ in 0..3 {
            write_permits.throttled();
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!([0, 1, 2].map(|thread| acquire_all_of(&write_permits, thread).len()), [1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_lowers_the_limit_only_if_a_thread_has_no_free_permit() {
        let write_permits = WritePermits::new(2, 2, 64);
        let mut in_use = acquire_all_of(&write_permits, 0);
        drop(in_use.pop());
        write_permits.timed_out(&in_use[0]);
        assert_eq!(write_permits.used(), (31, 64));
        in_use.extend(acquire_all_of(&write_permits, 0));
        write_permits.timed_out(&in_use[0]);
        assert_eq!(write_permits.used(), (32, 8));
        // Throttling is reported, also while timeouts have lowered the limit.
        assert_eq!(write_permits.throttled(), Change::Lowered(8));
    }

    proptest! {
        #[test]
        fn shares_are_at_least_one_and_sum_up_to_the_limit(
            (threads, workers, limit) in (1usize..20).prop_flat_map(|threads| (Just(threads), threads..100, threads..3000)),
        ) {
            let shares = Shares { threads, workers };
            let of: Vec<_> = (0..threads).map(|thread| shares.of(thread, limit)).collect();
            prop_assert_eq!(of.iter().sum::<usize>(), limit);
            prop_assert!(of.iter().all(|share| *share >= 1));
            // In proportion to the workers, apart from the permit that each thread has, and rounding.
            for (thread, share) in of.into_iter().enumerate() {
                let workers_of = (thread..workers).step_by(threads).count();
                prop_assert!((share - 1).abs_diff((limit - threads) * workers_of / workers) <= 1);
            }
        }
    }
}
