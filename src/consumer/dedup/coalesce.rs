//! One write a key at a time: a scan whose key is being written waits, and of those that wait only the newest is
//! written. Pure: no clock, no I/O, and no knowledge of what a receipt is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::scan::Key;

/// A scan on its way to the store, with what it holds meanwhile.
pub(super) trait Work {
    /// What is left of it once a newer scan has taken its place: the right to settle, without payload and slot.
    type Receipt;

    fn key(&self) -> &Key;
    fn timestamp(&self) -> u64;
    fn receipt(&self) -> &Self::Receipt;
    fn into_receipt(self) -> Self::Receipt;
}

/// What becomes of a scan that was just decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission<W> {
    /// Its key is free: write it, and call [`Coalescer::finish`] afterwards.
    Write(W),
    /// It waits, or is carried by a scan that is at least as new; whoever writes its key settles it.
    Waits,
}

/// The keys that are being written.
pub(super) struct Coalescer<W: Work> {
    keys: HashMap<Key, Writing<W>>,
}

struct Writing<W: Work> {
    /// Of the scan that is being written.
    timestamp: u64,
    /// Receipts of scans at most as new, which settle with it.
    carried: Vec<W::Receipt>,
    /// The newest of those that wait: newer than the one being written.
    waiting: Option<Waiting<W>>,
}

struct Waiting<W: Work> {
    work: W,
    carried: Vec<W::Receipt>,
}

impl<W: Work> Default for Coalescer<W> {
    fn default() -> Coalescer<W> {
        Coalescer { keys: HashMap::new() }
    }
}

impl<W: Work> Coalescer<W> {
    /// Takes a scan in. Of equal timestamps the first stays, as in the condition of the write.
    pub(super) fn admit(&mut self, work: W) -> Admission<W> {
        let writing = match self.keys.entry(work.key().clone()) {
            Entry::Vacant(free) => {
                free.insert(Writing { timestamp: work.timestamp(), carried: Vec::new(), waiting: None });
                return Admission::Write(work);
            }
            Entry::Occupied(taken) => taken.into_mut(),
        };
        if work.timestamp() <= writing.timestamp {
            writing.carried.push(work.into_receipt());
            return Admission::Waits;
        }
        writing.waiting = Some(match writing.waiting.take() {
            None => Waiting { work, carried: Vec::new() },
            Some(waiting) if work.timestamp() <= waiting.work.timestamp() => waiting.joined_by(work),
            Some(waiting) => waiting.superseded_by(work),
        });
        Admission::Waits
    }

    /// The scan to write in the next attempt: this one, or the newest that waits behind it, which then carries it.
    pub(super) fn newest(&mut self, work: W) -> W {
        let Some(writing) = self.keys.get_mut(work.key()) else { return work };
        let Some(waiting) = writing.waiting.take() else { return work };
        writing.timestamp = waiting.work.timestamp();
        writing.carried.push(work.into_receipt());
        writing.carried.extend(waiting.carried);
        waiting.work
    }

    /// The write of this key is over: the receipts that settle with it, and the scan to write next, if one waits.
    /// Without one the key is free.
    pub(super) fn finish(&mut self, key: &Key) -> (Vec<W::Receipt>, Option<W>) {
        let Some(writing) = self.keys.get_mut(key) else { return (Vec::new(), None) };
        let carried = std::mem::take(&mut writing.carried);
        let Some(waiting) = writing.waiting.take() else {
            self.keys.remove(key);
            return (carried, None);
        };
        writing.timestamp = waiting.work.timestamp();
        writing.carried = waiting.carried;
        (carried, Some(waiting.work))
    }

    /// The write of this key ends without an answer: everything that was parked with it.
    pub(super) fn abandon(&mut self, key: &Key) -> Vec<W::Receipt> {
        let Some(mut writing) = self.keys.remove(key) else { return Vec::new() };
        if let Some(waiting) = writing.waiting {
            writing.carried.extend(waiting.carried);
            writing.carried.push(waiting.work.into_receipt());
        }
        writing.carried
    }

