//! The sort keys of the history table. They sort by time, then by port, then by the order of the stream. Pure.

use std::fmt;

use crate::scan::{Key, check_service};

/// The digits of the longest sequence number of a stream.
const SEQUENCE_DIGITS: usize = 40;

/// The number of a record in its stream, padded with zeros, so that texts sort like numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(String);

impl Sequence {
    /// Returns `None` if the text is no decimal number of at most 40 digits.
    pub fn parse(text: &str) -> Option<Sequence> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let digits = text.trim_start_matches('0');
        (is_number && digits.len() <= SEQUENCE_DIGITS).then(|| Sequence(format!("{digits:0>SEQUENCE_DIGITS$}")))
    }

    /// Returns the number of an entry that no record of the stream made.
    pub fn none() -> Sequence {
        Sequence("0".repeat(SEQUENCE_DIGITS))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What identifies an entry. The address is the partition key, and [`EntryKey::sort_key`] has the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryKey {
    pub service: Key,
    /// Unix seconds.
    pub time: u64,
    pub sequence: Sequence,
}

impl EntryKey {
    /// The service is last, because it may contain `#`.
    pub fn sort_key(&self) -> String {
        let (port, service) = (self.service.port(), self.service.service());
        format!("{:020}#{port:0>5}#{}#{service}", self.time, self.sequence)
    }

    /// Returns the key with this sort key. Returns `None` if no entry has it.
    pub fn parse(ip: &str, sort_key: &str) -> Option<EntryKey> {
        let mut parts = sort_key.splitn(4, '#');
        let (time, port, sequence) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        let (sequence, service) = (Sequence::parse(sequence)?, service(ip, port, parts.next()?)?);
        let key = EntryKey { service, time, sequence };
        (key.sort_key() == sort_key).then_some(key)
    }
}

/// Returns the sort keys between which all entries of `start <= time < end` are, and no others. Returns `None` if there are
/// none.
pub fn entry_times(start: u64, end: u64) -> Option<(String, String)> {
    // `$` follows `#`.
    (start < end).then(|| (format!("{start:020}#"), format!("{:020}$", end - 1)))
}

/// The first part of a summary's sort key. Entries begin with a digit, which sorts before.
pub(crate) const SUMMARY: &str = "summary#";

/// Returns the sort key of a service's summary.
pub fn summary_key(service: &Key) -> String {
    format!("{SUMMARY}{:0>5}#{}", service.port(), service.service())
}

/// Returns the service whose summary has this sort key.
pub(crate) fn summarized(ip: &str, sort_key: &str) -> Option<Key> {
    let (port, name) = sort_key.strip_prefix(SUMMARY)?.split_once('#')?;
    service(ip, port, name).filter(|key| summary_key(key) == sort_key)
}

fn service(ip: &str, port: &str, name: &str) -> Option<Key> {
    check_service(name).ok()?;
    let key = Key::new(crate::scan::address(ip)?, port.parse().ok()?, name);
    (key.ip() == ip).then_some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key((time, port, sequence, name): (u64, u16, u128, String)) -> EntryKey {
        let service = Key::new("2001:db8::1".parse().unwrap(), port, &name);
        EntryKey { service, time, sequence: Sequence::parse(&sequence.to_string()).unwrap() }
    }

    /// Uses small alphabets, so that similar keys are common.
    fn parts() -> impl Strategy<Value = (u64, u16, u128, String)> {
        let time = prop_oneof![0..3_u64, 1_700_000_000..1_700_000_003_u64, any::<u64>()];
        let sequence = prop_oneof![0..12_u128, 10_u128.pow(20)..10_u128.pow(20) + 2, any::<u128>()];
        (time, prop_oneof![0..12_u16, any::<u16>()], sequence, "[#$0-2A]{1,4}")
    }

    proptest! {
        #[test]
        fn sort_keys_sort_by_time_port_sequence_and_service(one in parts(), other in parts()) {
            let sorted = key(one.clone()).sort_key().cmp(&key(other.clone()).sort_key());
            prop_assert_eq!(sorted, one.cmp(&other));
        }

        #[test]
        fn a_sort_key_is_parsed_to_its_parts(parts in parts()) {
            let key = key(parts);
            prop_assert_eq!(EntryKey::parse("2001:db8::1", &key.sort_key()), Some(key));
        }

        #[test]
        fn a_summary_is_parsed_to_its_service_and_is_no_entry(parts in parts()) {
            let service = key(parts).service;
            let sort_key = summary_key(&service);
            prop_assert_eq!(summarized("2001:db8::1", &sort_key), Some(service));
            prop_assert_eq!(EntryKey::parse("2001:db8::1", &sort_key), None);
        }

        #[test]
        fn times_select_exactly_the_entries_from_start_to_end(parts in parts(), start in 0..4_u64, length in 0..3_u64) {
            let key = key(parts);
            let expected = start <= key.time && key.time < start + length;
            let selected = entry_times(start, start + length);
            let is_selected = selected.is_some_and(|(first, last)| (first..=last).contains(&key.sort_key()));
            prop_assert_eq!(is_selected, expected);
            prop_assert!(entry_times(0, u64::MAX).unwrap().1 < summary_key(&key.service));
        }
    }

    #[test]
    fn only_numbers_of_at_most_40_digits_are_sequences() {
        for text in ["", "+1", " 1", "1a", &"1".repeat(41)] {
            assert_eq!(Sequence::parse(text), None, "{text}");
        }
        assert_eq!(Sequence::parse("9".repeat(40).as_str()).unwrap().as_str(), "9".repeat(40));
        assert_eq!(Sequence::parse("007"), Sequence::parse("7"));
        assert!(Sequence::none() < Sequence::parse("1").unwrap());
    }

    #[test]
    fn rows_that_are_no_entries_are_not_parsed() {
        let sort_key = key((7, 80, 1, "HTTP".to_owned())).sort_key();
        for (ip, text) in [
            ("dead", sort_key.as_str()),
            ("::ffff:1.1.1.1", sort_key.as_str()),
            ("1.1.1.1", &sort_key[1..]),
            ("1.1.1.1", &format!("{sort_key}\n")),
            ("1.1.1.1", "table"),
        ] {
            assert_eq!(EntryKey::parse(ip, text), None, "{ip} {text}");
        }
    }

    #[test]
    fn the_longest_sort_key_fits_dynamodb() {
        let longest = key((u64::MAX, u16::MAX, u128::MAX, "s".repeat(255))).sort_key();
        assert_eq!(longest.len(), 323);
    }
}
