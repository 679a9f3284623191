//! The items of the history table, and the entries and summaries in them. `docs/history.md` lists the attributes. Pure.

use aws_sdk_dynamodb::types::AttributeValue;
pub(super) use dynamodb::values::{bytes, number, string, text, whole};
use dynamodb::{EXPIRES_AT, Item};

use super::super::item::{MAX_ITEM_BYTES, stored_size};
use crate::changes::{
    Body, Difference, Entry, EntryKey, Event, Hash, Hashes, Position, Reason, Repair, Sequence, Summary, summarized,
    summary_key,
};
use crate::scan::Key;

/// The partition key: an address.
pub(crate) const IP: &str = "ip";
/// The sort key.
pub(crate) const ENTRY: &str = "entry";
pub(super) const VERSION: &str = "v";
pub(super) const FORMAT: u64 = 1;

const RESPONSE: &str = "response";
const RESPONSE_BYTES: &str = "response_bytes";
const DIFF: &str = "diff";

/// The attributes of entries, without bodies.
pub(super) const WITHOUT_BODIES: [&str; 20] = [
    IP,
    ENTRY,
    "event",
    "reason",
    "number",
    "late",
    "at_or_before",
    "created",
    "old_timestamp",
    "record_expired_at",
    "data_version",
    "lines_added",
    "lines_removed",
    "bytes_added",
    "bytes_removed",
    DIFF,
    "diff_cut",
    "response_size",
    "response_hash",
    "response_dropped",
];

pub(super) fn key_of_entry(key: &EntryKey) -> [(String, AttributeValue); 2] {
    [(IP.to_owned(), text(key.service.ip())), (ENTRY.to_owned(), text(key.sort_key()))]
}

pub(super) fn key_of_summary(service: &Key) -> [(String, AttributeValue); 2] {
    [(IP.to_owned(), text(service.ip())), (ENTRY.to_owned(), text(summary_key(service)))]
}

/// Returns the item of an entry. Leaves out the response, and then the difference, if the item would be too large.
pub(super) fn entry_item(entry: &Entry) -> Item {
    let mut item = Item::from(key_of_entry(&entry.key));
    let mut set = |name: &str, value: Option<AttributeValue>| {
        item.extend(value.map(|value| (name.to_owned(), value)));
    };
    let flag = |flag: bool| flag.then_some(AttributeValue::Bool(true));
    set(VERSION, Some(number(FORMAT)));
    set("event", Some(text(entry.event.name())));
    set("reason", entry.reason.map(|reason| text(reason.name())));
    set("number", entry.number.map(number));
    set("late", flag(entry.is_late));
    set("at_or_before", flag(entry.is_at_or_before));
    set("created", Some(number(entry.created)));
    set("old_timestamp", entry.old_timestamp.map(number));
    set("record_expired_at", entry.record_expired_at.map(number));
    set("data_version", entry.data_version.map(number));
    if let Some(difference) = &entry.difference {
        set("lines_added", Some(number(difference.lines_added)));
        set("lines_removed", Some(number(difference.lines_removed)));
        set("bytes_added", Some(number(difference.bytes_added)));
        set("bytes_removed", Some(number(difference.bytes_removed)));
        set(DIFF, difference.text.as_deref().map(text));
        set("diff_cut", flag(difference.is_cut));
    }
    match &entry.body {
        Some(Body::Text(body)) => set(RESPONSE, Some(text(body))),
        Some(Body::Bytes(body)) => set(RESPONSE_BYTES, Some(bytes(body))),
        None => {}
    }
    set("response_size", entry.response_size.map(number));
    set("response_hash", entry.response_hash.as_ref().map(|hash| bytes(hash)));
    set("response_dropped", flag(entry.is_response_dropped));
    set(EXPIRES_AT, Some(number(entry.expires_at)));
    fit(&mut item);
    item
}

fn fit(item: &mut Item) {
    // Flags and the size of an item of its own are below 100 bytes.
    let is_too_large = |item: &Item| stored_size(item) + 100 > MAX_ITEM_BYTES;
    if is_too_large(item) {
        item.remove(RESPONSE);
        item.remove(RESPONSE_BYTES);
        item.insert("response_dropped".to_owned(), AttributeValue::Bool(true));
    }
    if is_too_large(item) {
        item.remove(DIFF);
    }
}

/// Returns the entry in an item. Returns `None` for another item of the table.
pub(super) fn entry(item: &Item) -> Option<Entry> {
    let body = match (item.get(RESPONSE), item.get(RESPONSE_BYTES)) {
        (Some(AttributeValue::S(text)), _) => Some(Body::Text(text.clone())),
        (_, Some(AttributeValue::B(bytes))) => Some(Body::Bytes(bytes.as_ref().to_vec())),
        _ => None,
    };
    let difference = whole(item, "lines_added").map(|lines_added| Difference {
        lines_added,
        lines_removed: whole(item, "lines_removed").unwrap_or_default(),
        bytes_added: whole(item, "bytes_added").unwrap_or_default(),
        bytes_removed: whole(item, "bytes_removed").unwrap_or_default(),
        text: string(item, DIFF).map(str::to_owned),
        is_cut: flag(item, "diff_cut"),
    });
    Some(Entry {
        key: EntryKey::parse(string(item, IP)?, string(item, ENTRY)?)?,
        event: Event::parse(string(item, "event")?)?,
        reason: string(item, "reason").and_then(Reason::parse),
        number: whole(item, "number"),
        is_late: flag(item, "late"),
        is_at_or_before: flag(item, "at_or_before"),
        created: whole(item, "created")?,
        old_timestamp: whole(item, "old_timestamp"),
        record_expired_at: whole(item, "record_expired_at"),
        data_version: whole(item, "data_version"),
        difference,
        body,
        response_size: whole(item, "response_size"),
        response_hash: hash(item, "response_hash"),
        is_response_dropped: flag(item, "response_dropped"),
        expires_at: whole(item, EXPIRES_AT).unwrap_or_default(),
    })
}

