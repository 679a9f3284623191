//! Cuts the records of a page: in the order of the index, and only as many as one response should carry. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use super::records::{MAX_BATCH, Record};
use crate::scan::Key;

/// The most records of a page: one call reads them all.
pub const MAX_PAGE_SIZE: usize = MAX_BATCH;

/// A page ends after the record with which its responses reach this size. Each record may have 400 KB.
pub(super) const MAX_PAGE_BYTES: usize = 4 << 20;

/// What is known about the keys of a page so far.
#[derive(Debug)]
pub(super) struct Found<'a> {
    keys: &'a [Key],
    /// In the order of the keys.
    states: Vec<State>,
    positions: HashMap<&'a Key, usize>,
}

#[derive(Debug)]
enum State {
    Unprocessed,
    Found(Record),
    /// It was looked up, and there is none.
    Gone,
}

impl<'a> Found<'a> {
    /// Starts with all of these keys unprocessed.
    pub(super) fn of(keys: &'a [Key]) -> Found<'a> {
        let states = keys.iter().map(|_| State::Unprocessed).collect();
        Found { keys, states, positions: keys.iter().enumerate().map(|(at, key)| (key, at)).collect() }
    }

    /// Adds the answer to a request for the unprocessed keys. Keys that were not asked for are ignored.
    pub(super) fn add(&mut self, records: Vec<Record>, unprocessed: &[Key]) {
        for record in records {
            let state = self.positions.get(&record.key).map(|at| &mut self.states[*at]);
            if let Some(state @ State::Unprocessed) = state {
                *state = State::Found(record);
            }
        }
        for (key, state) in self.keys.iter().zip(&mut self.states) {
            if matches!(state, State::Unprocessed) && !unprocessed.contains(key) {
                *state = State::Gone;
            }
        }
    }

    /// Returns the unprocessed keys in the order of the page.
    pub(super) fn unprocessed(&self) -> Cow<'a, [Key]> {
        let is_unprocessed = |state: &State| matches!(state, State::Unprocessed);
        if self.states.iter().all(is_unprocessed) {
            return Cow::Borrowed(self.keys);
        }
        let all = self.keys.iter().zip(&self.states);
        all.filter(|(_, state)| is_unprocessed(state)).map(|(key, _)| key.clone()).collect()
    }

    /// Returns whether a page can be cut: every key is processed, or the records before the first unprocessed one are large
    /// enough.
    pub(super) fn is_enough(&self) -> bool {
        let first = self.states.iter().position(|state| matches!(state, State::Unprocessed));
        let size = |state: &State| match state {
            State::Found(record) => record.json_size(),
            State::Unprocessed | State::Gone => 0,
        };
        first.is_none_or(|first| self.states[..first].iter().map(size).sum::<usize>() >= MAX_PAGE_BYTES)
    }

    /// Returns the records up to the first unprocessed key, or until they reach the size of a page, and the key of the last
    /// one if keys follow it. A processed key without a record is left out: its record is gone.
    pub(super) fn cut(self) -> (Vec<Record>, Option<Key>) {
        let (mut records, mut size) = (Vec::with_capacity(self.keys.len()), 0);
        let mut last: Option<&Key> = None;
        for (key, state) in self.keys.iter().zip(self.states) {
            if matches!(state, State::Unprocessed) || size >= MAX_PAGE_BYTES {
                return (records, last.cloned());
            }
            if let State::Found(record) = state {
                size += record.json_size();
                records.push(record);
            }
            last = Some(key);
        }
        (records, None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(port: u16) -> Key {
        Key::new("1.1.1.7".parse().unwrap(), port, "HTTP")
    }

    fn record(port: u16, size: usize) -> Record {
        Record { key: key(port), timestamp: 1, data_version: 2, response: "x".repeat(size), response_bytes: None }
    }

    fn ports(records: &[Record]) -> Vec<&str> {
        records.iter().map(|record| record.key.port()).collect()
    }

    #[test]
    fn a_vanished_record_is_left_out() {
        let keys = [1, 2, 3].map(key);
        let mut found = Found::of(&keys);
        found.add(vec![record(3, 1), record(1, 1)], &[]);
        assert!(found.is_enough());
        let (records, next) = found.cut();
        assert_eq!((ports(&records), next), (vec!["1", "3"], None));
    }

    #[test]
    fn a_page_ends_with_the_record_that_makes_it_large_enough() {
        let keys = [1, 2, 3].map(key);
        let mut found = Found::of(&keys);
        found.add(vec![record(1, 1), record(2, MAX_PAGE_BYTES)], &[key(3)]);
        assert!(found.is_enough());
        let (records, next) = found.cut();
        assert_eq!((ports(&records), next), (vec!["1", "2"], Some(key(2))));
    }

    #[test]
    fn the_size_of_a_page_is_the_one_in_json() {
        let controls = "\u{1}\u{1b}\u{0}\"\\\n\r\t\u{8}\u{c}\u{7f}é\u{fffd}";
        let bytes = vec![0xff; 10];
        let record = Record { response: controls.to_owned(), response_bytes: Some(bytes), ..record(1, 0) };
        let text = serde_json::to_string(&record.response).unwrap();
        // JSON has short forms of two more control characters, which the size counts as long ones.
        assert_eq!(record.json_size(), text.len() - 2 + 2 * 4 + 16);
    }

    #[test]
    fn unprocessed_keys_are_asked_for_again_and_others_are_ignored() {
        let keys = [1, 2, 3].map(key);
        let mut found = Found::of(&keys);
        found.add(vec![record(1, 1), record(9, 1)], &[key(3), key(2), key(9)]);
        assert!(!found.is_enough());
        assert_eq!(*found.unprocessed(), [key(2), key(3)]);
        found.add(vec![record(2, 1), record(3, 1)], &[]);
        assert_eq!(ports(&found.cut().0), ["1", "2", "3"]);
    }

    proptest! {
        /// Each key is found, gone or left unprocessed, in any order of answers.
        #[test]
        fn consecutive_cuts_contain_each_record_once(states in prop::collection::vec((0..3_u8, 0..3_usize), 1..20)) {
            let all: Vec<_> = (0..states.len()).map(|port| key(u16::try_from(port).unwrap())).collect();
            let exists = |port: usize| states[port].0 != 1;
            let (mut rest, mut seen) = (&all[..], Vec::new());
            let mut first = true;
            while !rest.is_empty() {
                let mut found = Found::of(rest);
                let offset = all.len() - rest.len();
                let mut records = Vec::new();
                let mut unprocessed = Vec::new();
                for port in offset..all.len() {
                    match states[port] {
                        // The first key of a page is always processed, as in `is_enough`.
                        (2, _) if first && port > offset => unprocessed.push(all[port].clone()),
                        (_, size) if exists(port) => {
                            records.push(record(u16::try_from(port).unwrap(), size * MAX_PAGE_BYTES / 2));
                        }
                        _ => {}
                    }
                }
                found.add(records, &unprocessed);
                first = false;
                let (records, next) = found.cut();
                seen.extend(records.into_iter().map(|record| record.key));
                rest = match next {
                    Some(next) => &all[all.iter().position(|key| *key == next).unwrap() + 1..],
                    None => &[],
                };
            }
            let expected: Vec<_> = (0..all.len()).filter(|port| exists(*port)).map(|port| all[port].clone()).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
