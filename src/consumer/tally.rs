//! What happened so far, and what is in hand: counters that any thread raises and any thread reads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::Restart;
use crate::scan::Reason;

/// A counter of events.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    /// Deliveries taken from the streams.
    pub received: Count,
    pub stored: Count,
    /// Not written because the record is as new, or will be with a write in hand.
    pub stale: Count,
    /// Of the stale, those that a newer scan of their key carried: no write was spent on them.
    pub superseded: Count,
    /// Of the stale, those whose record was known to be as new: no write was spent on them.
    pub known: Count,
    pub expired: Count,
    /// Given up after `--max-retry-time`, nacked.
    pub given_up: Count,
    /// Rejected without a dead letter, nacked.
    pub unlettered: Count,
    /// Given back undone, at drain or with a write that was refused and had carried it: nacked.
    pub handed_back: Count,
    /// Attempts to write beyond the first.
    pub retries: Count,
    /// Attempts that were answered with throttling.
    pub throttled: Count,
    /// Streams whose last acks and nacks the client could not deliver: what they settle may come again.
    pub unflushed: Count,
    stream_restarts: [Count; Restart::ALL.len()],
    dead_letters: [Count; Reason::ALL.len()],
    rejections: [Count; Reason::ALL.len()],
    in_hand: AtomicUsize,
    /// Workers that may still take a delivery in hand.
    reading: AtomicUsize,
    emptied: Notify,
}

/// Every count at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub received: u64,
    pub stored: u64,
    pub stale: u64,
    pub superseded: u64,
    pub known: u64,
    pub expired: u64,
    pub rejected: u64,
    pub dead_lettered: u64,
    pub unlettered: u64,
    pub given_up: u64,
    pub handed_back: u64,
    pub retries: u64,
    pub throttled: u64,
    pub in_hand: usize,
}

impl Snapshot {
    /// Acked: stored, stale (expired ones too) or dead-lettered.
    pub fn processed(&self) -> u64 {
        self.stored + self.stale + self.expired + self.dead_lettered
    }

    /// Given up, or rejected without a dead letter.
    pub fn failed(&self) -> u64 {
        self.given_up + self.unlettered
    }
}

/// A worker that reads.
#[derive(Debug)]
pub(super) struct Reading<'a>(&'a Tally);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading.fetch_sub(1, Ordering::AcqRel);
        self.0.emptied.notify_waiters();
    }
}

impl Tally {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            received: self.received.get(),
            stored: self.stored.get(),
            stale: self.stale.get(),
            superseded: self.superseded.get(),
            known: self.known.get(),
            expired: self.expired.get(),
            rejected: self.rejections.iter().map(Count::get).sum(),
            dead_lettered: self.dead_letters.iter().map(Count::get).sum(),
            unlettered: self.unlettered.get(),
            given_up: self.given_up.get(),
            handed_back: self.handed_back.get(),
            retries: self.retries.get(),
            throttled: self.throttled.get(),
            in_hand: self.in_hand.load(Ordering::Relaxed),
        }
    }

    /// Streams that were replaced, for this cause.
    pub fn stream_restarts(&self, cause: Restart) -> &Count {
        &self.stream_restarts[cause as usize]
    }

    /// Dead letters that were published, with this reason.
    pub fn dead_letters(&self, reason: Reason) -> &Count {
        &self.dead_letters[reason as usize]
    }

    /// Deliveries that were rejected with this reason, whether a letter could be published or not.
    pub fn rejections(&self, reason: Reason) -> &Count {
        &self.rejections[reason as usize]
    }

    pub(super) fn take_in_hand(&self) {
        self.in_hand.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn let_go(&self) {
        if self.in_hand.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }

    /// A worker reads from now on, and may take a delivery in hand until what is returned is dropped.
    pub(super) fn reading(&self) -> Reading<'_> {
        self.reading.fetch_add(1, Ordering::AcqRel);
        Reading(self)
    }

    /// Resolves when no thread holds an unsettled receipt, nor reads on.
    pub async fn nothing_in_hand(&self) {
        loop {
            let emptied = self.emptied.notified();
            // In this order: a worker that reads on may still take one in hand.
            if self.reading.load(Ordering::Acquire) == 0 && self.in_hand.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }
}
