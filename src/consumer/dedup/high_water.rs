//! A bounded cache of the newest durable timestamp of each key, so that older scans need no write. Pure: the time is an
//! argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::scan::Key;

/// Keys are stored and compared in full, because a wrong answer would lose a scan.
///
/// There are two generations, each with half of the entries. A new or updated entry is in the young generation. When that is
/// full, it becomes the old generation, and the previous old one is evicted.
#[derive(Debug)]
pub(super) struct HighWater {
    generation: usize,
    max_age: Duration,
    start: Instant,
    young: Marks,
    old: Marks,
}

/// By the text of the key, which identifies it.
type Marks = HashMap<Box<str>, Mark>;

#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    timestamp: u64,
    /// When the store answered, in seconds since the start. A mark is trusted for a limited time, because somebody can change
    /// rows by hand.
    recorded: u32,
}

impl HighWater {
    /// Creates a cache of at most this many entries; 0 turns it off.
    pub(super) fn new(entries: usize, max_age: Duration, start: Instant) -> HighWater {
        HighWater { generation: entries.div_ceil(2), max_age, start, young: Marks::new(), old: Marks::new() }
    }

    /// Records that the store holds this timestamp or a newer one. Call it only after an answer of the store that proves it.
    pub(super) fn record(&mut self, key: &Key, timestamp: u64, now: Instant) {
        if self.generation == 0 {
            return;
        }
        let age = now.duration_since(self.start).as_secs();
        let mark = Mark { timestamp, recorded: u32::try_from(age).unwrap_or(u32::MAX) };
        if let Some(known) = self.young.get_mut(key.as_str()) {
            if timestamp >= known.timestamp {
                *known = mark;
            }
            return;
        }
        let newer = self.old.remove(key.as_str()).filter(|known| known.timestamp > timestamp);
        if self.young.len() >= self.generation {
            // Swapping reuses the allocated memory.
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key.as_str().into(), newer.unwrap_or(mark));
    }

    /// Returns the mark of a key, whether it is still trusted or not.
    pub(super) fn mark(&self, key: &Key) -> Option<Mark> {
        self.young.get(key.as_str()).or_else(|| self.old.get(key.as_str())).copied()
    }

    /// Returns whether this mark proves that the store holds this timestamp or a newer one.
    pub(super) fn covers(&self, mark: Mark, timestamp: u64, now: Instant) -> bool {
        let age = now.duration_since(self.start).saturating_sub(Duration::from_secs(mark.recorded.into()));
        timestamp <= mark.timestamp && age < self.max_age
    }

    /// Removes every entry, because the table may have been replaced by another.
    pub(super) fn clear(&mut self) {
        self.young = Marks::new();
        self.old = Marks::new();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(600);

    fn key(port: u16) -> Key {
        Key::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port, "HTTP")
    }

    fn covers(marks: &HighWater, key: &Key, timestamp: u64, now: Instant) -> bool {
        marks.mark(key).is_some_and(|mark| marks.covers(mark, timestamp, now))
    }

    #[test]
    fn an_older_or_equal_scan_is_covered_and_a_newer_one_never() {
        let now = Instant::now();
        let mut marks = HighWater::new(10, MAX_AGE, now);
        marks.record(&key(1), 10, now);
        assert!(covers(&marks, &key(1), 9, now) && covers(&marks, &key(1), 10, now));
        assert!(!covers(&marks, &key(1), 11, now) && !covers(&marks, &key(2), 9, now));
    }

    #[test]
    fn an_older_timestamp_does_not_replace_a_newer_one() {
        let now = Instant::now();
        let mut marks = HighWater::new(10, MAX_AGE, now);
        marks.record(&key(1), 10, now);
        marks.record(&key(1), 5, now);
        assert!(covers(&marks, &key(1), 10, now));
    }

