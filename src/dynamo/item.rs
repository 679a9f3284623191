//! Builds the DynamoDB item of a scan and computes its size. Pure.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ScalarAttributeType};
use dynamodb::{EXPIRES_AT, Item};

use super::error::whole_seconds;
use crate::consumer::policy::expires_at;
use crate::hosts::Record;
use crate::scan::{Key, Reason, Rejection, Scan};

pub(super) const KEY: &str = "pk";
pub(super) const TIMESTAMP: &str = "timestamp";
pub(super) const RESPONSE_BYTES: &str = "response_bytes";

/// The attributes of every record, and their types. The key comes first.
static RECORD: [(&str, ScalarAttributeType); 7] = [
    (KEY, ScalarAttributeType::S),
    ("ip", ScalarAttributeType::S),
    ("port", ScalarAttributeType::N),
    ("service", ScalarAttributeType::S),
    (TIMESTAMP, ScalarAttributeType::N),
    ("response", ScalarAttributeType::S),
    ("data_version", ScalarAttributeType::N),
];
/// The attributes that only some records have, and their types.
static OPTIONAL: [(&str, ScalarAttributeType); 2] =
    [(RESPONSE_BYTES, ScalarAttributeType::B), (EXPIRES_AT, ScalarAttributeType::N)];

/// Returns the attributes that a record may have, and their types.
pub(super) fn types() -> impl Iterator<Item = &'static (&'static str, ScalarAttributeType)> {
    RECORD.iter().chain(&OPTIONAL)
}

/// The size of the largest item, including attribute names.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-items>
pub(super) const MAX_ITEM_BYTES: usize = 400 * 1024;

pub(super) fn item(scan: &Scan, ttl: Option<Duration>) -> Item {
    let mut item = HashMap::with_capacity(RECORD.len() + 2);
    let names = names(scan.response_bytes.is_some(), ttl.is_some());
    item.extend(names.map(str::to_owned).zip(values(scan, ttl)));
    item
}

/// Returns the record in an item, or `None` if the item is none. Ignores attributes that a newer program may have added.
pub(super) fn record(item: Item) -> Option<Record> {
    let (mut key, mut timestamp, mut data_version, mut response, mut response_bytes) = (None, None, None, None, None);
    // Looking up every name would hash it.
    for (name, value) in item {
        match (name.as_str(), value) {
            (KEY, AttributeValue::S(text)) => key = Key::parse(&text),
            (TIMESTAMP, AttributeValue::N(number)) => timestamp = whole_seconds(&number),
            ("data_version", AttributeValue::N(number)) => data_version = whole_seconds(&number),
            ("response", AttributeValue::S(text)) => response = Some(text),
            (RESPONSE_BYTES, AttributeValue::B(bytes)) => response_bytes = Some(bytes.into_inner()),
            _ => {}
        }
    }
    Some(Record { key: key?, timestamp: timestamp?, data_version: data_version?, response: response?, response_bytes })
}

/// Returns the names of a record's attributes.
pub(super) fn names(has_bytes: bool, has_ttl: bool) -> impl Iterator<Item = &'static str> {
    RECORD.iter().map(|(name, _)| *name).chain(has_bytes.then_some(RESPONSE_BYTES)).chain(has_ttl.then_some(EXPIRES_AT))
}

/// Returns the values of a record's attributes, in the order of [`names`].
pub(super) fn values(scan: &Scan, ttl: Option<Duration>) -> impl Iterator<Item = AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let record = [
        text(scan.key.as_str()),
        text(scan.key.ip()),
        AttributeValue::N(scan.key.port().to_owned()),
        text(scan.key.service()),
        AttributeValue::N(scan.timestamp.to_string()),
        text(&scan.response),
        AttributeValue::N((scan.data_version as u8).to_string()),
    ];
    let bytes = scan.response_bytes.as_ref().map(|bytes| AttributeValue::B(Blob::new(bytes.as_slice())));
    let expiry = ttl.map(|ttl| AttributeValue::N(expires_at(scan, ttl).to_string()));
    record.into_iter().chain(bytes).chain(expiry)
}

/// Returns the size of the scan's item. Rejects a scan whose item is too large for DynamoDB.
pub(super) fn measure(scan: &Scan, ttl: Option<Duration>) -> Result<usize, Rejection> {
    let size = size(scan, ttl);
    if size <= MAX_ITEM_BYTES {
        return Ok(size);
    }
    let detail = format!("the item is {size} bytes; DynamoDB accepts at most {MAX_ITEM_BYTES}");
    Err(Rejection::new(Reason::ItemTooLarge, detail))
}

