//! The messages of a subscription that nobody holds: those that wait to be delivered, in order of arrival, and those
//! that wait for their backoff to end. Pure.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tokio::time::Instant;

/// One message of one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// As [`super::message::seal`] encoded it.
    pub(super) message: Bytes,
    /// How often it was delivered and not acknowledged.
    pub(super) attempts: u32,
    /// A second copy that a fault made; it is not doubled again.
    pub(super) twin: bool,
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    ready: VecDeque<Entry>,
    /// By the time it becomes ready; the number keeps entries of the same time apart and in order.
    delayed: BTreeMap<(Instant, u64), Entry>,
    delayed_ever: u64,
}

impl Backlog {
    /// To the back: what was delivered before goes behind what was not, so a message that is always nacked never
    /// starves the others.
    pub(super) fn push(&mut self, entry: Entry) {
        self.ready.push_back(entry);
    }

    pub(super) fn delay(&mut self, entry: Entry, until: Instant) {
        self.delayed_ever += 1;
        self.delayed.insert((until, self.delayed_ever), entry);
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.ready.pop_front()
    }

    /// Brings another of the ready messages to the front.
    pub(super) fn bring_forward(&mut self, position: usize) {
        if position < self.ready.len() {
            self.ready.swap(0, position);
        }
    }

    /// Makes ready what has waited long enough.
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
