//! One write per key at a time: a scan whose key is being written waits, and of the waiting scans only the newest is written.
//! Pure: no clock and no I/O. Knows nothing of what a receipt is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::scan::Key;

/// A scan to write, with the resources that it holds.
pub(super) trait Work {
    /// What remains when a newer scan supersedes it: the right to settle the message, without payload and slot.
    type Receipt;

    fn key(&self) -> &Key;
    fn timestamp(&self) -> u64;
    fn receipt(&self) -> &Self::Receipt;
    fn into_receipt(self) -> Self::Receipt;
}

/// What to do with a decoded scan.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission<W> {
    /// Write it, because nobody writes its key. Call [`Coalescer::finish`] afterwards.
    Write(W),
    /// Nothing: it waits, or a scan that is at least as new supersedes it. The task that writes its key settles it.
    Waits,
}

/// The keys that are being written.
pub(super) struct Coalescer<W: Work> {
    keys: HashMap<Key, Writing<W>>,
}

struct Writing<W: Work> {
    /// The timestamp of the scan that is being written.
    timestamp: u64,
    /// The receipts of scans that are not newer. They are settled with it.
    superseded: Vec<W::Receipt>,
    /// The newest waiting scan, which is newer than the one being written.
    waiting: Option<Waiting<W>>,
}

struct Waiting<W: Work> {
    work: W,
    superseded: Vec<W::Receipt>,
}

impl<W: Work> Default for Coalescer<W> {
    fn default() -> Coalescer<W> {
        Coalescer { keys: HashMap::new() }
    }
}

impl<W: Work> Coalescer<W> {
    /// Admits a scan. Of equal timestamps the first is written, as in the condition of the write.
    pub(super) fn admit(&mut self, work: W) -> Admission<W> {
        let writing = match self.keys.entry(work.key().clone()) {
            Entry::Vacant(free) => {
                free.insert(Writing { timestamp: work.timestamp(), superseded: Vec::new(), waiting: None });
                return Admission::Write(work);
            }
            Entry::Occupied(taken) => taken.into_mut(),
        };
        if work.timestamp() <= writing.timestamp {
            writing.superseded.push(work.into_receipt());
            return Admission::Waits;
        }
        writing.waiting = Some(match writing.waiting.take() {
            None => Waiting { work, superseded: Vec::new() },
            Some(waiting) if work.timestamp() <= waiting.work.timestamp() => waiting.superseding(work),
            Some(waiting) => waiting.replaced_by(work),
        });
        Admission::Waits
    }

    /// Replaces the scan to write in the next attempt by a newer waiting scan, which supersedes it.
    pub(super) fn take_newest(&mut self, work: &mut W) {
        let Some(writing) = self.keys.get_mut(work.key()) else { return };
        let Some(waiting) = writing.waiting.take() else { return };
        writing.timestamp = waiting.work.timestamp();
        writing.superseded.push(std::mem::replace(work, waiting.work).into_receipt());
        writing.superseded.extend(waiting.superseded);
    }

    /// Ends the write of this key. Returns the receipts to settle with it, and the scan to write next. The key is free if no
    /// scan waits.
    pub(super) fn finish(&mut self, key: &Key) -> (Vec<W::Receipt>, Option<W>) {
        let Some(writing) = self.keys.get_mut(key) else { return (Vec::new(), None) };
        let superseded = std::mem::take(&mut writing.superseded);
        let Some(waiting) = writing.waiting.take() else {
            self.keys.remove(key);
            return (superseded, None);
        };
        writing.timestamp = waiting.work.timestamp();
        writing.superseded = waiting.superseded;
        (superseded, Some(waiting.work))
    }

    /// Ends the write of this key without an answer, and frees the key. Returns the receipts of all superseded and waiting
    /// scans.
    pub(super) fn abandon(&mut self, key: &Key) -> Vec<W::Receipt> {
        let Some(mut writing) = self.keys.remove(key) else { return Vec::new() };
        if let Some(waiting) = writing.waiting {
            writing.superseded.extend(waiting.superseded);
            writing.superseded.push(waiting.work.into_receipt());
        }
        writing.superseded
    }

