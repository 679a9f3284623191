//! Decides what a comparison of the two tables means: of a record with the summary of its service, and of a summary whose
//! record is gone. Pure.

use super::change::{Rules, describe, hashes, repair_key};
use super::entry::{Entry, Event};
use super::masks::Masks;
use super::summary::{Hashes, Position, Repair, Summary};
use crate::hosts::Record;
use crate::scan::Key;

/// A stream keeps its records for 24 hours. A reader that is late by more has lost them.
const STREAM_SECONDS: u64 = 25 * 60 * 60;

/// What a summary is, compared with the record of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    UpToDate,
    /// The service has no summary.
    Missing,
    /// The history lacks this change.
    Lacks(Event),
    /// Its hashes are those of other masks, and the response is another one. Nobody knows whether masks hide the difference.
    OtherMasks,
}

/// A write of a summary that holds only if nothing else has changed it since it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// The summary when it was read.
    pub before: Summary,
    /// Of the response, with the id of the masks. `None` if the record is gone.
    pub hashes: Option<(Hashes, String)>,
    /// What the history lacked, with its entry. `None` to take new hashes only.
    pub repair: Option<(Repair, Entry)>,
}

/// Compares the record of a service with its summary.
pub(super) fn compare(summary: Option<&Summary>, record: &Record, masks: &Masks) -> Comparison {
    let Some(summary) = summary else { return Comparison::Missing };
    if !summary.is_open {
        return Comparison::Lacks(Event::Opened);
    }
    let Some(known) = summary.hashes else { return Comparison::OtherMasks };
    let found = hashes(record, masks);
    if known.raw == found.raw {
        return Comparison::UpToDate;
    }
    if !has_masks(summary, masks) {
        return Comparison::OtherMasks;
    }
    let is_same = match known.data_version == found.data_version {
        true => known.bytes == found.bytes,
        false => known.text == found.text,
    };
    match is_same {
        true => Comparison::UpToDate,
        false => Comparison::Lacks(Event::Changed),
    }
}

/// Returns whether the hashes of a summary are those of these masks.
pub(super) fn has_masks(summary: &Summary, masks: &Masks) -> bool {
    summary.masks.as_deref() == Some(masks.id())
}

/// Returns the summary of a service that the history did not know.
pub(super) fn first_summary(record: &Record, masks: &Masks) -> Summary {
    Summary {
        is_open: true,
        seen_by: Some(record.timestamp),
        hashes: Some(hashes(record, masks)),
        masks: Some(masks.id().to_owned()),
        ..Summary::new(record.key.clone())
    }
}

/// Returns the correction of a summary that lacks this change of its record. `now` is the time of the read.
pub(super) fn change(summary: Summary, event: Event, record: &Record, now: u64, rules: &Rules) -> Correction {
    let found = hashes(record, &rules.masks);
    // Another repair of the same response has the same entry, although later scans have found it again. If the stream has
    // shown a change since, it is another repair.
    let is_same = |earlier: &&Repair| {
        earlier.event != Event::Closed
            && earlier.response == Some(found.text)
            && summary.last_time.is_none_or(|last| last < earlier.time)
    };
    let earlier = summary.repaired.as_ref().filter(is_same);
    let time = earlier.map_or(record.timestamp, |earlier| earlier.time.min(record.timestamp));
    let mut entry = entry(&summary.service, event, time, now, rules);
    describe(&mut entry, None, record, rules);
    let hashes = Some((found, rules.masks.id().to_owned()));
    let repair = Repair { response: Some(found.text), ..repaired(&summary, event, time, now) };
    Correction { before: summary, hashes, repair: Some((repair, entry)) }
}

/// Returns the correction of a summary whose record is gone.
pub(super) fn close(summary: Summary, now: u64, rules: &Rules) -> Correction {
    // The clocks of scanners may be ahead, and a service must not close before its last change.
    let time = now.max(summary.last_time.unwrap_or_default());
    let entry = entry(&summary.service, Event::Closed, time, now, rules);
    let repair = Some((repaired(&summary, Event::Closed, time, now), entry));
    Correction { before: summary, hashes: None, repair }
}

/// Returns the correction of a summary that takes the hashes of its record without a change.
pub(super) fn rebase(summary: Summary, record: &Record, masks: &Masks) -> Correction {
    Correction { before: summary, hashes: Some((hashes(record, masks), masks.id().to_owned())), repair: None }
}

fn entry(service: &Key, event: Event, time: u64, now: u64, rules: &Rules) -> Entry {
    let entry = Entry::new(repair_key(service, time), event, now, now.saturating_add(rules.ttl));
    Entry { is_at_or_before: true, ..entry }
}

fn repaired(summary: &Summary, event: Event, time: u64, at: u64) -> Repair {
    let after = summary.last.as_ref().map(|Position { sequence, .. }| sequence.clone());
    Repair { event, time, after, at, response: None }
}

