//! What waits for a call: when the next batch closes, and what is in it. Pure: the time is an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::decision::Next;
use crate::consumer::ports::{MAX_STATEMENTS, Verb};
use crate::scan::Scan;

/// Beyond it a call gets slow, and its fixed cost no longer counts. One scan is always taken.
const MOST_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Queue {
    linger: Duration,
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// A scan that waits for its answer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) scan: Arc<Scan>,
    /// Where it is known; the forecast's otherwise.
    pub(super) verb: Option<Verb>,
    pub(super) answer: oneshot::Sender<Next>,
    /// From then on it is not sent any more.
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

    /// Answers those whose deadline has come, and forgets those that nobody waits for any more.
    pub(super) fn give_up_late(&mut self, now: Instant) {
        for _ in 0..self.entries.len() {
            if let Some(entry) = self.pop(now) {
                self.bytes += entry.bytes();
                self.entries.push_back(entry);
            }
        }
    }

    /// The first, unless it is too late for it.
    fn pop(&mut self, now: Instant) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes();
        if entry.deadline > now {
            return Some(entry).filter(|entry| !entry.answer.is_closed());
        }
        // Nobody may wait for it any more.
        let _ = entry.answer.send(Next::Late);
        None
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_STATEMENTS || self.bytes >= MOST_BYTES
    }

    /// When the next batch closes: at once if it is full or no call is in flight, else when its first scan has lingered.
    pub(super) fn closes_at(&self, is_idle: bool) -> Option<Instant> {
        let first = self.entries.front()?;
        Some(if is_idle || self.is_full() { first.since } else { first.since + self.linger })
    }

    /// The next batch: in their order, within the bounds, no key twice, and none that is late or that nobody waits for.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Entry> {
        let mut batch: Vec<Entry> = Vec::with_capacity(self.entries.len().min(MAX_STATEMENTS));
        let mut bytes = 0;
        let mut later = Vec::new();
        while batch.len() < MAX_STATEMENTS && !self.entries.is_empty() {
            let Some(entry) = self.pop(now) else { continue };
            let size = entry.bytes();
            if !batch.is_empty() && bytes + size > MOST_BYTES {
                later.push(entry);
                break;
            }
            if batch.iter().any(|other| other.scan.key == entry.scan.key) {
                // The store would refuse the whole call.
                later.push(entry);
                continue;
            }
            bytes += size;
            batch.push(entry);
        }
        for entry in later.into_iter().rev() {
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

    use super::*;
    use crate::scan::{DataVersion, Key};

    const LINGER: Duration = Duration::from_millis(2);
    const DEADLINE: Duration = Duration::from_secs(60);

    struct Waiting {
        queue: Queue,
        /// Of those that still wait.
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
    fn beside_a_call_it_closes_when_its_first_scan_has_lingered_or_it_is_full() {
        let mut waiting = Waiting::new();
        waiting.fill(1..25, 10);
        assert_eq!(waiting.queue.closes_at(false), Some(waiting.start + LINGER));
        waiting.push(25, 10);
        assert_eq!(waiting.queue.closes_at(false), Some(waiting.start));
    }

    #[test]
    fn a_megabyte_is_full() {
        let mut waiting = Waiting::new();
        waiting.fill(1..=3, 400_000);
        assert_eq!(waiting.queue.closes_at(false), Some(waiting.start));
        assert_eq!(waiting.take(), [1, 2], "the third would be beyond it");
        assert_eq!(waiting.queue.closes_at(false), Some(waiting.start + LINGER));
    }

    #[test]
    fn a_key_that_waits_twice_is_in_two_batches() {
        let mut waiting = Waiting::new();
        waiting.fill([1, 2, 1, 3, 1], 10);
        assert_eq!([waiting.take(), waiting.take(), waiting.take()], [vec![1, 2, 3], vec![1], vec![1]]);
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent() {
        let mut waiting = Waiting::new();
        waiting.fill(1..=3, 10);
        drop(waiting.answers.remove(1));
        assert_eq!(waiting.take(), [1, 3]);
    }

    #[test]
    fn at_its_deadline_a_scan_is_given_back_and_not_sent() {
        let mut waiting = Waiting::new();
        waiting.fill([1], 10);
        waiting.start += Duration::from_secs(1);
        waiting.fill([2, 3], 10);
        waiting.queue.give_up_late(waiting.start + DEADLINE - Duration::from_secs(1));
        assert_eq!(waiting.answers[0].try_recv(), Ok(Next::Late));
        assert_eq!(waiting.queue.len(), 2);
        assert!(waiting.queue.take(waiting.start + DEADLINE).is_empty());
        assert_eq!([1, 2].map(|place| waiting.answers[place].try_recv()), [Ok(Next::Late), Ok(Next::Late)]);
        assert_eq!(waiting.queue.bytes, 0);
    }

    proptest! {
        /// Whatever waits: each is sent once and in bounds, keys in their order, and nothing is left over.
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
                prop_assert!(batch.len() == 1 || batch.iter().map(Entry::bytes).sum::<usize>() <= MOST_BYTES);
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
    fn a_batch_takes_at_most_as_many_scans_as_a_call_has_statements() {
        let mut waiting = Waiting::new();
        waiting.fill(1..=30, 10);
        assert_eq!([waiting.take().len(), waiting.take().len()], [MAX_STATEMENTS, 5]);
    }
}
