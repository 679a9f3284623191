//! What waits for a call: when the next batch closes, and what is in it. Pure: the time is an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::verdict::Next;
use crate::consumer::port::Verb;
use crate::scan::Scan;

/// DynamoDB's bound on the statements of a call.
pub const MOST_STATEMENTS: usize = 25;

/// Beyond it a call gets slow, and its fixed cost no longer counts. One scan is always taken.
const MOST_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Queue {
    linger: Duration,
    entries: VecDeque<Entry>,
    bytes: usize,
    pushed: u64,
}

/// A scan that waits for its answer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) scan: Arc<Scan>,
    /// Where it is known; the forecast's otherwise.
    pub(super) verb: Option<Verb>,
    pub(super) answer: oneshot::Sender<Next>,
    since: Instant,
    number: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        let Scan { key, response, response_bytes, .. } = &*self.scan;
        key.as_str().len() + response.len() + response_bytes.as_ref().map_or(0, Vec::len)
    }
}

impl Queue {
    pub(super) fn new(linger: Duration) -> Queue {
        Queue { linger, entries: VecDeque::new(), bytes: 0, pushed: 0 }
    }

    /// The number by which it can be withdrawn.
    pub(super) fn push(
        &mut self,
        scan: Arc<Scan>,
        verb: Option<Verb>,
        answer: oneshot::Sender<Next>,
        now: Instant,
    ) -> u64 {
        self.pushed += 1;
        let entry = Entry { scan, verb, answer, since: now, number: self.pushed };
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        self.pushed
    }

    /// Takes a scan back; false when it is in a call already.
    pub(super) fn withdraw(&mut self, number: u64) -> bool {
        let Ok(position) = self.entries.binary_search_by_key(&number, |entry| entry.number) else { return false };
        if let Some(entry) = self.entries.remove(position) {
            self.bytes -= entry.bytes();
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MOST_STATEMENTS || self.bytes >= MOST_BYTES
    }

    /// When the next batch closes: at once if it is full or no call is in flight, else when its first scan has lingered.
    pub(super) fn closes_at(&self, is_idle: bool) -> Option<Instant> {
        let first = self.entries.front()?;
        Some(if is_idle || self.is_full() { first.since } else { first.since + self.linger })
    }

    /// The next batch: in their order, within the bounds, no key twice, and none that nobody waits for any more.
    pub(super) fn take(&mut self) -> Vec<Entry> {
        let mut batch: Vec<Entry> = Vec::with_capacity(self.entries.len().min(MOST_STATEMENTS));
        let mut bytes = 0;
        let mut skipped = Vec::new();
        while batch.len() < MOST_STATEMENTS
            && let Some(entry) = self.entries.pop_front()
        {
            let size = entry.bytes();
            if entry.answer.is_closed() {
                self.bytes -= size;
            } else if batch.iter().any(|other| other.scan.key == entry.scan.key) {
                // The store would refuse the whole call.
                skipped.push(entry);
            } else if !batch.is_empty() && bytes + size > MOST_BYTES {
                self.entries.push_front(entry);
                break;
            } else {
                bytes += size;
                self.bytes -= size;
                batch.push(entry);
            }
        }
        skipped.into_iter().rev().for_each(|entry| self.entries.push_front(entry));
        batch
    }
}
