//! The state of one subscription: its backlog, its leases, its streams, and the redelivery of messages. This module is
//! pure: it has no clock and no tasks. Times are arguments; streams to wake and dead letters to forward are return
//! values.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;

use super::backlog::{Backlog, Entry, Published};
use super::faults::Faults;
use super::leases::{Lease, LeaseId, Leases, StreamId};
use super::retained::{self, Retained};
use super::settings::Settings;
use super::streams::Streams;
use super::window::Window;

// Limits one response in addition to the number of its messages. One message may exceed it.
const MAX_BATCH_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Queue {
    settings: Settings,
    backlog: Backlog,
    leases: Leases,
    retained: Retained,
    streams: Streams,
    dead_letters: Vec<DeadLetter>,
    counts: Counts,
}

/// One delivery of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) lease: LeaseId,
    pub(super) message: Bytes,
    /// The delivery attempt, from 1, or 0 if the subscription has no dead-letter policy.
    pub(super) attempt: u32,
}

/// A message that used up its delivery attempts, and the topic to forward it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetter {
    pub(super) entry: Entry,
    pub(super) topic: String,
}

/// The counters of a subscription since it was created, and the number of its messages now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages that can be delivered now.
    pub ready: usize,
    /// Messages that wait for the backoff of the retry policy.
    pub delayed: usize,
    /// Messages that are leased: delivered, and neither settled nor expired.
    pub outstanding: usize,
    /// Streaming pulls and unary pulls that are open.
    pub streams: usize,
    /// Messages that the topic passed to the subscription.
    pub published: u64,
    /// Deliveries, including redeliveries.
    pub delivered: u64,
    /// Deliveries that a client acknowledged.
    pub acknowledged: u64,
    /// Deliveries that a client nacked.
    pub nacked: u64,
    /// Deliveries whose ack deadline passed.
    pub expired: u64,
    /// Messages that were forwarded to the dead-letter topic.
    pub dead_lettered: u64,
    /// Messages that were dropped without an acknowledgement, because they were older than the retention duration.
    pub dropped: u64,
    /// Messages that a seek marked as acknowledged.
    pub acknowledged_by_seek: u64,
    /// Acknowledged messages that a seek marked as not acknowledged.
    pub restored_by_seek: u64,
    /// Acknowledgements that [`Faults::lose_acks`] dropped.
    pub lost_acks: u64,
    /// Streams and pulls that [`Faults::close_streams`] ended.
    pub closed_streams: u64,
    /// The highest delivery attempt of any message so far.
    pub highest_attempt: u32,
}

impl Counts {
    /// Returns the number of messages that are not settled.
    pub fn backlog(&self) -> usize {
        self.ready + self.delayed + self.outstanding
    }
}

impl Queue {
    pub(super) fn new(settings: Settings) -> Queue {
        Queue {
            settings,
            backlog: Backlog::default(),
            leases: Leases::default(),
            retained: Retained::new(retained::MAX_BYTES),
            streams: Streams::default(),
            dead_letters: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn set(&mut self, settings: Settings) {
        if !settings.retain_acked {
            self.retained.clear();
        }
        self.settings = settings;
    }

    pub(super) fn publish(&mut self, messages: impl IntoIterator<Item = Bytes>, published: Published) {
        for message in messages {
            self.counts.published += 1;
            self.backlog.push(Entry { message, published, attempts: 0, duplicate: false });
        }
    }

    /// Opens a stream or a unary pull. Its leases last `lease`, or the ack deadline of the subscription.
    pub(super) fn open(&mut self, window: Window, lease: Option<Duration>) -> StreamId {
        self.streams.open(window, lease.unwrap_or(self.settings.ack_deadline))
    }

    /// Closes a stream. Its messages stay leased until they are settled or their deadline has passed.
    pub(super) fn close(&mut self, id: StreamId) {
        self.streams.close(id);
    }

    /// Counts a stream that a fault closed.
    pub(super) fn stream_closed(&mut self) {
        self.counts.closed_streams += 1;
    }

    pub(super) fn set_lease(&mut self, id: StreamId, lease: Duration) {
        self.streams.set_lease(id, lease);
    }

    /// Leases the next messages to a stream: its fair share of the ready ones. If there are none,
    /// [`Queue::streams_to_wake`] returns the stream once it can take messages.
    pub(super) fn take(&mut self, id: StreamId, now: Instant, faults: &Faults) -> Vec<Delivery> {
        self.advance(now);
        let Some((share, stream)) = self.streams.poll(id, self.backlog.ready()) else { return Vec::new() };
        let (mut deliveries, mut bytes) = (Vec::with_capacity(share), 0);
        while deliveries.len() < share && bytes < MAX_BATCH_BYTES && stream.window.has_room() {
            let Some(entry) = next_entry(&mut self.backlog, faults) else { break };
            if self.settings.outdates(&entry, now) {
                self.counts.dropped += 1;
                continue;
            }
            stream.window.acquire(entry.message.len());
            bytes += entry.message.len();
            let (message, attempts) = (entry.message.clone(), entry.attempts);
            let attempt = if self.settings.dead_letter.is_some() { attempts } else { 0 };
            self.counts.delivered += 1;
            self.counts.highest_attempt = self.counts.highest_attempt.max(attempts);
            let lease = self.leases.grant(entry, id, now, now + stream.lease);
            deliveries.push(Delivery { lease, message, attempt });
        }
        if deliveries.is_empty() {
            self.streams.wait(id);
        }
        deliveries
    }

    /// Acknowledges a delivery and returns its lease. Does nothing if the lease has already ended, which is not an error.
    pub(super) fn ack(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.leases.end(id)?;
        self.counts.acknowledged += 1;
        self.streams.release(lease.stream, lease.entry.message.len());
        self.retain(&lease.entry);
        Some(lease)
    }

    /// Counts an acknowledgement that a fault dropped. The lease stays.
    pub(super) fn lose_ack(&mut self) {
        self.counts.lost_acks += 1;
    }

    /// Nacks a delivery. The retry policy decides when the message is redelivered.
    pub(super) fn nack(&mut self, id: LeaseId, now: Instant) {
        if let Some(lease) = self.leases.end(id) {
            self.counts.nacked += 1;
            self.redeliver(lease, now);
        }
    }

    /// Sets the deadline of a lease, which may be earlier than before.
    pub(super) fn extend(&mut self, id: LeaseId, deadline: Instant) {
        self.leases.extend(id, deadline);
    }

    /// Marks the messages that were published before `time` as acknowledged and all others as not acknowledged. Of the
    /// acknowledged messages, it finds only those that are retained.
    pub(super) fn seek(&mut self, time: SystemTime, now: Instant) {
        self.advance(now);
        let before = |entry: &Entry| entry.published.time < time;
        let mut acknowledged = self.backlog.remove(before);
        for lease in self.leases.end_all(before) {
            self.streams.release(lease.stream, lease.entry.message.len());
            acknowledged.push(lease.entry);
        }
        let mut restored = self.retained.remove(|entry| !before(entry));
        restored.retain(|entry| !self.settings.outdates(entry, now));
        restored.sort_by_key(|entry| entry.published.time);
        self.counts.acknowledged_by_seek += acknowledged.len() as u64;
        self.counts.restored_by_seek += restored.len() as u64;
        acknowledged.iter().for_each(|entry| self.retain(entry));
        restored.into_iter().for_each(|entry| self.backlog.push(Entry { attempts: 0, ..entry }));
    }

    /// Keeps an acknowledged message for a seek, if the subscription retains such messages.
    fn retain(&mut self, entry: &Entry) {
        if self.settings.retain_acked && !entry.duplicate {
            self.retained.push(entry.clone());
        }
    }

    /// Expires leases, ends backoffs that are due, and drops messages that are older than the retention duration.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(lease) = self.leases.expire(now) {
            self.counts.expired += 1;
            self.redeliver(lease, now);
        }
        self.backlog.advance(now);
        // An outdated message behind a newer one is dropped once it is the first one.
        while self.backlog.first().is_some_and(|entry| self.settings.outdates(entry, now)) {
            self.backlog.pop();
            self.counts.dropped += 1;
        }
        while self.retained.first().is_some_and(|entry| self.settings.outdates(entry, now)) {
            self.retained.pop();
        }
    }

