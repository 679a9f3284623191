//! A gate before a dependency that is away: closed after failures in a row, it lets one probe a second through, and
//! any answer opens it for everyone.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep_until};

const PROBE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Gate {
    /// Failures in a row that close it.
    threshold: u32,
    failures: AtomicU32,
    closed: AtomicBool,
    opened: Notify,
    /// Held by the next probe while it waits for its turn; the lock is fair, so each probe is another caller.
    next_probe: Mutex<Option<Instant>>,
}

impl Gate {
    pub(super) fn new(threshold: u32) -> Gate {
        Gate {
            threshold,
            failures: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            opened: Notify::new(),
            next_probe: Mutex::new(None),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Resolves at once while open; while closed, when it opens, or, with true, when it is this caller's turn to
    /// probe.
    pub(super) async fn pass(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        tokio::select! {
            biased;
            () = self.opens() => false,
            () = self.turn() => true,
        }
    }

    /// Resolves when a closed gate opens, at once if it is open.
    async fn opens(&self) {
        let opened = self.opened.notified();
        // `notified` only listens from its creation on, so the flag is read after it.
        if self.is_closed() {
            opened.await;
        }
    }

    /// Sleeps, but not beyond the moment at which the gate opens, and not at all while it is closed: its turns are the
    /// pauses then, and whoever slept would be missing among the probes.
    pub(super) async fn sleep(&self, duration: Duration) {
        let opened = self.opened.notified();
        if self.is_closed() {
            return;
        }
        tokio::select! {
            biased;
            () = opened => {}
            () = tokio::time::sleep(duration) => {}
        }
    }

    async fn turn(&self) {
        let mut next = self.next_probe.lock().await;
        if let Some(at) = *next {
            sleep_until(at).await;
        }
        *next = Some(Instant::now() + PROBE_INTERVAL);
    }

    /// Notes a failure; true when it is the one that closes the gate.
    pub(super) fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        failures >= self.threshold && !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Notes an answer; true when it is the one that opens the gate.
    pub(super) fn answered(&self) -> bool {
        // Loads before stores: this runs for every message, and a store would bounce the cache line between threads.
        if self.failures.load(Ordering::Acquire) == 0 && !self.is_closed() {
            return false;
        }
        self.failures.store(0, Ordering::Release);
        let opened = self.closed.swap(false, Ordering::AcqRel);
        if opened {
            self.opened.notify_waiters();
        }
        opened
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_single_failure_leaves_it_open() {
        let gate = Gate::new(2);
        assert!(!gate.failed());
        assert!(!gate.answered());
        assert!(!gate.failed());
        gate.pass().await;
        assert!(gate.failed());
        assert!(gate.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_lets_one_probe_a_second_through() {
        let gate = Gate::new(1);
        gate.failed();
        let start = Instant::now();
        let passed = Cell::new(0);
        let callers = join_all((0..100).map(|_| async {
            gate.pass().await;
            passed.set(passed.get() + 1);
        }));
        tokio::select! {
            _ = callers => panic!("all passed a closed gate"),
            () = sleep_until(start + Duration::from_millis(4500)) => {}
        }
        assert_eq!(passed.get(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_wakes_every_waiting_caller_at_once() {
        let gate = Gate::new(1);
        let start = Instant::now();
        let sleepers = join_all((0..100).map(|_| gate.sleep(Duration::from_secs(60))));
        let callers = async {
            gate.failed();
            join_all((0..100).map(|_| gate.pass())).await
        };
        let answer = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            assert!(gate.answered());
        };
        let (_, probed, ()) = tokio::join!(sleepers, callers, answer);
        assert_eq!(probed.into_iter().filter(|probe| *probe).count(), 2);
        assert_eq!(start.elapsed(), Duration::from_millis(1500));
    }
}
