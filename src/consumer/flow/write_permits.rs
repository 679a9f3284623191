//! The turns to write: permits of a semaphore that follow a moving [`Limit`], below what [`Concurrency`] finds to pay.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::concurrency::Concurrency;
use super::limit::Limit;

/// So many answers are looked at together.
const LOOK_EVERY: u64 = 16;

#[derive(Debug)]
pub(crate) struct WritePermits {
    permits: Semaphore,
    /// WritePermits that are in use and above the limit: they are not given on.
    excess: AtomicUsize,
    limits: Mutex<Limits>,
    /// Writes that the store took, or held newer ones for.
    taken: AtomicU64,
    /// A copy of [`Limit::is_lowered`], so that an answer costs one load where nothing is throttled.
    is_lowered: AtomicBool,
}

#[derive(Debug)]
struct Limits {
    throttling: Limit,
    concurrency: Concurrency,
}

impl Limits {
    /// What pays is the limit, while nothing is throttled.
    fn follow(&mut self, learn: impl FnOnce(&mut Concurrency)) {
        if !self.throttling.is_lowered() {
            learn(&mut self.concurrency);
            self.throttling.set_most(self.concurrency.current());
        }
    }
}

/// The right to have one write in flight.
#[derive(Debug)]
pub(crate) struct WritePermit<'a> {
    write_permits: &'a WritePermits,
    permit: Option<SemaphorePermit<'a>>,
}

/// What a throttled or a taken write made of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// The first halving of an episode, to this limit.
    Lowered(usize),
    /// The limit is what it was before.
    Restored,
}

impl WritePermits {
    /// At first so many, and never more than `most`.
    pub(crate) fn new(first: usize, most: usize) -> WritePermits {
        let concurrency = Concurrency::new(first, most.min(Semaphore::MAX_PERMITS));
        let throttling = Limit::new(concurrency.current());
        WritePermits {
            permits: Semaphore::new(concurrency.current()),
            excess: AtomicUsize::new(0),
            limits: Mutex::new(Limits { throttling, concurrency }),
            taken: AtomicU64::new(0),
            is_lowered: AtomicBool::new(false),
        }
    }

    /// Waits for a turn; in order of asking.
    pub(crate) async fn next(&self) -> WritePermit<'_> {
        let permit = self.permits.acquire().await.expect("the semaphore is never closed");
        WritePermit { write_permits: self, permit: Some(permit) }
    }

    /// The turns that are in use, and how many may be.
    pub(crate) fn used(&self) -> (usize, usize) {
        let limit = self.limits.lock().unwrap_or_else(PoisonError::into_inner).throttling.current();
        let all = limit + self.excess.load(Ordering::Acquire);
        (all.saturating_sub(self.permits.available_permits()), limit)
    }

    pub(crate) fn throttled(&self) -> Change {
        self.move_limit(|limits, now| {
            limits.follow(|concurrency| concurrency.give_up_trial(now));
            limits.throttling.throttled(now);
        })
    }

    pub(crate) fn taken(&self) -> Change {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_lowered.load(Ordering::Acquire) {
            self.move_limit(|limits, now| limits.throttling.taken(now))
        } else if taken.is_multiple_of(LOOK_EVERY) {
            let is_used_up = self.permits.available_permits() == 0;
            self.move_limit(|limits, now| limits.follow(|concurrency| concurrency.answered(taken, is_used_up, now)))
        } else {
            Change::None
        }
    }

    fn move_limit(&self, to: impl FnOnce(&mut Limits, Instant)) -> Change {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, was_lowered) = (limits.throttling.current(), limits.throttling.is_lowered());
        to(&mut limits, Instant::now());
        let (after, is_lowered) = (limits.throttling.current(), limits.throttling.is_lowered());
        if after < before {
            let idle = self.permits.forget_permits(before - after);
            self.excess.fetch_add(before - after - idle, Ordering::AcqRel);
        } else if after > before {
            let kept = (before..after).filter(|_| self.keep_one()).count();
            self.permits.add_permits(after - before - kept);
        }
        self.is_lowered.store(is_lowered, Ordering::Release);
        match (was_lowered, is_lowered) {
            (false, true) => Change::Lowered(after),
            (true, false) => Change::Restored,
            _ => Change::None,
        }
    }

    /// Takes one turn out of the excess, if there is any.
    fn keep_one(&self) -> bool {
        self.excess.fetch_update(Ordering::AcqRel, Ordering::Acquire, |excess| excess.checked_sub(1)).is_ok()
    }
}

impl Drop for WritePermit<'_> {
    fn drop(&mut self) {
        if self.write_permits.excess.load(Ordering::Acquire) > 0
            && self.write_permits.keep_one()
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

    fn taken_now(write_permits: &WritePermits) -> Vec<WritePermit<'_>> {
        std::iter::from_fn(|| write_permits.next().now_or_never()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_in_use_above_the_limit_are_not_given_on() {
        let write_permits = WritePermits::new(8, 8);
        let mut in_use = taken_now(&write_permits);
        assert_eq!(in_use.len(), 8);
        assert_eq!(write_permits.throttled(), Change::Lowered(4));
        assert_eq!(write_permits.used(), (8, 4));
        in_use.truncate(4);
        assert_eq!(write_permits.used(), (4, 4));
        assert!(taken_now(&write_permits).is_empty());
        in_use.truncate(3);
        assert_eq!(taken_now(&write_permits).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_came_back_gives_every_turn_again() {
        let write_permits = WritePermits::new(8, 8);
        let in_use = taken_now(&write_permits);
        write_permits.throttled();
        tokio::time::advance(Duration::from_millis(100)).await;
        write_permits.throttled();
        let mut changes = Vec::new();
        while changes.last() != Some(&Change::Restored) {
            tokio::time::advance(Duration::from_millis(100)).await;
            changes.push(write_permits.taken());
        }
        assert_eq!(write_permits.used(), (8, 8));
        assert!(taken_now(&write_permits).is_empty());
        drop(in_use);
        assert_eq!(taken_now(&write_permits).len(), 8);
    }
}