    fn redeliver(&mut self, lease: Lease, now: Instant) {
        self.streams.release(lease.stream, lease.entry.message.len());
        let entry = lease.entry;
        match &self.settings.dead_letter {
            Some(policy) if entry.attempts >= policy.max_attempts => {
                self.dead_letters.push(DeadLetter { entry, topic: policy.topic.clone() });
            }
            _ => self.requeue(entry, now),
        }
    }

    /// Puts a message back into the backlog, after the backoff of the retry policy if there is one. Drops it if it is
    /// older than the retention duration.
    pub(super) fn requeue(&mut self, entry: Entry, now: Instant) {
        if self.settings.outdates(&entry, now) {
            self.counts.dropped += 1;
            return;
        }
        match self.settings.retry.map(|retry| retry.after(entry.attempts)).filter(|backoff| !backoff.is_zero()) {
            Some(backoff) => self.backlog.delay(entry, now + backoff),
            None => self.backlog.push(entry),
        }
    }

    /// Returns the streams that should poll again.
    pub(super) fn streams_to_wake(&mut self) -> Vec<StreamId> {
        self.streams.streams_to_wake(self.backlog.ready())
    }

    /// Takes the messages to forward to a dead-letter topic. For each of them the caller must call
    /// [`Queue::dead_letter_forwarded`] or [`Queue::requeue`].
    pub(super) fn take_dead_letters(&mut self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.dead_letters)
    }

    /// Counts a message that was forwarded, which acknowledges it.
    pub(super) fn dead_letter_forwarded(&mut self, entry: Entry) {
        self.counts.dead_lettered += 1;
        self.retain(&entry);
    }

    /// Returns when [`Queue::advance`] has something to do.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let oldest = self.backlog.first().into_iter().chain(self.retained.first());
        let outdated = oldest.map(|entry| entry.published.at + self.settings.retention);
        self.leases.next_deadline().into_iter().chain(self.backlog.next_ready()).chain(outdated).min()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            ready: self.backlog.ready(),
            delayed: self.backlog.delayed(),
            outstanding: self.leases.count(),
            streams: self.streams.count(),
            ..self.counts
        }
    }
}

/// Takes the first message of the backlog and counts the delivery. Faults may take another one, or leave a duplicate.
fn next_entry(backlog: &mut Backlog, faults: &Faults) -> Option<Entry> {
    if let Some(position) = faults.reordered_position(backlog.ready()) {
        backlog.swap_to_front(position);
    }
    let mut entry = backlog.pop()?;
    if !entry.duplicate && faults.duplicates_delivery() {
        backlog.push(Entry { duplicate: true, ..entry.clone() });
    }
    entry.attempts = entry.attempts.saturating_add(1);
    Some(entry)
}

#[cfg(test)]
mod tests;