    /// Removes the receipts for which `is_old` returns true, so that they can be settled separately. A waiting scan is removed
    /// together with those that it supersedes.
    pub(super) fn take_old(&mut self, mut is_old: impl FnMut(&W::Receipt) -> bool) -> Vec<W::Receipt> {
        let mut taken = Vec::new();
        for writing in self.keys.values_mut() {
            taken.extend(writing.superseded.extract_if(.., |receipt| is_old(receipt)));
            if let Some(waiting) = writing.waiting.take_if(|waiting| is_old(waiting.work.receipt())) {
                taken.extend(waiting.superseded);
                taken.push(waiting.work.into_receipt());
            }
            if let Some(waiting) = &mut writing.waiting {
                taken.extend(waiting.superseded.extract_if(.., |receipt| is_old(receipt)));
            }
        }
        taken
    }
}

impl<W: Work> Waiting<W> {
    fn superseding(mut self, older: W) -> Waiting<W> {
        self.superseded.push(older.into_receipt());
        self
    }

    fn replaced_by(mut self, newer: W) -> Waiting<W> {
        self.superseded.push(self.work.into_receipt());
        Waiting { work: newer, superseded: self.superseded }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Scan {
        key: Key,
        receipt: Receipt,
    }

    /// The timestamp and the number of a scan.
    type Receipt = (u64, usize);

    impl Work for Scan {
        type Receipt = Receipt;

        fn key(&self) -> &Key {
            &self.key
        }

        fn timestamp(&self) -> u64 {
            self.receipt.0
        }

        fn receipt(&self) -> &Receipt {
            &self.receipt
        }

        fn into_receipt(self) -> Receipt {
            self.receipt
        }
    }

    fn key(port: u16) -> Key {
        Key::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port, "HTTP")
    }

    fn scan(timestamp: u64, id: usize) -> Scan {
        Scan { key: key(80), receipt: (timestamp, id) }
    }

    fn written(admission: Admission<Scan>) -> Scan {
        match admission {
            Admission::Write(scan) => scan,
            Admission::Waits => panic!("the key is not free"),
        }
    }