/// Returns the size of the item as DynamoDB counts it: names and values, with numbers by their significant digits.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
fn size(scan: &Scan, ttl: Option<Duration>) -> usize {
    let Scan { key, timestamp, data_version, response, response_bytes } = scan;
    let port = key.port().parse().unwrap_or(u64::MAX);
    KEY.len()
        + key.as_str().len()
        + "ip".len()
        + key.ip().len()
        + "port".len()
        + number_size(port)
        + "service".len()
        + key.service().len()
        + TIMESTAMP.len()
        + number_size(*timestamp)
        + "response".len()
        + response.len()
        + "data_version".len()
        + number_size(*data_version as u64)
        + response_bytes.as_ref().map_or(0, |bytes| RESPONSE_BYTES.len() + bytes.len())
        + ttl.map_or(0, |ttl| EXPIRES_AT.len() + number_size(expires_at(scan, ttl)))
}

/// Returns the size of an item that DynamoDB returned. An attribute of a type that we do not write counts only its
/// name.
pub(super) fn stored_size(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.parse().map_or(number.len(), number_size),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        _ => 0,
    };
    item.iter().map(|(name, attribute)| name.len() + value(attribute)).sum()
}

/// Returns the size of a number: one byte plus one byte per two significant digits.
fn number_size(mut number: u64) -> usize {
    while number != 0 && number.is_multiple_of(10) {
        number /= 10;
    }
    let digits = number.checked_ilog10().map_or(0, |log| log as usize + 1);
    1 + digits.div_ceil(2)
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::scan::{DataVersion, Key};

    pub(in crate::dynamo) fn scan(response: String) -> Scan {
        Scan {
            key: Key::new(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), 80, "HTTP"),
            timestamp: 1_740_298_125,
            data_version: DataVersion::V2,
            response,
            response_bytes: None,
        }
    }

    #[test]
    fn an_item_has_exactly_the_attributes_of_a_record() {
        let mut names: Vec<_> = item(&scan("hello".into()), None).into_keys().collect();
        names.sort();
        assert_eq!(names, ["data_version", "ip", "pk", "port", "response", "service", "timestamp"]);
    }

    #[test]
    fn an_item_has_response_bytes_and_expiry_only_if_the_scan_does() {
        let mut scan = scan("\u{fffd}".into());
        scan.response_bytes = Some(vec![0xff]);
        let item = item(&scan, Some(Duration::from_secs(5)));
        assert_eq!(item["response_bytes"], AttributeValue::B(Blob::new([0xff])));
        assert_eq!(item["expires_at"], AttributeValue::N("1740298130".into()));
    }

    #[test]
    fn a_record_is_read_from_the_item_of_its_scan() {
        let mut scan = scan("\u{fffd}".into());
        scan.response_bytes = Some(vec![0xff]);
        let expected = Record {
            key: scan.key.clone(),
            timestamp: scan.timestamp,
            data_version: 2,
            response: "\u{fffd}".into(),
            response_bytes: Some(vec![0xff]),
        };
        let mut newer = item(&scan, Some(Duration::from_secs(5)));
        newer.insert("more".to_owned(), AttributeValue::Bool(true));
        assert_eq!(record(newer), Some(expected));
    }

    #[test]
    fn a_row_without_an_attribute_of_every_record_is_no_record() {
        for name in [KEY, TIMESTAMP, "response", "data_version"] {
            let mut row = item(&scan("hello".into()), None);
            row.insert(name.to_owned(), AttributeValue::Bool(true));
            assert_eq!(record(row), None, "{name}");
        }
    }

    #[test]
    fn types_has_the_type_of_each_attribute() {
        let mut scan = scan("\u{fffd}".into());
        scan.response_bytes = Some(vec![0xff]);
        let of_item = item(&scan, Some(Duration::from_secs(5))).into_iter().map(|(name, value)| {
            let kind = match value {
                AttributeValue::S(_) => ScalarAttributeType::S,
                AttributeValue::N(_) => ScalarAttributeType::N,
                AttributeValue::B(_) => ScalarAttributeType::B,
                other => panic!("{other:?} cannot be a key"),
            };
            (name, kind)
        });
        let listed: HashMap<_, _> = types().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect();
        assert_eq!(of_item.collect::<HashMap<_, _>>(), listed);
    }

    #[test]
    fn the_size_of_a_number_depends_on_its_significant_digits() {
        assert_eq!([0, 7, 80, 443, 65534, 1_000_000].map(number_size), [1, 2, 2, 3, 4, 2]);
    }

    #[test]
    fn a_stored_item_has_the_size_of_the_item_that_was_sent() {
        let mut scan = scan("\u{fffd}".into());
        scan.response_bytes = Some(vec![0xff]);
        let ttl = Some(Duration::from_secs(5));
        assert_eq!(stored_size(&item(&scan, ttl)), size(&scan, ttl));
    }

    #[test]
    fn an_item_may_have_at_most_400_kb() {
        let rest = size(&scan(String::new()), None);
        assert!(measure(&scan("x".repeat(MAX_ITEM_BYTES - rest)), None).is_ok());
        let rejection = measure(&scan("x".repeat(MAX_ITEM_BYTES - rest + 1)), None).unwrap_err();
        assert_eq!(rejection.reason, Reason::ItemTooLarge);
    }
}
