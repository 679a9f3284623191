//! The permits of writes in flight. Their number follows [`Concurrency`], or [`Limit`] while the table throttles.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::concurrency::Concurrency;
use super::limit::Limit;

/// Throughput is evaluated after this many answers.
const EVALUATE_EVERY: u64 = 16;

#[derive(Debug)]
pub(crate) struct WritePermits {
    permits: Semaphore,
    /// Permits in use above the limit. They are not returned to the semaphore.
    excess: AtomicUsize,
    limits: Mutex<Limits>,
    /// Writes that succeeded.
    succeeded: AtomicU64,
    /// A copy of [`Limit::is_lowered`], so that an answer costs only one load while nothing is throttled.
    is_lowered: AtomicBool,
}

#[derive(Debug)]
struct Limits {
    throttling: Limit,
    concurrency: Concurrency,
}

impl Limits {
    /// Changes the concurrency, which is the limit while nothing is throttled.
    fn update_concurrency(&mut self, update: impl FnOnce(&mut Concurrency)) {
        if !self.throttling.is_lowered() {
            update(&mut self.concurrency);
            self.throttling.set_max(self.concurrency.current());
        }
    }
}

/// The right to have one write in flight. Dropping it releases the permit.
#[derive(Debug)]
pub(crate) struct WritePermit<'a> {
    write_permits: &'a WritePermits,
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
    /// Starts with `initial` permits, and never has more than `max`.
    pub(crate) fn new(initial: usize, max: usize) -> WritePermits {
        let concurrency = Concurrency::new(initial, max.min(Semaphore::MAX_PERMITS));
        let throttling = Limit::new(concurrency.current());
        WritePermits {
            permits: Semaphore::new(concurrency.current()),
            excess: AtomicUsize::new(0),
            limits: Mutex::new(Limits { throttling, concurrency }),
            succeeded: AtomicU64::new(0),
            is_lowered: AtomicBool::new(false),
        }
    }

    /// Waits for a permit, in the order of the calls.
    pub(crate) async fn acquire(&self) -> WritePermit<'_> {
        let permit = self.permits.acquire().await.expect("the semaphore is never closed");
        WritePermit { write_permits: self, permit: Some(permit) }
    }

    /// Returns the number of permits in use and the limit.
    pub(crate) fn used(&self) -> (usize, usize) {
        let limit = self.limits.lock().unwrap_or_else(PoisonError::into_inner).throttling.current();
        let all = limit + self.excess.load(Ordering::Acquire);
        (all.saturating_sub(self.permits.available_permits()), limit)
    }

    /// Records a throttled write.
    pub(crate) fn throttled(&self) -> Change {
        self.change_limit(|limits, now| {
            limits.update_concurrency(|concurrency| concurrency.abort_trial(now));
            limits.throttling.throttled(now);
        })
    }

    /// Records a write that succeeded.
    pub(crate) fn succeeded(&self) -> Change {
        let succeeded = self.succeeded.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_lowered.load(Ordering::Acquire) {
            self.change_limit(|limits, now| limits.throttling.succeeded(now))
        } else if succeeded.is_multiple_of(EVALUATE_EVERY) {
            let is_exhausted = self.permits.available_permits() == 0;
            self.change_limit(|limits, now| {
                limits.update_concurrency(|concurrency| concurrency.answered(succeeded, is_exhausted, now))
            })
        } else {
            Change::None
        }
    }

    fn change_limit(&self, change: impl FnOnce(&mut Limits, Instant)) -> Change {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, was_lowered) = (limits.throttling.current(), limits.throttling.is_lowered());
        change(&mut limits, Instant::now());
        let (after, is_lowered) = (limits.throttling.current(), limits.throttling.is_lowered());
        if after < before {
            let idle = self.permits.forget_permits(before - after);
            self.excess.fetch_add(before - after - idle, Ordering::AcqRel);
        } else if after > before {
            let kept = (before..after).filter(|_| self.reduce_excess()).count();
            self.permits.add_permits(after - before - kept);
        }
        self.is_lowered.store(is_lowered, Ordering::Release);
        match (was_lowered, is_lowered) {
            (false, true) => Change::Lowered(after),
            (true, false) => Change::Restored,
            _ => Change::None,
        }
    }

    /// Takes one permit out of the excess. Returns false if there is none.
    fn reduce_excess(&self) -> bool {
        self.excess.fetch_update(Ordering::AcqRel, Ordering::Acquire, |excess| excess.checked_sub(1)).is_ok()
    }
}

impl Drop for WritePermit<'_> {
    fn drop(&mut self) {
        if self.write_permits.excess.load(Ordering::Acquire) > 0
            && self.write_permits.reduce_excess()
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

    use super::*;

    fn acquire_all(write_permits: &WritePermits) -> Vec<WritePermit<'_>> {
        std::iter::from_fn(|| write_permits.acquire().now_or_never()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn permits_above_the_limit_are_not_reused() {
        let write_permits = WritePermits::new(8, 8);
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
        let write_permits = WritePermits::new(8, 8);
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
}
