//! The program's store: what it returns when a record exists already.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aws_sdk_dynamodb::operation::RequestId;
use mini_scan::consumer::ports::{Answer, Record, Store, StoreErrorKind};
use mini_scan::dynamo::Scans;
use mini_scan::scan::{DataVersion, Key, Scan};

use super::put;
use crate::support::dynamo::{Dynamo, item, text};
use crate::support::unique;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn scan(timestamp: u64, response: &str) -> Scan {
    Scan {
        key: Key::new(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), 80, "HTTP"),
        timestamp,
        data_version: DataVersion::V2,
        response: response.to_owned(),
        response_bytes: None,
    }
}

fn bytes(bytes: &[u8]) -> Scan {
    let scan = scan(1_740_298_125, &String::from_utf8_lossy(bytes));
    Scan { data_version: DataVersion::V1, response_bytes: Some(bytes.to_owned()), ..scan }
}

/// Stores `first`, then returns the result of writing `second`. Checks the size of the stored record in that result and
/// replaces it by 0.
async fn put_after(first: &Scan, ttl: Option<Duration>, second: &Scan, second_ttl: Option<Duration>) -> Answer {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let store = |ttl| Scans::new(dynamo.client.clone(), table.clone(), ttl);
    assert_eq!(store(ttl).put(first).await, Ok(Answer::Stored));
    match store(second_ttl).put(second).await.expect("the call succeeds") {
        Answer::Stored => Answer::Stored,
        Answer::Stale(stored) => {
            assert_eq!(Ok(stored.bytes), store(ttl).measure(first), "{first:?}");
            Answer::Stale(Record { bytes: 0, ..stored })
        }
    }
}

fn stale(timestamp: u64, is_same: bool) -> Answer {
    Answer::Stale(Record { timestamp, is_same, bytes: 0 })
}

#[tokio::test]
async fn recognizes_a_record_that_equals_the_sent_scan() {
    let plain = [0, 7, 1_000_000_000, 1_740_298_125, i64::MAX as u64].map(|timestamp| scan(timestamp, "hello"));
    let odd = [scan(7, ""), scan(7, "\u{0}\r\n\t\"\\ \u{fffd} \u{10ffff}"), bytes(&[0xff, 0, 0xfe]), bytes(&[0xff; 9])];
    for scan in plain.into_iter().chain(odd) {
        for ttl in [None, Some(DAY)] {
            assert_eq!(put_after(&scan, ttl, &scan, ttl).await, stale(scan.timestamp, true), "{scan:?}, {ttl:?}");
        }
    }
}

#[tokio::test]
async fn a_record_that_differs_in_any_attribute_is_not_the_same() {
    let sent = scan(7, "hello");
    assert_eq!(put_after(&scan(7, "Hello"), None, &sent, None).await, stale(7, false), "another response");
    assert_eq!(put_after(&scan(8, "hello"), None, &sent, None).await, stale(8, false), "another timestamp");
    assert_eq!(put_after(&sent, Some(DAY), &sent, None).await, stale(7, false), "a removed time to live");
    assert_eq!(put_after(&sent, None, &sent, Some(DAY)).await, stale(7, false), "an added time to live");
    let other_version = Scan { data_version: DataVersion::V1, ..sent.clone() };
    assert_eq!(put_after(&other_version, None, &sent, None).await, stale(7, false), "another version");
    // The text of both is U+FFFD, so only the bytes differ.
    let (one, other) = (bytes(&[0xff]), bytes(&[0xfe]));
    assert_eq!(put_after(&one, None, &other, None).await, stale(1_740_298_125, false), "other bytes");
}

#[tokio::test]
async fn a_newer_scan_replaces_the_stored_record() {
    assert_eq!(put_after(&scan(7, "old"), Some(DAY), &scan(8, "new"), None).await, Answer::Stored);
}

#[tokio::test]
async fn a_write_fails_with_missing_table_before_the_table_is_created_and_after_it_is_deleted() {
    let dynamo = Dynamo::connect();
    let name = unique("late");
    let store = Scans::new(dynamo.client.clone(), name.clone(), None);

    let before = store.put(&scan(7, "hello")).await.expect_err("the table does not exist yet");
    dynamo.create(&name).send().await.expect("the table is created");

    assert_eq!(before.kind, StoreErrorKind::MissingTable, "{before:?}");
    assert_eq!(store.put(&scan(7, "hello")).await, Ok(Answer::Stored));
    dynamo.client.delete_table().table_name(&name).send().await.expect("the table is deleted");
    let after = store.put(&scan(8, "hello")).await.expect_err("the table was deleted");
    assert_eq!(after.kind, StoreErrorKind::MissingTable, "{after:?}");
}

#[tokio::test]
async fn every_response_to_a_write_has_a_request_id() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;

    let stored = put(&dynamo, &table, item([("pk", text("k"))])).await.expect("the item is stored");
    let failed = put(&dynamo, &unique("missing"), item([("pk", text("k"))])).await.expect_err("the table is missing");

    assert!(stored.request_id().is_some(), "{stored:?}");
    assert!(failed.request_id().is_some(), "{failed:?}");
}