    #[test]
    fn a_mark_is_trusted_until_its_maximum_age() {
        let now = Instant::now();
        let mut marks = HighWater::new(10, MAX_AGE, now);
        marks.record(&key(1), 10, now);
        assert!(covers(&marks, &key(1), 10, now + MAX_AGE - Duration::from_millis(1)));
        assert!(!covers(&marks, &key(1), 10, now + MAX_AGE));
    }

    #[test]
    fn covers_nothing_without_entries_or_after_clear() {
        let now = Instant::now();
        let mut off = HighWater::new(0, MAX_AGE, now);
        off.record(&key(1), 10, now);
        assert!(!covers(&off, &key(1), 10, now));
        let mut marks = HighWater::new(10, MAX_AGE, now);
        marks.record(&key(1), 10, now);
        marks.clear();
        assert!(!covers(&marks, &key(1), 10, now));
    }

    /// Checks the memory per entry that the documentation names. It measures the whole process, so `make check-slow` runs it
    /// alone.
    #[test]
    #[ignore = "measures"]
    fn an_entry_takes_about_120_bytes() {
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
            statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
        };
        let now = Instant::now();
        for entries in [100_000, 1_000_000] {
            let before = resident();
            let mut marks = HighWater::new(entries, MAX_AGE, now);
            for n in 0..u32::try_from(2 * entries).unwrap() {
                let ip = IpAddr::V4(Ipv4Addr::from(n.wrapping_mul(0x9E37_79B1)));
                marks.record(&Key::new(ip, 443, "HTTPS"), 1_700_000_000, now);
            }
            assert_eq!(marks.young.len() + marks.old.len(), entries);
            let bytes = (resident() - before) / entries;
            println!("{entries} entries: {bytes} bytes each");
            assert!((100..130).contains(&bytes), "{bytes} bytes each");
        }
    }

    proptest! {
        /// After any sequence of records, it never covers a timestamp above all that were recorded for the key, it never
        /// exceeds its limit, and it covers the latest record.
        #[test]
        fn it_never_covers_a_newer_scan(records in vec((0u16..50, 0u64..100), 1..300), entries in 1usize..40) {
            let now = Instant::now();
            let mut marks = HighWater::new(entries, MAX_AGE, now);
            let mut newest: HashMap<u16, u64> = HashMap::new();
            for (port, timestamp) in records {
                marks.record(&key(port), timestamp, now);
                let newest = newest.entry(port).or_default();
                *newest = timestamp.max(*newest);
                prop_assert!(!covers(&marks, &key(port), *newest + 1, now));
                prop_assert!(covers(&marks, &key(port), timestamp, now));
                prop_assert!(marks.young.len() + marks.old.len() <= 2 * entries.div_ceil(2));
            }
        }
    }

    #[test]
    fn an_older_timestamp_does_not_replace_a_newer_one_of_the_old_generation() {
        let now = Instant::now();
        let mut marks = HighWater::new(2, MAX_AGE, now);
        marks.record(&key(1), 10, now);
        marks.record(&key(2), 10, now);
        assert!(marks.old.contains_key(key(1).as_str()));
        marks.record(&key(1), 5, now);
        assert!(covers(&marks, &key(1), 10, now));
    }

    #[test]
    fn recording_the_same_timestamp_again_renews_its_age_in_both_generations() {
        let start = Instant::now();
        let later = start + MAX_AGE / 2;
        let mut marks = HighWater::new(2, MAX_AGE, start);
        marks.record(&key(1), 10, start);
        marks.record(&key(2), 10, start);
        assert!(marks.old.contains_key(key(1).as_str()) && marks.young.contains_key(key(2).as_str()));
        marks.record(&key(2), 10, later);
        marks.record(&key(1), 10, later);
        for port in [1, 2] {
            assert!(covers(&marks, &key(port), 10, start + MAX_AGE), "port {port}");
            assert!(!covers(&marks, &key(port), 10, later + MAX_AGE), "port {port}");
        }
    }
}
