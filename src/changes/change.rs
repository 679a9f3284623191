//! From a record of the stream to what the history stores of it: the update of the summary, and the entry. Pure.

use sha2::{Digest, Sha256};

use super::compare::{Comparison, Images, bytes, comparable, compare};
use super::diff::diff;
use super::entry::{Body, Difference, Entry, Event};
use super::key::{EntryKey, Sequence};
use super::masks::Masks;
use super::ports::{Update, Updated};
use super::summary::{HASH_BYTES, Hash, Hashes, Position, Repair, Summary};
use crate::hosts::Record;
use crate::scan::Key;

/// DynamoDB rounds the times of records down: to seconds, and DynamoDB Local to minutes.
const PRECISION: u64 = 60;

/// Which parts of a response the history keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Responses {
    Full,
    /// Neither bodies nor differences, only sizes and hashes.
    Hash,
}

/// How changes are recognized and kept.
#[derive(Debug)]
pub struct Rules {
    pub masks: Masks,
    pub responses: Responses,
    /// How long an entry is kept, in seconds.
    pub ttl: u64,
}

/// What a record of the stream means for the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing changed.
    Nothing,
    /// The item is no record of a scan.
    Foreign,
    Unreadable(&'static str),
    Store(Box<Change>),
}

/// What to store of a change. The entry gets its number from the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub update: Update,
    pub entry: Entry,
}

/// Decides what a record at this position of the stream means.
pub fn decide(images: &Images, position: Position, rules: &Rules) -> Decision {
    let comparison = compare(images, &rules.masks);
    let (event, old, record) = match comparison {
        Comparison::Nothing => return Decision::Nothing,
        Comparison::Foreign => return Decision::Foreign,
        Comparison::Unreadable(why) => return Decision::Unreadable(why),
        Comparison::Opened(new) => (Event::Opened, None, &new.record),
        Comparison::Changed(old, new) => (Event::Changed, old.map(|old| &old.record), &new.record),
        Comparison::Closed(old, _) => (Event::Closed, Some(&old.record), &old.record),
    };
    let created = images.created.unwrap_or_default();
    let time = match event {
        Event::Opened | Event::Changed => record.timestamp,
        // The clocks of scanners may be ahead, and a service must not close before its scan.
        Event::Closed => record.timestamp.max(created),
    };
    let service = record.key.clone();
    let key = EntryKey { service: service.clone(), time, sequence: position.sequence.clone() };
    // By the time of the change, because entries of old scans would expire at once otherwise.
    let mut entry = Entry::new(key, event, created, created.saturating_add(rules.ttl));
    entry.old_timestamp = old.map(|old| old.timestamp);
    let mut hashes = None;
    match comparison {
        Comparison::Closed(old, reason) => {
            entry.reason = Some(reason);
            entry.record_expired_at = old.expires_at;
        }
        _ => hashes = Some((describe(&mut entry, old, record, rules), rules.masks.id().to_owned())),
    }
    let seen_at = old.unwrap_or(record).timestamp;
    let update = Update { service, position, event, time, created, seen_at, hashes };
    Decision::Store(Box::new(Change { update, entry }))
}

/// Adds the response to the entry. Returns its hashes.
pub(super) fn describe(entry: &mut Entry, old: Option<&Record>, new: &Record, rules: &Rules) -> Hashes {
    let hashes = hashes(new, &rules.masks);
    entry.data_version = Some(new.data_version);
    entry.response_size = Some(bytes(new).len() as u64);
    entry.response_hash = Some(hashes.raw);
    if rules.responses == Responses::Full {
        entry.body = Some(match &new.response_bytes {
            Some(bytes) => Body::Bytes(bytes.clone()),
            None => Body::Text(new.response.clone()),
        });
        entry.difference = old.map(|old| {
            let [old, new] = comparable(old, new).map(|response| rules.masks.apply(response));
            difference(&old, &new)
        });
    }
    hashes
}

/// Returns how two responses differ after masks.
pub fn difference(old: &[u8], new: &[u8]) -> Difference {
    let diff = diff(old, new);
    Difference {
        lines_added: diff.added.lines as u64,
        lines_removed: diff.removed.lines as u64,
        bytes_added: diff.added.bytes as u64,
        bytes_removed: diff.removed.bytes as u64,
        text: diff.text,
        is_cut: diff.is_cut,
    }
}

/// Returns the hashes of a response.
pub fn hashes(record: &Record, masks: &Masks) -> Hashes {
    let bytes = bytes(record);
    let text = hash(&masks.apply(record.response.as_bytes()));
    let masked = if record.response_bytes.is_some() { hash(&masks.apply(bytes)) } else { text };
    Hashes { raw: hash(bytes), bytes: masked, text, data_version: record.data_version }
}

