//! What happened so far, and what is in hand: counters that any thread raises and any thread reads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::Restart;
use super::durations::Durations;
use super::port::{Envelope, Put, StoreErrorKind};
use super::streams::Streams;
use crate::scan::Reason;

/// A write costs one unit for each begun KB of its record.
const UNIT_BYTES: usize = 1024;

/// A counter of events.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add_one(&self) {
        self.add(1);
    }

    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a delivery ended: its receipt is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stored,
    /// The store answered that the record is as new.
    Stale,
    /// Stale, because a newer scan of its key carried it.
    Superseded,
    /// Stale, because the record was known to be as new.
    Known,
    Expired,
    DeadLettered(Reason),
    /// Rejected, and no dead letter could be published.
    DeadLetterFailed(Reason),
    GivenUp,
    Released,
}

impl End {
    pub(super) fn name(self) -> &'static str {
        match self {
            End::Stored => "stored",
            End::Stale | End::Superseded | End::Known => "stale",
            End::Expired => "expired",
            End::DeadLettered(_) => "rejected",
            End::DeadLetterFailed(_) => "dead_letter_failed",
            End::GivenUp => "given_up",
            End::Released => "released",
        }
    }

    /// What kept it from being stored or stale.
    pub(super) fn error(self) -> Option<&'static str> {
        match self {
            End::Stored | End::Stale | End::Superseded | End::Known | End::Expired => None,
            End::DeadLettered(reason) | End::DeadLetterFailed(reason) => Some(reason.as_str()),
            End::GivenUp | End::Released => Some(self.name()),
        }
    }

    pub(super) fn is_acked(self) -> bool {
        match self {
            End::Stored | End::Stale | End::Superseded | End::Known | End::Expired | End::DeadLettered(_) => true,
            End::DeadLetterFailed(_) | End::GivenUp | End::Released => false,
        }
    }
}

/// What writes cost and move, as far as sizes of records tell.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Write units of the writes that were stored.
    pub stored_units: Count,
    /// Of those that were stale, by the record that was there.
    pub stale_units: Count,
    /// Of statements that found a record where there should be none, or none: they are sent again the other way.
    pub other_verb_units: Count,
    /// Of the writes that a newer scan of their key made needless.
    pub superseded_units: Count,
    /// Of the writes that what was known of their key made needless.
    pub known_units: Count,
    /// Bytes of the records that were sent, at every attempt.
    pub sent_bytes: Count,
    /// Bytes of the records that stale writes returned.
    pub received_bytes: Count,
}

impl Traffic {
    /// A record of so many bytes was sent; the store took it, or holds a newer one, or said neither.
    pub(super) fn sent(&self, record_bytes: usize, put: Option<&Put>) {
        self.sent_bytes.add(record_bytes as u64);
        match put {
            Some(Put::Stored) => self.stored_units.add(units(record_bytes)),
            Some(Put::Stale(stored)) => {
                self.stale_units.add(units(stored.bytes));
                self.received_bytes.add(stored.bytes as u64);
            }
            None => {}
        }
    }

    /// A record of so many bytes was sent in a statement that did not fit: of the record that is there the size is not
    /// known.
    pub(super) fn sent_in_vain(&self, record_bytes: usize) {
        self.sent_bytes.add(record_bytes as u64);
        self.other_verb_units.add(1);
    }
}

#[derive(Debug, Default)]
pub struct Metrics {
    /// Deliveries taken from the streams.
    pub received: Count,
    /// Of these, those that Pub/Sub counts as a second attempt or later.
    pub redelivered: Count,
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
    pub dead_letter_failed: Count,
    /// Given back undone, at drain or with a write that was refused and had carried it: nacked.
    pub released: Count,
    /// Attempts that were answered with throttling.
    pub throttled: Count,
    /// Of these, those that were throttled for their key alone.
    pub hot_keys: Count,
    pub durations: Durations,
    pub traffic: Traffic,
    pub streams: Streams,
    retries: [Count; StoreErrorKind::ALL.len()],
    /// Streams whose last acks and nacks the client could not deliver: what they settle may come again.
    pub unflushed: Count,
    stream_restarts: [Count; Restart::ALL.len()],
    dead_letters: [Count; Reason::ALL.len()],
    rejections: [Count; Reason::ALL.len()],
    unsettled: AtomicUsize,
    /// Workers that may still take a delivery in hand.
    reading: AtomicUsize,
    emptied: Notify,
}

/// Every count at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub received: u64,
    pub redelivered: u64,
    pub stored: u64,
    pub stale: u64,
    pub superseded: u64,
    pub known: u64,
    pub expired: u64,
    pub rejected: u64,
    pub dead_lettered: u64,
    pub dead_letter_failed: u64,
    pub given_up: u64,
    pub released: u64,
    pub retries: u64,
    pub throttled: u64,
    /// Replaced for a fault, not as a routine.
    pub stream_restarts: u64,
    pub unflushed: u64,
    pub unsettled: usize,
}

impl Snapshot {
    /// Acked: stored, stale (expired ones too) or dead-lettered.
    pub fn processed(&self) -> u64 {
        self.stored + self.stale + self.expired + self.dead_lettered
    }

    /// Given up, or rejected without a dead letter.
    pub fn failed(&self) -> u64 {
        self.given_up + self.dead_letter_failed
    }
}

