//! The item of an event. Pure.

use std::num::NonZeroU16;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb::values::{bucket, bytes, number, string, text};
use dynamodb::{EXPIRES_AT, Item};

use crate::event::{Event, sort_key};
use crate::ports::Put;

pub const CLIENT_ID: &str = "client_id";
pub const EVENT_KEY: &str = "event_key";
pub const EVENT_TYPE: &str = "event_type";
/// The JSON text of `data`.
pub const DATA: &str = "data";
/// The JSON text of an object with the other members. Absent without any.
pub const OTHERS: &str = "others";
pub const BODY_HASH: &str = "body_hash";
pub const MESSAGE_ID: &str = "message_id";
/// Unix milliseconds.
pub const SENT_AT: &str = "sent_at";
/// When the item was written, in Unix milliseconds.
pub const STORED_AT: &str = "stored_at";
/// A W3C `traceparent`.
pub const TRACE: &str = "trace";
/// Who delivers the event: [`DIRECT`], or the reader of the stream if it is absent.
pub const DISPATCH: &str = "dispatch";
pub const DIRECT: &str = "direct";

/// Separates a client from the number of a bucket. It is a control character, so no client contains it.
const SEPARATOR: char = '\u{1f}';

/// Returns the partition key of a client's bucket. The first bucket has that of the client itself, so that events without
/// buckets are in it.
pub fn partition(client_id: &str, bucket: usize) -> String {
    match bucket {
        0 => client_id.to_owned(),
        number => format!("{client_id}{SEPARATOR}{number}"),
    }
}

/// Returns the partition key of an event.
pub fn partition_of(client_id: &str, event_id: &str, buckets: NonZeroU16) -> String {
    partition(client_id, bucket(event_id, buckets.get().into()))
}

/// Returns the client of a partition key.
pub fn client(partition: &str) -> &str {
    partition.split_once(SEPARATOR).map_or(partition, |(client, _)| client)
}

/// Returns the item of an event that is stored at this time, in Unix milliseconds. It expires after `ttl`.
pub fn event_item(event: &Event, is_direct: bool, stored_at: u64, ttl: Option<Duration>, buckets: NonZeroU16) -> Item {
    let mut item = Item::new();
    let mut set = |name: &str, value: AttributeValue| _ = item.insert(name.to_owned(), value);
    set(CLIENT_ID, text(partition_of(&event.client_id, &event.id, buckets)));
    set(EVENT_KEY, text(sort_key(event.time, &event.id)));
    set(EVENT_TYPE, text(&event.event_type));
    set(DATA, text(&event.data));
    set(BODY_HASH, bytes(&event.body_hash));
    set(MESSAGE_ID, text(&event.message_id));
    set(SENT_AT, number(event.sent));
    set(STORED_AT, number(stored_at));
    if let Some(others) = &event.others {
        set(OTHERS, text(others));
    }
    if let Some(trace) = &event.trace {
        set(TRACE, text(trace));
    }
    if is_direct {
        set(DISPATCH, text(DIRECT));
    }
    if let Some(ttl) = ttl {
        set(EXPIRES_AT, number((stored_at / 1000).saturating_add(ttl.as_secs())));
    }
    item
}

/// Compares an event with the item that has its key.
pub(super) fn compare(item: &Item, event: &Event) -> Put {
    let hash = item.get(BODY_HASH).and_then(|value| value.as_b().ok());
    if hash.is_some_and(|hash| hash.as_ref() == event.body_hash) {
        Put::Duplicate { is_direct: string(item, DISPATCH) == Some(DIRECT) }
    } else {
        Put::Conflict
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::moment::Moment;

    fn event(id: &str) -> Event {
        Event {
            client_id: "c".to_owned(),
            event_type: "t".to_owned(),
            id: id.to_owned(),
            time: Moment::from_unix_millis(1_700_000_000_123).unwrap(),
            data: r#"{"n": 1.10}"#.to_owned(),
            others: None,
            body_hash: [7; 32],
            message_id: "m".to_owned(),
            sent: 1_700_000_000_999,
            trace: None,
        }
    }

    const ONE: NonZeroU16 = NonZeroU16::MIN;
    const STORED: u64 = 1_700_000_010_500;

    fn names(item: &Item) -> BTreeSet<&str> {
        item.keys().map(String::as_str).collect()
    }

    #[test]
    fn an_item_has_only_the_attributes_that_its_event_has() {
        let plain = event_item(&event("e"), false, STORED, None, ONE);
        let expected =
            ["body_hash", "client_id", "data", "event_key", "event_type", "message_id", "sent_at", "stored_at"]
                .map(str::to_owned);
        assert!(names(&plain).iter().eq(expected.iter()), "{plain:?}");
        assert_eq!(string(&plain, EVENT_KEY), Some("2023-11-14T22:13:20.123Z#e"));
        assert_eq!(string(&plain, DATA), Some(r#"{"n": 1.10}"#));
        let full = Event { others: Some("{}".to_owned()), trace: Some("00-".to_owned()), ..event("e") };
        let full = event_item(&full, true, STORED, Some(Duration::from_secs(60)), ONE);
        assert_eq!(names(&full).len(), 12);
        assert_eq!(full[EXPIRES_AT], number(1_700_000_070));
    }

    #[test]
    fn an_item_with_the_same_body_is_the_same_event() {
        let (first, other) = (event("e"), Event { body_hash: [8; 32], ..event("e") });
        for is_direct in [false, true] {
            let item = event_item(&first, is_direct, STORED, None, ONE);
            assert_eq!(compare(&item, &first), Put::Duplicate { is_direct });
            assert_eq!(compare(&item, &other), Put::Conflict);
        }
        let foreign = Item::from([(CLIENT_ID.to_owned(), text("c")), (EVENT_KEY.to_owned(), text("k"))]);
        assert_eq!(compare(&foreign, &first), Put::Conflict);
    }

    #[test]
    fn a_key_fits_into_the_limits_of_dynamodb() {
        let longest = Event { client_id: "\u{1f980}".repeat(64), ..event(&"i".repeat(256)) };
        let item = event_item(&longest, false, STORED, None, NonZeroU16::MAX);
        assert!(string(&item, CLIENT_ID).unwrap().len() <= 2048 && string(&item, EVENT_KEY).unwrap().len() <= 1024);
    }

    proptest! {
        #[test]
        fn a_partition_names_its_client(client_id in "[^\\p{Cc}]{1,40}", id in "\\PC{1,40}", buckets: NonZeroU16) {
            let partition = partition_of(&client_id, &id, buckets);
            prop_assert_eq!(client(&partition), client_id.as_str());
            prop_assert_eq!(partition_of(&client_id, &id, ONE), client_id);
        }
    }
}
