//! The program's own store on the server: what it says of a record that is there already.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aws_sdk_dynamodb::operation::RequestId;
use mini_scan::consumer::ports::{Put, Store, StoreErrorKind, Stored};
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

/// Stores `first` and gives what becomes of `second`, but for the size of the record that was there, which must be that
/// of `first`.
async fn after(first: &Scan, ttl: Option<Duration>, second: &Scan, second_ttl: Option<Duration>) -> Put {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let store = |ttl| Scans::new(dynamo.client.clone(), table.clone(), ttl);
    assert_eq!(store(ttl).put(first).await, Ok(Put::Stored));
    match store(second_ttl).put(second).await.expect("the table answers") {
        Put::Stored => Put::Stored,
        Put::Stale(stored) => {
            assert_eq!(Ok(stored.bytes), store(ttl).measure(first), "{first:?}");
            Put::Stale(Stored { bytes: 0, ..stored })
        }
    }
}

fn stale(timestamp: u64, is_same: bool) -> Put {
    Put::Stale(Stored { timestamp, is_same, bytes: 0 })
}

#[tokio::test]
async fn a_record_is_known_as_the_very_one_that_was_sent() {
    let plain = [0, 7, 1_000_000_000, 1_740_298_125, i64::MAX as u64].map(|timestamp| scan(timestamp, "hello"));
    let odd = [scan(7, ""), scan(7, "\u{0}\r\n\t\"\\ \u{fffd} \u{10ffff}"), bytes(&[0xff, 0, 0xfe]), bytes(&[0xff; 9])];
    for scan in plain.into_iter().chain(odd) {
        for ttl in [None, Some(DAY)] {
            assert_eq!(after(&scan, ttl, &scan, ttl).await, stale(scan.timestamp, true), "{scan:?}, {ttl:?}");
        }
    }
}

#[tokio::test]
async fn a_record_that_differs_in_anything_is_another() {
    let sent = scan(7, "hello");
    assert_eq!(after(&scan(7, "Hello"), None, &sent, None).await, stale(7, false), "another response");
    assert_eq!(after(&scan(8, "hello"), None, &sent, None).await, stale(8, false), "another timestamp");
    assert_eq!(after(&sent, Some(DAY), &sent, None).await, stale(7, false), "a time to live that is gone");
    assert_eq!(after(&sent, None, &sent, Some(DAY)).await, stale(7, false), "a time to live that is new");
    let other_version = Scan { data_version: DataVersion::V1, ..sent.clone() };
    assert_eq!(after(&other_version, None, &sent, None).await, stale(7, false), "another version");
    // Both read as U+FFFD; only the exact bytes tell them apart.
    assert_eq!(after(&bytes(&[0xff]), None, &bytes(&[0xfe]), None).await, stale(1_740_298_125, false), "other bytes");
}

#[tokio::test]
async fn a_newer_scan_replaces_what_the_store_holds() {
    assert_eq!(after(&scan(7, "old"), Some(DAY), &scan(8, "new"), None).await, Put::Stored);
}

#[tokio::test]
async fn a_table_that_comes_later_is_missing_until_then() {
    let dynamo = Dynamo::connect();
    let name = unique("late");
    let store = Scans::new(dynamo.client.clone(), name.clone(), None);

    let before = store.put(&scan(7, "hello")).await.expect_err("there is no table");
    dynamo.create(&name).send().await.expect("the table is created");

    assert_eq!(before.kind, StoreErrorKind::MissingTable, "{before:?}");
    assert_eq!(store.put(&scan(7, "hello")).await, Ok(Put::Stored));
    dynamo.client.delete_table().table_name(&name).send().await.expect("the table is deleted");
    let after = store.put(&scan(8, "hello")).await.expect_err("there is no table any more");
    assert_eq!(after.kind, StoreErrorKind::MissingTable, "{after:?}");
}

#[tokio::test]
async fn every_answer_to_a_write_has_a_request_id() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;

    let stored = put(&dynamo, &table, item([("pk", text("k"))])).await.expect("it is stored");
    let refused = put(&dynamo, &unique("missing"), item([("pk", text("k"))])).await.expect_err("there is no table");

    assert!(stored.request_id().is_some(), "{stored:?}");
    assert!(refused.request_id().is_some(), "{refused:?}");
}