/// A worker that reads.
#[derive(Debug)]
pub(super) struct Reading<'a>(&'a Metrics);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading.fetch_sub(1, Ordering::AcqRel);
        self.0.emptied.notify_waiters();
    }
}

impl Metrics {
    pub fn snapshot(&self) -> Snapshot {
        let faults = Restart::ALL.iter().filter(|cause| cause.is_fault());
        Snapshot {
            received: self.received.get(),
            redelivered: self.redelivered.get(),
            stored: self.stored.get(),
            stale: self.stale.get(),
            superseded: self.superseded.get(),
            known: self.known.get(),
            expired: self.expired.get(),
            rejected: self.rejections.iter().map(Count::get).sum(),
            dead_lettered: self.dead_letters.iter().map(Count::get).sum(),
            dead_letter_failed: self.dead_letter_failed.get(),
            given_up: self.given_up.get(),
            released: self.released.get(),
            retries: self.retries.iter().map(Count::get).sum(),
            throttled: self.throttled.get(),
            stream_restarts: faults.map(|cause| self.stream_restarts(*cause).get()).sum(),
            unflushed: self.unflushed.get(),
            unsettled: self.unsettled.load(Ordering::Relaxed),
        }
    }

    /// Attempts to write beyond the first, after one that ended so.
    pub fn retries(&self, kind: StoreErrorKind) -> &Count {
        &self.retries[kind as usize]
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

    /// A stream gave a message.
    pub(super) fn delivered(&self, envelope: &Envelope) {
        self.received.add_one();
        if envelope.delivery_attempt.is_some_and(|attempt| attempt > 1) {
            self.redelivered.add_one();
        }
    }

    /// A receipt is about to be settled: `took` after it came, for a message that was published at `published`, whose
    /// scan would be a record of so many bytes.
    pub(super) fn ended(&self, end: End, took: Duration, published: SystemTime, record_bytes: usize) {
        match end {
            End::Stored => self.stored.add_one(),
            End::Stale => self.stale.add_one(),
            End::Superseded => {
                self.superseded.add_one();
                self.stale.add_one();
                self.traffic.superseded_units.add(units(record_bytes));
            }
            End::Known => {
                self.known.add_one();
                self.stale.add_one();
                self.traffic.known_units.add(units(record_bytes));
            }
            End::Expired => self.expired.add_one(),
            End::DeadLettered(reason) => self.dead_letters(reason).add_one(),
            End::DeadLetterFailed(_) => self.dead_letter_failed.add_one(),
            End::GivenUp => self.given_up.add_one(),
            End::Released => self.released.add_one(),
        }
        self.durations.ended(end, took, published);
    }

    /// Workers that read.
    pub fn reading_workers(&self) -> usize {
        self.reading.load(Ordering::Acquire)
    }

    pub(super) fn begin_unsettled(&self) {
        self.unsettled.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end_unsettled(&self) {
        if self.unsettled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }

    /// A worker reads from now on, and may take a delivery in hand until what is returned is dropped.
    pub(super) fn reading(&self) -> Reading<'_> {
        self.reading.fetch_add(1, Ordering::AcqRel);
        Reading(self)
    }

    /// Resolves when no thread holds an unsettled receipt, nor reads on.
    pub async fn all_settled(&self) {
        loop {
            let emptied = self.emptied.notified();
            // In this order: a worker that reads on may still take one in hand.
            if self.reading.load(Ordering::Acquire) == 0 && self.unsettled.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

fn units(record_bytes: usize) -> u64 {
    record_bytes.div_ceil(UNIT_BYTES).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::super::port::Stored;
    use super::*;

    #[test]
    fn a_write_costs_a_unit_for_each_begun_kb() {
        assert_eq!([0, 1, 1024, 1025, 400 * 1024].map(units), [1, 1, 1, 2, 400]);
    }

    #[test]
    fn a_stale_write_costs_by_the_record_that_was_there_and_brings_it() {
        let traffic = Traffic::default();
        let stale = Put::Stale(Stored { timestamp: 7, is_same: false, bytes: 3000 });
        for put in [Some(&Put::Stored), Some(&stale), None] {
            traffic.sent(1500, put);
        }
        let Traffic { stored_units, stale_units, sent_bytes, received_bytes, .. } = &traffic;
        assert_eq!([stored_units, stale_units, sent_bytes, received_bytes].map(Count::get), [2, 3, 4500, 3000]);
    }

    #[test]
    fn a_write_that_was_not_needed_saved_its_units() {
        let metrics = Metrics::default();
        for end in [End::Known, End::Superseded, End::Superseded, End::Stale] {
            metrics.ended(end, Duration::ZERO, SystemTime::UNIX_EPOCH, 2000);
        }
        let Traffic { superseded_units, known_units, .. } = &metrics.traffic;
        assert_eq!([superseded_units, known_units].map(Count::get), [4, 2]);
        let counts = metrics.snapshot();
        assert_eq!((counts.stale, counts.superseded, counts.known), (4, 2, 1));
    }

    #[test]
    fn only_a_second_attempt_is_a_redelivery() {
        let metrics = Metrics::default();
        for delivery_attempt in [None, Some(1), Some(2), Some(3)] {
            metrics.delivered(&Envelope {
                payload: bytes::Bytes::new(),
                attributes: Default::default(),
                message_id: String::new(),
                publish_time: SystemTime::UNIX_EPOCH,
                delivery_attempt,
            });
        }
        assert_eq!((metrics.received.get(), metrics.redelivered.get()), (4, 2));
    }
}
