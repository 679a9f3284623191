//! How many receipts are unsettled, and how many workers still read: what a drain waits for.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Census {
    unsettled: AtomicUsize,
    /// Workers that may still take a delivery.
    reading: AtomicUsize,
    changed: Notify,
}

/// A worker that reads, until it is dropped.
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

    /// A worker reads from now on, and may take deliveries until the result is dropped.
    pub(crate) fn reading(&self) -> Reading<'_> {
        self.reading.fetch_add(1, Ordering::AcqRel);
        Reading(self)
    }

    /// Resolves when no worker reads and every receipt is settled, on any thread.
    pub(crate) async fn all_settled(&self) {
        loop {
            let changed = self.changed.notified();
            // In this order: a worker that still reads may take another delivery.
            if self.reading.load(Ordering::Acquire) == 0 && self.unsettled.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }
}