fn hash(bytes: &[u8]) -> Hash {
    let digest = Sha256::digest(bytes);
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&digest[..HASH_BYTES]);
    hash
}

/// What follows from the answer to the update of the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Put {
        entry: Box<Entry>,
        /// The service was first seen earlier than in its summary.
        lowers_first_seen: bool,
        /// The entry of a repair that this change replaces.
        replaces: Option<EntryKey>,
    },
    /// A later change is recorded, so this one was finished before.
    Skip,
    /// A later change is recorded that the table made earlier. The entry gets no number.
    PutWithoutNumber(Box<Entry>),
}

/// Decides how a change continues after the answer to its update.
pub fn step(change: &Change, updated: &Updated) -> Step {
    let (summary, is_mine) = match updated {
        Updated::Applied(summary) => (summary, true),
        Updated::Refused(summary) => (summary, summary.last.as_ref() == Some(&change.update.position)),
    };
    let Change { update, entry } = change;
    if !is_mine {
        let is_disordered = summary.last_created.is_some_and(|last| update.created > last.saturating_add(PRECISION));
        return if is_disordered { Step::PutWithoutNumber(Box::new(entry.clone())) } else { Step::Skip };
    }
    let is_late = summary.previous_time.is_some_and(|previous| entry.key.time < previous);
    let first_seen = summary.first_seen.unwrap_or(0);
    Step::Put {
        entry: Box::new(Entry { number: Some(summary.changes), is_late, ..entry.clone() }),
        lowers_first_seen: update.event == Event::Opened && entry.key.time < first_seen,
        replaces: replaced(update, summary),
    }
}

/// Returns the entry of the repair that found the same change before the reader came to it.
fn replaced(update: &Update, summary: &Summary) -> Option<EntryKey> {
    let Repair { event, time, response, .. } = *summary.repaired.as_ref()?;
    let is_same = match (event, update.event) {
        (Event::Closed, Event::Closed) => update.created <= time.saturating_add(PRECISION),
        (Event::Closed, _) | (_, Event::Closed) => false,
        _ => {
            // A later scan may have found the same response before the repair read it.
            let found = update.hashes.as_ref().map(|(hashes, _)| hashes.text);
            update.time == time || update.time < time && found.is_some() && found == response
        }
    };
    is_same.then(|| repair_key(&update.service, time))
}

/// Returns the key of a repair's entry.
pub fn repair_key(service: &Key, time: u64) -> EntryKey {
    EntryKey { service: service.clone(), time, sequence: Sequence::none() }
}

#[cfg(test)]
mod tests {
    use super::super::compare::Image;
    use super::super::compare::tests::{masks, row, service};
    use super::super::entry::Reason;
    use super::*;

    fn position(sequence: u64) -> Position {
        Position { stream: "2026".to_owned(), sequence: Sequence::parse(&sequence.to_string()).unwrap() }
    }

    fn rules(responses: Responses) -> Rules {
        Rules { masks: masks(), responses, ttl: 1000 }
    }

    fn change(old: Option<(u64, &[u8])>, new: Option<(u64, &[u8])>, created: u64) -> Change {
        let image = |image: Option<(u64, &[u8])>| {
            image.map_or(Image::Absent, |(timestamp, response)| Image::Row(row(timestamp, response)))
        };
        let images = Images {
            service: Some(service()),
            created: Some(created),
            old: image(old),
            new: image(new),
            by_time_to_live: false,
        };
        match decide(&images, position(5), &rules(Responses::Full)) {
            Decision::Store(change) => *change,
            other => panic!("{other:?}"),
        }
    }

    fn summary(last: Position, changes: u64) -> Summary {
        Summary {
            is_open: true,
            first_seen: Some(10),
            changes,
            last: Some(last),
            last_time: Some(20),
            last_created: Some(100),
            previous_time: Some(15),
            ..Summary::new(service())
        }
    }

    #[test]
    fn an_entry_has_the_time_of_the_scan_and_a_close_is_never_before_it() {
        assert_eq!(change(None, Some((70, b"a")), 100).entry.key.time, 70);
        assert_eq!(change(Some((70, b"a")), None, 100).entry.key.time, 100);
        assert_eq!(change(Some((170, b"a")), None, 100).entry.key.time, 170);
        let closed = change(Some((70, b"a")), None, 100);
        assert_eq!((closed.entry.reason, closed.entry.body), (Some(Reason::Deleted), None));
        assert_eq!((closed.update.seen_at, closed.update.hashes), (70, None));
        assert_eq!(closed.entry.expires_at, 1100);
    }

