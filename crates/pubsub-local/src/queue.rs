//! The state of one subscription: what waits, what is leased to whom, and what happens to a message that comes back.
//! Pure: no clock (the time comes in), no tasks; who is to be woken and what is to be forwarded is handed out.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::backlog::{Backlog, Entry};
use super::faults::Faults;
use super::leases::{Lease, LeaseId, Leases, StreamId};
use super::settings::Settings;
use super::streams::Streams;
use super::window::Window;

// Bounds one response beside the number of its messages; one message may overshoot.
const MAX_BATCH_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Queue {
    settings: Settings,
    backlog: Backlog,
    leases: Leases,
    streams: Streams,
    dead: Vec<Dead>,
    counts: Counts,
}

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) lease: LeaseId,
    pub(super) message: Bytes,
    /// From 1; 0 where the subscription has no dead-letter policy.
    pub(super) attempt: u32,
}

/// A message that has used up its delivery attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dead {
    pub(super) entry: Entry,
    pub(super) topic: String,
}

/// What has happened on a subscription since it was created, and where its messages are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting to be delivered.
    pub ready: usize,
    /// Waiting for the backoff of the retry policy to end.
    pub delayed: usize,
    /// Delivered and not settled.
    pub outstanding: usize,
    /// Streams and pulls that are open.
    pub streams: usize,
    pub published: u64,
    pub delivered: u64,
    pub acknowledged: u64,
    pub nacked: u64,
    pub expired: u64,
    pub dead_lettered: u64,
    /// Acknowledgements that a fault made the server forget.
    pub lost_acks: u64,
    /// The highest delivery attempt of any message.
    pub highest_attempt: u32,
}

impl Counts {
    /// All messages that are not acknowledged.
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
            streams: Streams::default(),
            dead: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    pub(super) fn publish(&mut self, messages: impl IntoIterator<Item = Bytes>) {
        for message in messages {
            self.counts.published += 1;
            self.backlog.push(Entry { message, attempts: 0, twin: false });
        }
    }

    /// A stream, or a single pull; its leases last `lease`, or as long as the subscription says.
    pub(super) fn open(&mut self, window: Window, lease: Option<Duration>) -> StreamId {
        self.streams.open(window, lease.unwrap_or(self.settings.ack_deadline))
    }

    /// What the stream holds stays leased until it is settled or its deadline has passed.
    pub(super) fn close(&mut self, id: StreamId) {
        self.streams.close(id);
    }

    pub(super) fn set_lease(&mut self, id: StreamId, lease: Duration) {
        self.streams.set_lease(id, lease);
    }

    /// The next messages for a stream: its fair share of what is ready. When there are none the stream is remembered,
    /// and named by [`Queue::wakes`] once it is worth asking again.
    pub(super) fn take(&mut self, id: StreamId, now: Instant, faults: &Faults) -> Vec<Delivery> {
        self.advance(now);
        let Some((share, stream)) = self.streams.ask(id, self.backlog.ready()) else { return Vec::new() };
        let (mut deliveries, mut bytes) = (Vec::with_capacity(share), 0);
        while deliveries.len() < share && bytes < MAX_BATCH_BYTES && stream.window.has_room() {
            let Some(entry) = next_entry(&mut self.backlog, faults) else { break };
            stream.window.hold(entry.message.len());
            bytes += entry.message.len();
            let (message, attempts) = (entry.message.clone(), entry.attempts);
            let attempt = if self.settings.dead_letter.is_some() { attempts } else { 0 };
            self.counts.delivered += 1;
            self.counts.highest_attempt = self.counts.highest_attempt.max(attempts);
            let lease = self.leases.grant(entry, id, now + stream.lease);
            deliveries.push(Delivery { lease, message, attempt });
        }
        if deliveries.is_empty() {
            self.streams.wait(id);
        }
        deliveries
    }

    /// Settles for good. Doing so twice, or after the lease has ended, is no error and does nothing.
    pub(super) fn ack(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.end(id) {
            self.counts.acknowledged += 1;
            self.streams.release(lease.stream, lease.entry.message.len());
        }
    }

    /// The fault that forgets an acknowledgement: the lease goes on.
    pub(super) fn lose_ack(&mut self) {
        self.counts.lost_acks += 1;
    }

    /// Gives the message back, to be delivered again as the retry policy says.
    pub(super) fn nack(&mut self, id: LeaseId, now: Instant) {
        if let Some(lease) = self.leases.end(id) {
            self.counts.nacked += 1;
            self.come_back(lease, now);
        }
    }

    /// Moves the deadline, also to an earlier time.
    pub(super) fn extend(&mut self, id: LeaseId, deadline: Instant) {
        self.leases.extend(id, deadline);
    }

    /// Lets pass what the time has brought: leases that end, backoffs that are over.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(lease) = self.leases.expire(now) {
            self.counts.expired += 1;
            self.come_back(lease, now);
        }
        self.backlog.advance(now);
    }

    fn come_back(&mut self, lease: Lease, now: Instant) {
        self.streams.release(lease.stream, lease.entry.message.len());
        let entry = lease.entry;
        match &self.settings.dead_letter {
            Some(policy) if entry.attempts >= policy.max_attempts => {
                self.dead.push(Dead { entry, topic: policy.topic.clone() });
            }
            _ => self.put_back(entry, now),
        }
    }

    /// Where a message goes that is to be delivered again.
    pub(super) fn put_back(&mut self, entry: Entry, now: Instant) {
        match self.settings.retry.map(|retry| retry.after(entry.attempts)).filter(|backoff| !backoff.is_zero()) {
            Some(backoff) => self.backlog.delay(entry, now + backoff),
            None => self.backlog.push(entry),
        }
    }

    /// The streams that should ask again.
    pub(super) fn wakes(&mut self) -> Vec<StreamId> {
        self.streams.wakes(self.backlog.ready())
    }

    /// The messages to forward to a dead-letter topic. They are in nobody's hands until [`Queue::buried`] or
    /// [`Queue::put_back`] says what became of them.
    pub(super) fn take_dead(&mut self) -> Vec<Dead> {
        std::mem::take(&mut self.dead)
    }

    pub(super) fn buried(&mut self) {
        self.counts.dead_lettered += 1;
    }

    /// When [`Queue::advance`] has something to do.
    pub(super) fn next_event(&self) -> Option<Instant> {
        self.leases.next_deadline().into_iter().chain(self.backlog.next_ready()).min()
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

/// The first of the backlog, as this delivery counts it; faults may put another first, or leave a twin behind.
fn next_entry(backlog: &mut Backlog, faults: &Faults) -> Option<Entry> {
    if let Some(position) = faults.out_of_turn(backlog.ready()) {
        backlog.bring_forward(position);
    }
    let mut entry = backlog.pop()?;
    if !entry.twin && faults.twice() {
        backlog.push(Entry { twin: true, ..entry.clone() });
    }
    entry.attempts = entry.attempts.saturating_add(1);
    Some(entry)
}

#[cfg(test)]
mod tests;
