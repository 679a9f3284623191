//! A circuit breaker for one dependency: it opens after a number of consecutive failures. While it is open it admits one
//! probe per second, and any answer closes it for everyone. Without attempts no answer would come, so it also expires.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep_until};

const PROBE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    /// Consecutive failures that open it.
    threshold: u32,
    failures: AtomicU32,
    open: AtomicBool,
    closed: Notify,
    /// The latest failure that has not expired.
    latest_failure: std::sync::Mutex<Option<Instant>>,
    /// Locked by the next probe while it waits. The lock is fair, so each probe is another caller.
    next_probe: Mutex<Option<Instant>>,
}

impl CircuitBreaker {
    pub(crate) fn new(threshold: u32) -> CircuitBreaker {
        CircuitBreaker {
            threshold,
            failures: AtomicU32::new(0),
            open: AtomicBool::new(false),
            closed: Notify::new(),
            latest_failure: std::sync::Mutex::default(),
            next_probe: Mutex::new(None),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Resolves at once while the breaker is closed. While it is open, resolves when it closes, or with true when this
    /// caller is the next probe.
    pub(crate) async fn pass(&self) -> bool {
        if !self.is_open() {
            return false;
        }
        tokio::select! {
            biased;
            () = self.closes() => false,
            () = self.probe() => true,
        }
    }

    /// Resolves when an open breaker closes, at once if it is closed.
    async fn closes(&self) {
        let closed = self.closed.notified();
        // `notified` only listens from its creation on, so the flag is read after it.
        if self.is_open() {
            closed.await;
        }
    }

    /// Sleeps for this duration, or until the breaker closes. Does not sleep while it is open: the probe interval is the
    /// pause then, and a caller that slept would be missing among the probes.
    pub(crate) async fn sleep(&self, duration: Duration) {
        let closed = self.closed.notified();
        if self.is_open() {
            return;
        }
        tokio::select! {
            biased;
            () = closed => {}
            () = tokio::time::sleep(duration) => {}
        }
    }

    async fn probe(&self) {
        let mut next = self.next_probe.lock().await;
        if let Some(at) = *next {
            sleep_until(at).await;
        }
        *next = Some(Instant::now() + PROBE_INTERVAL);
    }

    /// Records a failure. Returns true when this failure opens the breaker.
    pub(crate) fn failed(&self) -> bool {
        // Locked until the end, so that `expire` does not close a breaker that this failure opens.
        let mut latest = self.latest_failure.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(Instant::now());
        let failures = self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        failures >= self.threshold && !self.open.swap(true, Ordering::AcqRel)
    }

    /// Records an answer. Returns true when this answer closes the breaker.
    pub(crate) fn answered(&self) -> bool {
        // Loads before stores: this runs for every message, and a store would bounce the cache line between threads.
        if self.failures.load(Ordering::Acquire) == 0 && !self.is_open() {
            return false;
        }
        self.close()
    }

    /// Records an answer that is a failure of another kind. It closes the breaker, and counts for [`Self::expire`].
    pub(crate) fn refused(&self) {
        *self.latest_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.answered();
    }

    /// Closes the breaker if the latest failure was this long ago. Returns true if it was, once per failure.
    pub(crate) fn expire(&self, after: Duration) -> bool {
        let mut latest = self.latest_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let has_expired = latest.take_if(|at| at.elapsed() >= after).is_some();
        if has_expired {
            self.close();
        }
        has_expired
    }

    /// Returns whether a failure has not expired.
    pub(crate) fn has_failed(&self) -> bool {
        self.latest_failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn close(&self) -> bool {
        self.failures.store(0, Ordering::Release);
        let closed = self.open.swap(false, Ordering::AcqRel);
        if closed {
            self.closed.notify_waiters();
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_single_failure_does_not_open_it() {
        let breaker = CircuitBreaker::new(2);
        assert!(!breaker.failed());
        assert!(!breaker.answered());
        assert!(!breaker.failed());
        breaker.pass().await;
        assert!(breaker.failed());
        assert!(breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_admits_one_probe_per_second() {
        let breaker = CircuitBreaker::new(1);
        breaker.failed();
        let start = Instant::now();
        let passed = Cell::new(0);
        let callers = join_all((0..100).map(|_| async {
            breaker.pass().await;
            passed.set(passed.get() + 1);
        }));
        tokio::select! {
            _ = callers => panic!("all callers passed an open breaker"),
            () = sleep_until(start + Duration::from_millis(4500)) => {}
        }
        assert_eq!(passed.get(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn it_closes_when_no_attempt_has_failed_for_a_time() {
        let breaker = CircuitBreaker::new(1);
        let minute = Duration::from_secs(60);
        assert!(!breaker.expire(minute), "nothing has failed");
        breaker.failed();
        tokio::time::advance(minute / 2).await;
        breaker.failed();
        tokio::time::advance(minute / 2).await;
        assert!(!breaker.expire(minute), "the second failure is 30 s old");
        assert!(breaker.is_open() && breaker.has_failed());
        tokio::time::advance(minute / 2).await;
        assert!(breaker.expire(minute));
        assert!(!breaker.is_open() && !breaker.has_failed());
        assert!(!breaker.expire(minute), "it expires once");
        assert!(breaker.failed(), "the next failure opens it again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_closes_it_and_expires() {
        let breaker = CircuitBreaker::new(1);
        breaker.failed();
        breaker.refused();
        assert!(!breaker.is_open() && breaker.has_failed());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(breaker.expire(Duration::from_secs(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_wakes_every_waiting_caller_at_once() {
        let breaker = CircuitBreaker::new(1);
        let start = Instant::now();
        let sleepers = join_all((0..100).map(|_| breaker.sleep(Duration::from_secs(60))));
        let callers = async {
            breaker.failed();
            join_all((0..100).map(|_| breaker.pass())).await
        };
        let answer = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert!(breaker.answered());
        };
        let (_, probed, ()) = tokio::join!(sleepers, callers, answer);
        assert_eq!(probed.into_iter().filter(|probe| *probe).count(), 2);
        assert_eq!(start.elapsed(), Duration::from_millis(1500));
    }
}