/// Returns whether the reader of the stream may still come to the change of an earlier repair. A summary remembers only the
/// last repair, so with another one the reader would not replace the entry of the earlier.
pub(super) fn must_wait(correction: &Correction) -> bool {
    let entry_of = |repair: &Repair| (repair.event == Event::Closed, repair.time);
    match (&correction.before.repaired, &correction.repair) {
        (Some(earlier), Some((repair, _))) => {
            entry_of(earlier) != entry_of(repair) && repair.at < earlier.at.saturating_add(STREAM_SECONDS)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Responses;
    use super::super::compare::tests::row;
    use super::super::key::Sequence;
    use super::super::masks::Addition;
    use super::*;

    fn masks(name: &str) -> Masks {
        let digits = Addition { name: name.to_owned(), pattern: "[0-9]+".to_owned() };
        Masks::new(&[], &[digits], &[]).unwrap()
    }

    fn record(timestamp: u64, response: &[u8]) -> Record {
        row(timestamp, response).record
    }

    #[test]
    fn a_record_is_compared_behind_the_masks_of_its_summary() {
        let (now, earlier) = (masks("digits"), masks("numbers"));
        let known = first_summary(&record(5, b"a1"), &now);
        let closed = Summary { is_open: false, ..known.clone() };
        let masked_before = first_summary(&record(5, b"a1"), &earlier);
        let without = Summary { hashes: None, ..known.clone() };
        for (summary, response, expected) in [
            (None, b"a1", Comparison::Missing),
            (Some(&known), b"a1", Comparison::UpToDate),
            (Some(&known), b"a2", Comparison::UpToDate),
            (Some(&known), b"b1", Comparison::Lacks(Event::Changed)),
            (Some(&closed), b"a1", Comparison::Lacks(Event::Opened)),
            (Some(&masked_before), b"a1", Comparison::UpToDate),
            (Some(&masked_before), b"a2", Comparison::OtherMasks),
            (Some(&without), b"a1", Comparison::OtherMasks),
        ] {
            assert_eq!(compare(summary, &record(6, response), &now), expected, "{response:?} {summary:?}");
        }
    }

    #[test]
    fn binary_responses_are_compared_by_their_bytes_unless_their_formats_differ() {
        let masks = masks("digits");
        let known = first_summary(&record(5, &[0xff, 0xfe]), &masks);
        // As text, both are the same.
        let found = record(6, &[0xfd, 0xff]);
        assert_eq!(compare(Some(&known), &found, &masks), Comparison::Lacks(Event::Changed));
        let as_text = Record { data_version: 2, response_bytes: None, ..found };
        assert_eq!(compare(Some(&known), &as_text, &masks), Comparison::UpToDate);
    }

    #[test]
    fn a_repair_has_no_number_and_is_at_or_before_its_time() {
        let rules = Rules { masks: masks("digits"), responses: Responses::Full, ttl: 100 };
        let sequence = Sequence::parse("7").unwrap();
        let last = Some(Position { stream: "2026".to_owned(), sequence: sequence.clone() });
        let summary = Summary { last, last_time: Some(70), ..first_summary(&record(5, b"a1"), &rules.masks) };
        let changed = change(summary.clone(), Event::Changed, &record(60, b"b"), 65, &rules);
        let response = changed.hashes.map(|(hashes, _)| hashes.text);
        let (repair, entry) = changed.repair.unwrap();
        assert_eq!(repair, Repair { event: Event::Changed, time: 60, after: Some(sequence), at: 65, response });
        assert_eq!((entry.number, entry.is_at_or_before, entry.created, entry.expires_at), (None, true, 65, 165));
        assert_eq!(entry.key, repair_key(&summary.service, 60));
        assert!(entry.body.is_some() && entry.difference.is_none());
        // The last change has a later time than the clock of this machine.
        let (repair, entry) = close(summary, 65, &rules).repair.unwrap();
        assert_eq!((repair.time, entry.key.time, entry.created, entry.body), (70, 70, 65, None));
    }

    #[test]
    fn another_repair_waits_until_the_stream_has_no_change_of_the_earlier_one() {
        let rules = Rules { masks: masks("digits"), responses: Responses::Full, ttl: 100 };
        let first = first_summary(&record(5, b"a"), &rules.masks);
        let earlier = change(first.clone(), Event::Changed, &record(60, b"b"), 1000, &rules);
        assert!(!must_wait(&earlier));
        let repaired = Summary { repaired: earlier.repair.map(|(repair, _)| repair), ..first };
        let later = |time, now| change(repaired.clone(), Event::Changed, &record(time, b"c"), now, &rules);
        assert!(must_wait(&later(61, 1000 + STREAM_SECONDS - 1)));
        assert!(!must_wait(&later(61, 1000 + STREAM_SECONDS)));
        // The same entry.
        assert!(!must_wait(&later(60, 1001)));
        assert!(!must_wait(&change(repaired.clone(), Event::Changed, &record(61, b"b"), 1001, &rules)));
        assert!(must_wait(&close(repaired.clone(), 1001, &rules)));
    }
}
