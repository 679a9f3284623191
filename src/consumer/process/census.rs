//! Counts unsettled messages and reading workers, so that a drain can wait for them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Census {
    unsettled: AtomicUsize,
    /// Workers that may still receive deliveries.
    reading: AtomicUsize,
    changed: Notify,
}

/// A reading worker. Dropping it ends the reading.
#[derive(Debug)]
pub(crate) struct Reading<'a>(&'a Census);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

impl Census {
    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_unsettled(&self) {
        self.unsettled.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn end_unsettled(&self) {
        if self.unsettled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn reading_workers(&self) -> usize {
        self.reading.load(Ordering::Acquire)
    }

    /// Counts a worker as reading until the result is dropped.
    pub(crate) fn begin_reading(&self) -> Reading<'_> {
        self.reading.fetch_add(1, Ordering::AcqRel);
        Reading(self)
    }

    /// Waits until no worker reads and every message is settled, on all threads.
    pub(crate) async fn all_settled(&self) {
        loop {
            let changed = self.changed.notified();
            // In this order: a worker that still reads may receive another message.
            if self.reading.load(Ordering::Acquire) == 0 && self.unsettled.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }
}