    #[test]
    fn an_entry_keeps_the_response_and_the_difference_after_masks_unless_only_hashes_are_kept() {
        let changed = change(Some((70, b"a1")), Some((71, b"b22")), 100).entry;
        assert_eq!(changed.body, Some(Body::Text("b22".to_owned())));
        assert_eq!(changed.difference, Some(difference(b"a[digit]", b"b[digit][digit]")));
        let images = Images {
            service: Some(service()),
            created: Some(100),
            old: Image::Row(row(70, b"a1")),
            new: Image::Row(row(71, &[0xff])),
            by_time_to_live: false,
        };
        let of = |responses| match decide(&images, position(5), &rules(responses)) {
            Decision::Store(change) => change.entry,
            other => panic!("{other:?}"),
        };
        assert_eq!(of(Responses::Full).body, Some(Body::Bytes(vec![0xff])));
        let bare = of(Responses::Hash);
        assert_eq!((bare.body, bare.difference, bare.response_size), (None, None, Some(1)));
    }

    #[test]
    fn a_record_after_an_unreadable_one_is_changed_without_a_difference() {
        let images = Images {
            service: Some(service()),
            created: Some(100),
            old: Image::Unreadable("{}".to_owned()),
            new: Image::Row(row(70, b"a")),
            by_time_to_live: false,
        };
        let decision = decide(&images, position(5), &rules(Responses::Full));
        let Decision::Store(change) = decision else { panic!("{decision:?}") };
        let Change { update, entry } = *change;
        assert_eq!(
            (entry.event, entry.body, entry.difference),
            (Event::Changed, Some(Body::Text("a".to_owned())), None)
        );
        assert_eq!((update.seen_at, update.hashes.is_some()), (70, true));
    }

    #[test]
    fn the_difference_of_binary_responses_is_that_of_their_bytes() {
        // As text, both are the same.
        let changed = change(Some((70, &[0xff, 0xfe])), Some((71, &[0xfd, 0xff])), 100).entry;
        let difference = changed.difference.expect("a difference");
        assert_eq!((difference.lines_added, difference.lines_removed), (1, 1));
        assert_eq!((difference.bytes_added, difference.bytes_removed), (2, 2));
    }

    #[test]
    fn a_replay_of_the_last_change_puts_the_same_entry() {
        let change = change(None, Some((16, b"a")), 100);
        let summary = summary(position(5), 3);
        let first = step(&change, &Updated::Applied(summary.clone()));
        assert_eq!(first, step(&change, &Updated::Refused(summary)));
        let Step::Put { entry, lowers_first_seen, replaces } = first else { panic!("{first:?}") };
        assert_eq!((entry.number, entry.is_late, lowers_first_seen, replaces), (Some(3), false, false, None));
    }

    #[test]
    fn a_change_before_the_last_one_is_late_and_may_have_been_seen_first() {
        let late = step(&change(None, Some((9, b"a")), 100), &Updated::Applied(summary(position(5), 3)));
        let Step::Put { entry, lowers_first_seen, .. } = late else { panic!("{late:?}") };
        assert!(entry.is_late && lowers_first_seen);
    }

    #[test]
    fn a_change_is_skipped_if_a_later_one_is_recorded_unless_the_table_made_that_one_earlier() {
        let later = || Updated::Refused(summary(position(6), 3));
        assert_eq!(step(&change(None, Some((16, b"a")), 160), &later()), Step::Skip);
        let newer = change(None, Some((16, b"a")), 161);
        assert_eq!(step(&newer, &later()), Step::PutWithoutNumber(Box::new(newer.entry.clone())));
    }

    #[test]
    fn a_change_replaces_its_own_repair_and_no_other() {
        let replaced_by = |change: &Change, event, time, text| {
            let repaired = Some(Repair { event, time, after: None, at: 50, response: text });
            match step(change, &Updated::Applied(Summary { repaired, ..summary(position(5), 3) })) {
                Step::Put { replaces, .. } => replaces,
                other => panic!("{other:?}"),
            }
        };
        let replaced = |change: &Change, event, time| replaced_by(change, event, time, None);
        let opened = change(None, Some((16, b"a")), 100);
        assert_eq!(replaced(&opened, Event::Changed, 16), Some(repair_key(&service(), 16)));
        assert_eq!(replaced(&opened, Event::Changed, 17), None);
        assert_eq!(replaced(&opened, Event::Closed, 16), None);
        let text = opened.update.hashes.as_ref().map(|(hashes, _)| hashes.text);
        assert_eq!(replaced_by(&opened, Event::Changed, 17, text), Some(repair_key(&service(), 17)));
        assert_eq!(replaced_by(&opened, Event::Changed, 15, text), None);
        assert_eq!(replaced_by(&opened, Event::Changed, 17, Some([0; HASH_BYTES])), None);
        let closed = change(Some((16, b"a")), None, 100);
        assert_eq!(replaced(&closed, Event::Closed, 40), Some(repair_key(&service(), 40)));
        assert_eq!(replaced(&closed, Event::Closed, 39), None);
    }
}