/// Returns the summary in an item. Returns `None` for another item of the table.
pub(super) fn summary(item: &Item) -> Option<Summary> {
    let position = || {
        let stream = string(item, "stream")?.to_owned();
        Some(Position { stream, sequence: Sequence::parse(string(item, "last_sequence")?)? })
    };
    let hashes = || {
        let (raw, bytes) = (hash(item, "hash_raw")?, hash(item, "hash_bytes")?);
        Some(Hashes { raw, bytes, text: hash(item, "hash_text")?, data_version: whole(item, "data_version")? })
    };
    let repaired = || {
        let event = Event::parse(string(item, "repaired_event")?)?;
        let after = string(item, "repaired_after").and_then(Sequence::parse);
        let (time, at) = (whole(item, "repaired_time")?, whole(item, "repaired_at")?);
        Some(Repair { event, time, after, at, response: hash(item, "repaired_hash") })
    };
    Some(Summary {
        service: summarized(string(item, IP)?, string(item, ENTRY)?)?,
        is_open: match string(item, "state")? {
            OPEN => true,
            CLOSED => false,
            _ => return None,
        },
        first_seen: whole(item, "first_seen"),
        seen_by: whole(item, "seen_by"),
        opened_at: whole(item, "opened_at"),
        changed_at: whole(item, "changed_at"),
        closed_at: whole(item, "closed_at"),
        changes: whole(item, "changes").unwrap_or_default(),
        last: position(),
        last_time: whole(item, "last_time"),
        last_created: whole(item, "last_created"),
        previous_time: whole(item, "previous_time"),
        hashes: hashes(),
        masks: string(item, "masks").map(str::to_owned),
        repaired: repaired(),
    })
}

pub(super) const OPEN: &str = "open";
pub(super) const CLOSED: &str = "closed";

fn flag(item: &Item, name: &str) -> bool {
    item.get(name).is_some_and(|value| value.as_bool().is_ok_and(|flag| *flag))
}

fn hash(item: &Item, name: &str) -> Option<Hash> {
    item.get(name)?.as_b().ok()?.as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Entry {
        Entry {
            key: EntryKey {
                service: Key::new([1, 1, 1, 1].into(), 80, "A#B"),
                time: 7,
                sequence: Sequence::parse("42").unwrap(),
            },
            event: Event::Changed,
            reason: Some(Reason::Expired),
            number: Some(3),
            is_late: true,
            is_at_or_before: true,
            created: 8,
            old_timestamp: Some(5),
            record_expired_at: Some(6),
            data_version: Some(2),
            difference: Some(Difference {
                lines_added: 1,
                lines_removed: 2,
                bytes_added: 3,
                bytes_removed: 4,
                text: Some("+a".to_owned()),
                is_cut: true,
            }),
            body: Some(Body::Text("hello".to_owned())),
            response_size: Some(5),
            response_hash: Some([7; 16]),
            is_response_dropped: true,
            expires_at: 9,
        }
    }

    #[test]
    fn an_entry_is_read_from_its_item() {
        let bytes = Entry { body: Some(Body::Bytes(vec![0xff])), difference: None, reason: None, ..full() };
        let bare = Entry { body: None, number: None, is_late: false, is_response_dropped: false, ..full() };
        for entry in [full(), bytes, bare] {
            assert_eq!(super::entry(&entry_item(&entry)), Some(entry));
        }
    }

    #[test]
    fn an_entry_without_its_body_needs_only_the_listed_attributes() {
        let mut item = entry_item(&full());
        item.retain(|name, _| WITHOUT_BODIES.contains(&name.as_str()));
        assert_eq!(entry(&item), Some(Entry { body: None, expires_at: 0, ..full() }));
    }

    #[test]
    fn a_response_that_does_not_fit_is_left_out_and_then_the_difference() {
        let large = || Some(Body::Text("x".repeat(MAX_ITEM_BYTES)));
        let item = entry_item(&Entry { body: large(), is_response_dropped: false, ..full() });
        assert_eq!(entry(&item), Some(Entry { body: None, ..full() }));
        let text = Some("x".repeat(MAX_ITEM_BYTES));
        let difference = full().difference.map(|difference| Difference { text, ..difference });
        let item = entry_item(&Entry { body: large(), difference, ..full() });
        assert_eq!(entry(&item).unwrap().difference.unwrap().text, None);
    }
}
