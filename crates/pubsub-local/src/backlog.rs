//! The messages of a subscription that are not leased: ready ones in order of arrival, and those that wait for their
//! backoff to end. This module is pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::Instant;

/// One message of one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The encoding that [`super::message::encode`] made.
    pub(super) message: Bytes,
    pub(super) published: Published,
    /// The number of deliveries so far.
    pub(super) attempts: u32,
    /// Marks the second copy that a fault made, which is not duplicated again.
    pub(super) duplicate: bool,
}

/// When the topic accepted a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Published {
    /// The age of the message counts from here.
    pub(super) at: Instant,
    /// The publish time that clients see, and that a seek compares.
    pub(super) time: SystemTime,
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    ready: VecDeque<Entry>,
    /// Keyed by the end of the backoff. The number keeps entries with the same time apart and in order.
    delayed: BTreeMap<(Instant, u64), Entry>,
    last_delay: u64,
}

impl Backlog {
    /// Appends a message. A redelivered message goes behind new ones, so a message that is always nacked does not
    /// starve the others.
    pub(super) fn push(&mut self, entry: Entry) {
        self.ready.push_back(entry);
    }

    pub(super) fn delay(&mut self, entry: Entry, until: Instant) {
        self.last_delay += 1;
        self.delayed.insert((until, self.last_delay), entry);
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.ready.pop_front()
    }

    /// Returns the ready message that [`Backlog::pop`] takes next.
    pub(super) fn first(&self) -> Option<&Entry> {
        self.ready.front()
    }

    /// Removes the messages that fulfil `condition`.
    pub(super) fn remove(&mut self, condition: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let (mut removed, kept) = std::mem::take(&mut self.ready).into_iter().partition::<Vec<_>, _>(&condition);
        self.ready = kept.into();
        removed.extend(self.delayed.extract_if(.., |_, entry| condition(entry)).map(|(_, entry)| entry));
        removed
    }

    /// Swaps a ready message with the first one.
    pub(super) fn swap_to_front(&mut self, position: usize) {
        if position < self.ready.len() {
            self.ready.swap(0, position);
        }
    }

    /// Makes the messages ready whose backoff is over.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(first) = self.delayed.first_entry().filter(|first| first.key().0 <= now) {
            self.ready.push_back(first.remove());
        }
    }

    pub(super) fn next_ready(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((until, _), _)| *until)
    }

    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn delayed(&self) -> usize {
        self.delayed.len()
    }
}