    /// Takes out what `old` picks of all that is parked, to be settled by itself: carried alone, and a scan that waits
    /// together with its carried.
    pub(super) fn take_old(&mut self, mut old: impl FnMut(&W::Receipt) -> bool) -> Vec<W::Receipt> {
        let mut taken = Vec::new();
        for writing in self.keys.values_mut() {
            taken.extend(writing.carried.extract_if(.., |receipt| old(receipt)));
            if let Some(waiting) = writing.waiting.take_if(|waiting| old(waiting.work.receipt())) {
                taken.extend(waiting.carried);
                taken.push(waiting.work.into_receipt());
            }
            if let Some(waiting) = &mut writing.waiting {
                taken.extend(waiting.carried.extract_if(.., |receipt| old(receipt)));
            }
        }
        taken
    }
}

impl<W: Work> Waiting<W> {
    fn joined_by(mut self, older: W) -> Waiting<W> {
        self.carried.push(older.into_receipt());
        self
    }

    fn superseded_by(mut self, newer: W) -> Waiting<W> {
        self.carried.push(self.work.into_receipt());
        Waiting { work: newer, carried: self.carried }
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

    /// What is left of a scan: its timestamp and its number.
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
    fn only_the_newest_of_those_that_wait_is_written() {
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
    fn a_scan_at_most_as_new_rides_with_the_write_in_hand() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        coalescer.admit(scan(10, 1));
        coalescer.admit(scan(9, 2));
        assert_eq!(coalescer.finish(&key(80)), (vec![(10, 1), (9, 2)], None));
    }

    #[test]
    fn of_equal_timestamps_the_first_that_waits_stays() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        coalescer.admit(scan(11, 1));
        coalescer.admit(scan(11, 2));
        assert_eq!(coalescer.finish(&key(80)), (vec![], Some(scan(11, 1))));
    }

    #[test]
    fn a_write_before_its_next_attempt_gives_way_to_a_newer_scan() {
        let mut coalescer = Coalescer::default();
        let first = written(coalescer.admit(scan(10, 0)));
        coalescer.admit(scan(12, 1));
        coalescer.admit(scan(11, 2));
        assert_eq!(coalescer.newest(first), scan(12, 1));
        coalescer.admit(scan(12, 3));
        assert_eq!(coalescer.finish(&key(80)), (vec![(10, 0), (11, 2), (12, 3)], None));
    }

    #[test]
    fn other_keys_do_not_wait() {
        let mut coalescer = Coalescer::default();
        written(coalescer.admit(scan(10, 0)));
        written(coalescer.admit(Scan { key: key(81), receipt: (10, 1) }));
    }

    #[test]
    fn an_old_rider_is_taken_out_alone() {
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
    fn an_old_scan_that_waits_is_taken_out_with_what_it_superseded() {
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
        /// Whatever comes in whatever order: every scan is written or rides, none twice, none is lost, none rides with
        /// an older one, and writes of one key never go backwards.
        #[test]
        fn every_scan_is_settled_once_by_one_at_least_as_new(steps in vec((0u8..4, 0u16..3, 0u64..6), 1..200)) {
            let mut coalescer = Coalescer::default();
            let mut unsettled: HashMap<Key, Scan> = HashMap::new();
            let mut settled = Vec::new();
            let finish = |coalescer: &mut Coalescer<Scan>, unsettled: &mut HashMap<Key, Scan>, settled: &mut Vec<usize>, key: &Key| {
                let Some(done) = unsettled.remove(key) else { return };
                let (carried, next) = coalescer.finish(key);
                for (timestamp, id) in carried {
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
                        if let Some(scan) = unsettled.remove(&key) {
                            unsettled.insert(key, coalescer.newest(scan));
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
    fn an_abandoned_write_returns_everything_that_waits_for_it_and_frees_the_key() {
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
