//! Remembers which endpoints were told of a change that must be repeated. Pure.
//!
//! While one store of deliveries fails, the record comes again and again. Those who have it must not get it each time.

use std::collections::{HashMap, HashSet, VecDeque};

use webhooks::EndpointId;

use crate::changes::EntryKey;

/// The endpoints that were told, for a bounded number of changes.
#[derive(Debug)]
pub(super) struct Unfinished {
    told: HashMap<EntryKey, HashSet<EndpointId>>,
    /// The changes in the order of their first failure.
    order: VecDeque<EntryKey>,
    endpoints: usize,
    max_endpoints: usize,
}

impl Unfinished {
    pub(super) fn new(max_endpoints: usize) -> Unfinished {
        Unfinished { told: HashMap::new(), order: VecDeque::new(), endpoints: 0, max_endpoints }
    }

    /// Takes what is known of a change.
    pub(super) fn take(&mut self, key: &EntryKey) -> HashSet<EndpointId> {
        let told = self.told.remove(key).unwrap_or_default();
        if !told.is_empty() {
            self.order.retain(|other| other != key);
        }
        self.endpoints -= told.len();
        told
    }

    /// Remembers who was told. Forgets the oldest changes if there are too many.
    pub(super) fn put(&mut self, key: EntryKey, told: HashSet<EndpointId>) {
        self.take(&key);
        if told.is_empty() || told.len() > self.max_endpoints {
            return;
        }
        self.endpoints += told.len();
        self.told.insert(key.clone(), told);
        self.order.push_back(key);
        while self.endpoints > self.max_endpoints {
            let Some(oldest) = self.order.front().cloned() else { return };
            self.take(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Sequence;
    use crate::scan::Key;

    fn key(time: u64) -> EntryKey {
        EntryKey { service: Key::new([1, 1, 1, 1].into(), 80, "HTTP"), time, sequence: Sequence::none() }
    }

    fn endpoints(numbers: std::ops::Range<u32>) -> HashSet<EndpointId> {
        numbers.map(|number| EndpointId::parse(format!("wh_{number}")).unwrap()).collect()
    }

    #[test]
    fn who_was_told_is_remembered_once() {
        let mut unfinished = Unfinished::new(10);
        unfinished.put(key(1), endpoints(0..3));
        assert_eq!(unfinished.take(&key(1)), endpoints(0..3));
        assert_eq!(unfinished.take(&key(1)), endpoints(0..0));
    }

    #[test]
    fn the_oldest_changes_are_forgotten_above_the_limit() {
        let mut unfinished = Unfinished::new(10);
        unfinished.put(key(1), endpoints(0..4));
        unfinished.put(key(2), endpoints(0..4));
        unfinished.put(key(2), endpoints(0..5));
        unfinished.put(key(3), endpoints(0..5));
        unfinished.put(key(4), endpoints(0..11));
        let known = [1, 2, 3, 4].map(|time| unfinished.take(&key(time)).len());
        assert_eq!(known, [0, 5, 5, 0]);
        assert_eq!((unfinished.endpoints, unfinished.order.len()), (0, 0));
    }
}
