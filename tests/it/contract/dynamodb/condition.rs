//! The conditional write: `attribute_not_exists(pk) OR #ts < :ts`.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use super::{Put, code, put_if_newer};
use crate::support::dynamo::{Dynamo, Item, item, number, text};

const PK: &str = "1.1.1.223#21705#SSH";

fn scan(timestamp: i64, response: &str) -> Item {
    item([
        ("pk", text(PK)),
        ("ip", text("1.1.1.223")),
        ("port", number(21705)),
        ("service", text("SSH")),
        ("timestamp", number(timestamp)),
        ("response", text(response)),
        ("data_version", number(2)),
    ])
}

#[tokio::test]
async fn the_first_write_of_a_key_is_stored() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;

    assert_eq!(put_if_newer(&dynamo, &table, scan(0, "first")).await, Put::Stored);

    assert_eq!(dynamo.get(&table, PK).await, Some(scan(0, "first")));
}

#[tokio::test]
async fn an_equal_or_older_write_is_rejected_with_the_stored_row() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    put_if_newer(&dynamo, &table, scan(1_740_298_125, "stored")).await;

    for timestamp in [1_740_298_125, 1_740_298_124, 0] {
        let put = put_if_newer(&dynamo, &table, scan(timestamp, "late")).await;
        assert_eq!(put, Put::Rejected(Some(scan(1_740_298_125, "stored"))), "{timestamp}");
    }
    assert_eq!(dynamo.get(&table, PK).await, Some(scan(1_740_298_125, "stored")));
}

#[tokio::test]
async fn a_newer_write_replaces_the_whole_row() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let mut first = scan(1, "\u{fffd}");
    first.insert("response_bytes".to_owned(), AttributeValue::B(Blob::new([0xff])));
    first.insert("expires_at".to_owned(), number(2_000_000_000));
    assert_eq!(put_if_newer(&dynamo, &table, first.clone()).await, Put::Stored);
    assert_eq!(dynamo.get(&table, PK).await, Some(first));

    assert_eq!(put_if_newer(&dynamo, &table, scan(2, "text")).await, Put::Stored);

    assert_eq!(dynamo.get(&table, PK).await, Some(scan(2, "text")), "the old row's attributes are gone");
}

#[tokio::test]
async fn timestamps_are_compared_as_numbers() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;

    for timestamp in [9, 10, 99, 100, 9_999_999_999, 10_000_000_000, i64::MAX - 1, i64::MAX] {
        let put = put_if_newer(&dynamo, &table, scan(timestamp, "newer")).await;
        assert_eq!(put, Put::Stored, "{timestamp}");
    }
    assert!(matches!(put_if_newer(&dynamo, &table, scan(i64::MAX - 1, "older")).await, Put::Rejected(_)));
    let row = dynamo.get(&table, PK).await.expect("the row exists");
    assert_eq!(row["timestamp"], number(i64::MAX), "the number keeps all its digits");
}

#[tokio::test]
async fn a_row_without_a_numeric_timestamp_rejects_every_scan_and_is_returned() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let foreign = [
        item([("pk", text(PK)), ("response", text("no timestamp"))]),
        item([("pk", text(PK)), ("timestamp", text("1"))]),
        item([("pk", text(PK)), ("timestamp", AttributeValue::Null(true))]),
    ];

    for row in foreign {
        dynamo.put(&table, row.clone()).await;
        assert_eq!(put_if_newer(&dynamo, &table, scan(i64::MAX, "ours")).await, Put::Rejected(Some(row)));
    }
}

#[tokio::test]
async fn a_rejected_write_without_all_old_returns_no_row() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    dynamo.put(&table, scan(1, "stored")).await;

    let put = dynamo.client.put_item().table_name(&table).condition_expression("attribute_not_exists(pk)");
    let result = put.set_item(Some(scan(2, "late"))).send().await;

    assert_eq!(code(&result), Some("ConditionalCheckFailedException"), "{result:?}");
    let failed = result.expect_err("the write is rejected").into_service_error();
    assert!(failed.is_conditional_check_failed_exception());
}

#[tokio::test]
async fn timestamp_is_a_reserved_word() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;

    let put = dynamo.client.put_item().table_name(&table).condition_expression("timestamp < :ts");
    let result = put.expression_attribute_values(":ts", number(1)).set_item(Some(scan(1, "any"))).send().await;

    assert_eq!(code(&result), Some("ValidationException"), "{result:?}");
}

#[tokio::test]
async fn the_newest_of_many_concurrent_writes_to_a_key_wins() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;

    for round in 0..20 {
        let timestamps = (0..8).map(|writer| round * 8 + (writer * 5 + round) % 8);
        let writes = timestamps.map(|timestamp| put_if_newer(&dynamo, &table, scan(timestamp, "raced")));
        let results = futures_util::future::join_all(writes).await;

        let row = dynamo.get(&table, PK).await.expect("the row exists");
        assert_eq!(row["timestamp"], number(round * 8 + 7), "round {round}: {results:?}");
        assert!(results.contains(&Put::Stored));
    }
}

#[tokio::test]
async fn a_write_returns_its_consumed_capacity() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let write = |response: &str| {
        let put = dynamo.client.put_item().table_name(&table).set_item(Some(scan(1, response)));
        put.return_consumed_capacity(ReturnConsumedCapacity::Total)
    };

    for (response, units) in [("short", 1.0), (&"x".repeat(1_500), 2.0), (&"x".repeat(10_000), 10.0)] {
        let output = write(response).send().await.expect("the item is stored");
        let consumed = output.consumed_capacity.expect("the consumed capacity");
        assert_eq!(consumed.capacity_units, Some(units), "{} bytes", response.len());
    }
    let rejected = write("late").condition_expression("attribute_not_exists(pk)").send().await;
    assert_eq!(code(&rejected), Some("ConditionalCheckFailedException"), "{rejected:?}");
}