    #[test]
    fn of_the_waiting_scans_only_the_newest_is_written() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        for (timestamp, id) in [(11, 1), (13, 2), (12, 3)] {
            assert_eq!(coalescer.admit(scan(timestamp, id)), Admission::Waits);
        }
        assert_eq!(coalescer.finish(&key(80)), (vec![], Some(scan(13, 2))));
        assert_eq!(coalescer.finish(&key(80)), (vec![(11, 1), (12, 3)], None));
        written(coalescer.admit(scan(1, 4)));
    }

    #[test]
    fn the_write_in_flight_supersedes_scans_that_are_at_most_as_new() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        coalescer.admit(scan(10, 1));
        coalescer.admit(scan(9, 2));
        assert_eq!(coalescer.finish(&key(80)), (vec![(10, 1), (9, 2)], None));
    }

    #[test]
    fn of_equal_timestamps_the_first_waiting_scan_is_written() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        coalescer.admit(scan(11, 1));
        coalescer.admit(scan(11, 2));
        assert_eq!(coalescer.finish(&key(80)), (vec![], Some(scan(11, 1))));
    }

    #[test]
    fn a_newer_scan_supersedes_a_write_before_its_next_attempt() {
        let mut coalescer = Coalescer::default();
        let mut work = written(coalescer.admit(scan(10, 0)));
        coalescer.admit(scan(12, 1));
        coalescer.admit(scan(11, 2));
        coalescer.take_newest(&mut work);
        assert_eq!(work, scan(12, 1));
        coalescer.admit(scan(12, 3));
        assert_eq!(coalescer.finish(&key(80)), (vec![(10, 0), (11, 2), (12, 3)], None));
    }

    #[test]
    fn scans_of_other_keys_do_not_wait() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        written(coalescer.admit(Scan { key: key(81), receipt: (10, 1) }));
    }

    #[test]
    fn takes_out_an_old_superseded_scan_alone() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        for (timestamp, id) in [(9, 1), (12, 2), (11, 3), (8, 4)] {
            coalescer.admit(scan(timestamp, id));
        }
        let mut taken = coalescer.take_old(|receipt| [1, 3].contains(&receipt.1));
        taken.sort();
        assert_eq!(taken, [(9, 1), (11, 3)]);
        assert_eq!(coalescer.finish(&key(80)), (vec![(8, 4)], Some(scan(12, 2))));
    }

    #[test]
    fn takes_out_an_old_waiting_scan_with_those_it_superseded() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        for (timestamp, id) in [(12, 1), (11, 2), (9, 3)] {
            coalescer.admit(scan(timestamp, id));
        }
        let mut taken = coalescer.take_old(|receipt| receipt.1 == 1);
        taken.sort();
        assert_eq!(taken, [(11, 2), (12, 1)]);
        assert_eq!(coalescer.finish(&key(80)), (vec![(9, 3)], None));
    }

    proptest! {
        /// In any order of events, every scan is either written or superseded by one that is not older, and is settled
        /// exactly once. Writes of one key never go back in time.
        #[test]
        fn every_scan_is_settled_once_by_one_that_is_not_older(steps in vec((0u8..4, 0u16..3, 0u64..6), 1..200)) {
            let mut coalescer = Coalescer::default();
            let mut unsettled: HashMap<Key, Scan> = HashMap::new();
            let mut settled = Vec::new();
            let finish = |coalescer: &mut Coalescer<Scan>, unsettled: &mut HashMap<Key, Scan>, settled: &mut Vec<usize>, key: &Key| {
                let Some(done) = unsettled.remove(key) else { return };
                let (superseded, next) = coalescer.finish(key);
                for (timestamp, id) in superseded {
                    assert!(timestamp <= done.receipt.0);
                    settled.push(id);
                }
                if let Some(next) = next {
                    assert!(next.receipt.0 > done.receipt.0);
                    unsettled.insert(key.clone(), next);
                }
                settled.push(done.receipt.1);
            };
            let mut admitted = 0;
            for (step, port, timestamp) in steps {
                let key = key(port);
                match step {
                    0 | 1 => {
                        let scan = Scan { key: key.clone(), receipt: (timestamp, admitted) };
                        admitted += 1;
                        match coalescer.admit(scan) {
                            Admission::Write(scan) => assert!(unsettled.insert(key, scan).is_none()),
                            Admission::Waits => assert!(unsettled.contains_key(&key)),
                        }
                    }
                    2 => {
                        if let Some(scan) = unsettled.get_mut(&key) {
                            coalescer.take_newest(scan);
                        }
                    }
                    _ => finish(&mut coalescer, &mut unsettled, &mut settled, &key),
                }
            }
            for port in 0..3 {
                while unsettled.contains_key(&key(port)) {
                    finish(&mut coalescer, &mut unsettled, &mut settled, &key(port));
                }
            }
            settled.sort();
            prop_assert_eq!(settled, (0..admitted).collect::<Vec<_>>());
            prop_assert!(coalescer.keys.is_empty());
        }
    }

    #[test]
    fn abandoning_a_write_returns_all_its_receipts_and_frees_the_key() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        for (timestamp, id) in [(9, 1), (12, 2), (11, 3)] {
            coalescer.admit(scan(timestamp, id));
        }
        let mut abandoned = coalescer.abandon(&key(80));
        abandoned.sort();
        assert_eq!(abandoned, [(9, 1), (11, 3), (12, 2)]);
        written(coalescer.admit(scan(1, 4)));
    }
}
