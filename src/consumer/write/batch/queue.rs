//! The scans that wait for a call: when the next batch closes, and which scans it contains. Pure: the time is an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::decision::Next;
use crate::consumer::ports::{MAX_STATEMENTS, Verb};
use crate::scan::Scan;

/// Larger calls are slow, and save nothing more. A larger scan is sent alone.
const MAX_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Queue {
    linger: Duration,
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// A waiting scan.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) scan: Arc<Scan>,
    /// The right verb if it is known; otherwise the forecast chooses it.
    pub(super) verb: Option<Verb>,
    /// Dropped without an answer if the scan is late.
    pub(super) answer: oneshot::Sender<Next>,
    /// It is not sent after this time.
    pub(super) deadline: Instant,
    pub(super) since: Instant,
}

impl Entry {
    fn bytes(&self) -> usize {
        let Scan { key, response, response_bytes, .. } = &*self.scan;
        key.as_str().len() + response.len() + response_bytes.as_ref().map_or(0, Vec::len)
    }
}

impl Queue {
    pub(super) fn new(linger: Duration) -> Queue {
        Queue { linger, entries: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    /// Removes scans whose deadline has passed or whose write was dropped.
    pub(super) fn remove_late(&mut self, now: Instant) {
        for _ in 0..self.entries.len() {
            if let Some(entry) = self.pop(now) {
                self.bytes += entry.bytes();
                self.entries.push_back(entry);
            }
        }
    }

    /// Removes the first scan. Returns it unless its deadline has passed or its write was dropped.
    fn pop(&mut self, now: Instant) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes();
        Some(entry).filter(|entry| entry.deadline > now && !entry.answer.is_closed())
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_STATEMENTS || self.bytes >= MAX_BYTES
    }

    /// Returns when the next batch closes: at once if it is full or no call is in flight, otherwise after the linger time of
    /// its first scan.
    pub(super) fn closes_at(&self, is_idle: bool) -> Option<Instant> {
        let first = self.entries.front()?;
        Some(if is_idle || self.is_full() { first.since } else { first.since + self.linger })
    }

    /// Removes and returns the next batch: in order, within the limits, no key twice, and without late or dropped scans.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Entry> {
        let mut batch: Vec<Entry> = Vec::with_capacity(self.entries.len().min(MAX_STATEMENTS));
        let mut bytes = 0;
        let mut postponed = Vec::new();
        while batch.len() < MAX_STATEMENTS && !self.entries.is_empty() {
            let Some(entry) = self.pop(now) else { continue };
            let size = entry.bytes();
            if !batch.is_empty() && bytes + size > MAX_BYTES {
                postponed.push(entry);
                break;
            }
            if batch.iter().any(|other| other.scan.key == entry.scan.key) {
                // DynamoDB refuses a call that contains a key twice.
                postponed.push(entry);
                continue;
            }
            bytes += size;
            batch.push(entry);
        }
        for entry in postponed.into_iter().rev() {
            self.bytes += entry.bytes();
            self.entries.push_front(entry);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::scan::{DataVersion, Key};

    const LINGER: Duration = Duration::from_millis(2);
    const DEADLINE: Duration = Duration::from_secs(60);

    struct Waiting {
        queue: Queue,
        /// The receivers of the answers, in the order of the scans.
        answers: Vec<oneshot::Receiver<Next>>,
        start: Instant,
    }

    impl Waiting {
        fn new() -> Waiting {
            Waiting { queue: Queue::new(LINGER), answers: Vec::new(), start: Instant::now() }
        }

        fn fill(&mut self, ports: impl IntoIterator<Item = u16>, bytes: usize) {
            for port in ports {
                self.push(port, bytes);
            }
        }

        fn push(&mut self, port: u16, bytes: usize) {
            let scan = Scan {
                key: Key::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port, "HTTP"),
                timestamp: self.answers.len() as u64,
                data_version: DataVersion::V2,
                response: "x".repeat(bytes),
                response_bytes: None,
            };
            let (answer, answered) = oneshot::channel();
            self.answers.push(answered);
            let (deadline, since) = (self.start + DEADLINE, self.start);
            self.queue.push(Entry { scan: Arc::new(scan), verb: None, answer, deadline, since });
        }

        fn take(&mut self) -> Vec<u16> {
            self.queue.take(self.start).iter().map(|entry| entry.scan.key.port().parse().unwrap()).collect()
        }
    }

    #[test]
    fn a_batch_closes_at_once_while_no_call_is_in_flight() {
        let mut waiting = Waiting::new();
        assert_eq!(waiting.queue.closes_at(true), None);
        waiting.push(1, 10);
        assert_eq!(waiting.queue.closes_at(true), Some(waiting.start));
    }

    #[test]
    fn while_a_call_is_in_flight_a_batch_closes_after_the_linger_time_or_when_full() {
        let mut waiting = Waiting::new();
        waiting.fill(1..25, 10);
        assert_eq!(waiting.queue.closes_at(false), Some(waiting.start + LINGER));
        waiting.push(25, 10);
        assert_eq!(waiting.queue.closes_at(false), Some(waiting.start));
    }

    #[test]
    fn a_batch_of_one_megabyte_is_full() {
        let mut waiting = Waiting::new();
        waiting.fill(1..=3, 400_000);
        assert_eq!(waiting.queue.closes_at(false), Some(waiting.start));
        assert_eq!(waiting.take(), [1, 2], "the third would exceed the limit");
        assert_eq!(waiting.queue.closes_at(false), Some(waiting.start + LINGER));
    }

    #[test]
    fn two_scans_of_one_key_are_sent_in_two_batches() {
        let mut waiting = Waiting::new();
        waiting.fill([1, 2, 1, 3, 1], 10);
        assert_eq!([waiting.take(), waiting.take(), waiting.take()], [vec![1, 2, 3], vec![1], vec![1]]);
    }

    #[test]
    fn a_dropped_scan_is_not_sent() {
        let mut waiting = Waiting::new();
        waiting.fill(1..=3, 10);
        drop(waiting.answers.remove(1));
        assert_eq!(waiting.take(), [1, 3]);
    }

    #[test]
    fn a_scan_is_not_sent_after_its_deadline() {
        let mut waiting = Waiting::new();
        waiting.fill([1], 10);
        waiting.start += Duration::from_secs(1);
        waiting.fill([2, 3], 10);
        waiting.queue.remove_late(waiting.start + DEADLINE - Duration::from_secs(1));
        assert_eq!(waiting.answers[0].try_recv(), Err(TryRecvError::Closed));
        assert_eq!(waiting.queue.len(), 2);
        assert!(waiting.queue.take(waiting.start + DEADLINE).is_empty());
        assert_eq!([1, 2].map(|index| waiting.answers[index].try_recv()), [(); 2].map(|()| Err(TryRecvError::Closed)));
        assert_eq!(waiting.queue.bytes, 0);
    }

    proptest! {
        /// Every waiting scan is sent exactly once, within the limits, and scans of one key in their order.
        #[test]
        fn every_scan_is_in_one_batch_within_the_bounds(scans in vec((1u16..40, 0usize..600_000), 1..80)) {
            let mut waiting = Waiting::new();
            scans.iter().for_each(|(port, bytes)| waiting.fill([*port], *bytes));
            let mut sent = Vec::new();
            while waiting.queue.closes_at(true).is_some() {
                let batch = waiting.queue.take(waiting.start);
                let keys: HashSet<_> = batch.iter().map(|entry| &entry.scan.key).collect();
                prop_assert_eq!(keys.len(), batch.len());
                prop_assert!((1..=MAX_STATEMENTS).contains(&batch.len()));
                prop_assert!(batch.len() == 1 || batch.iter().map(Entry::bytes).sum::<usize>() <= MAX_BYTES);
                sent.extend(batch.iter().map(|entry| (entry.scan.key.clone(), entry.scan.timestamp)));
            }
            prop_assert_eq!(waiting.queue.bytes, 0);
            prop_assert_eq!(sent.len(), scans.len());
            sent.sort_by_key(|(key, _)| key.as_str().to_owned());
            prop_assert!(sent.chunk_by(|a, b| a.0 == b.0).all(|of_key| of_key.is_sorted_by_key(|(_, came)| came)));
        }
    }

    #[test]
    fn the_exact_bytes_of_a_response_count_toward_the_size_of_a_batch() {
        let mut waiting = Waiting::new();
        waiting.fill(1..=3, 10);
        for mut entry in waiting.queue.take(waiting.start) {
            Arc::get_mut(&mut entry.scan).unwrap().response_bytes = Some(vec![0xff; 400_000]);
            waiting.queue.push(entry);
        }
        assert!(waiting.queue.is_full());
        assert_eq!(waiting.take(), [1, 2]);
    }

    #[test]
    fn a_batch_has_at_most_the_statements_of_one_call() {
        let mut waiting = Waiting::new();
        waiting.fill(1..=30, 10);
        assert_eq!([waiting.take().len(), waiting.take().len()], [MAX_STATEMENTS, 5]);
    }
}
