//! Limits of sizes. The size of an item is defined in
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{Put, code, put, put_if_newer};
use crate::support::dynamo::{Dynamo, Item, item, number, text};

const ITEM_BYTES: usize = 409_600;
const KEY_BYTES: usize = 2_048;

/// Returns an item of exactly `bytes` bytes: those of its attribute names and of its values in UTF-8.
fn item_of_size(bytes: usize) -> Item {
    let names = "pk".len() + "response".len();
    item([("pk", text("k")), ("response", text("x".repeat(bytes - names - "k".len())))])
}

#[tokio::test]
async fn an_item_of_exactly_400_kb_is_stored_and_a_larger_one_is_rejected() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;

    dynamo.put(&table, item_of_size(ITEM_BYTES)).await;
    let result = put(&dynamo, &table, item_of_size(ITEM_BYTES + 1)).await;

    assert_eq!(code(&result), Some("ValidationException"), "{result:?}");
    assert_eq!(dynamo.get(&table, "k").await, Some(item_of_size(ITEM_BYTES)));
}

#[tokio::test]
async fn the_size_of_text_is_its_bytes_in_utf8() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let euros = |count: usize| item([("pk", text("k")), ("response", text("€".repeat(count)))]);
    let fitting = (ITEM_BYTES - "pk".len() - "k".len() - "response".len()) / "€".len();

    dynamo.put(&table, euros(fitting)).await;
    let result = put(&dynamo, &table, euros(fitting + 1)).await;

    assert_eq!(code(&result), Some("ValidationException"), "{result:?}");
}

#[tokio::test]
async fn the_size_of_binary_is_its_bytes_before_base64() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let bytes =
        |count: usize| item([("pk", text("k")), ("response_bytes", AttributeValue::B(Blob::new(vec![0xff; count])))]);
    let fitting = ITEM_BYTES - "pk".len() - "k".len() - "response_bytes".len();

    dynamo.put(&table, bytes(fitting)).await;
    let result = put(&dynamo, &table, bytes(fitting + 1)).await;

    assert_eq!(code(&result), Some("ValidationException"), "{result:?}");
}

/// AWS documents this size as an approximation. It must never be too small for a number from 0 up, because the check
/// for `item_too_large` computes it in the same way.
#[tokio::test]
async fn the_size_of_a_number_is_at_most_one_byte_plus_one_for_every_two_significant_digits() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let numbers = [("0", 1), ("1", 2), ("80", 2), ("65535", 4), ("1740298125", 6), ("1000000000", 2)];
    let largest = (i64::MAX.to_string(), 11);

    for (value, bytes) in numbers.map(|(value, bytes)| (value.to_owned(), bytes)).into_iter().chain([largest]) {
        let mut row = item_of_size(ITEM_BYTES - "timestamp".len() - bytes);
        row.insert("timestamp".to_owned(), number(&value));
        let result = put(&dynamo, &table, row).await;
        assert!(result.is_ok(), "{value}: {result:?}");
    }
}

#[tokio::test]
async fn an_item_above_400_kb_is_rejected_before_its_condition_is_evaluated() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    dynamo.put(&table, item([("pk", text("k")), ("timestamp", number(2))])).await;

    let newer = dynamo.client.put_item().table_name(&table).condition_expression("attribute_not_exists(pk)");
    let result = newer.set_item(Some(item_of_size(ITEM_BYTES + 1))).send().await;

    assert_eq!(code(&result), Some("ValidationException"), "{result:?}");
}

#[tokio::test]
async fn an_empty_response_is_stored_and_an_empty_key_is_rejected() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let empty = |pk: &str| item([("pk", text(pk)), ("timestamp", number(1)), ("response", text(""))]);

    assert_eq!(put_if_newer(&dynamo, &table, empty("k")).await, Put::Stored);
    let result = put(&dynamo, &table, empty("")).await;

    assert_eq!(dynamo.get(&table, "k").await, Some(empty("k")));
    assert_eq!(code(&result), Some("ValidationException"), "{result:?}");
}

#[tokio::test]
async fn a_key_of_2048_bytes_is_stored_and_a_longer_one_is_rejected() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let longest = "k".repeat(KEY_BYTES);

    dynamo.put(&table, item([("pk", text(&longest))])).await;
    let result = put(&dynamo, &table, item([("pk", text(format!("{longest}k")))])).await;

    assert!(dynamo.get(&table, &longest).await.is_some());
    assert_eq!(code(&result), Some("ValidationException"), "{result:?}");
}

#[tokio::test]
async fn text_and_bytes_are_returned_unchanged() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let row = item([
        ("pk", text("2001:db8::1#0#ünïcode # \u{1F600}")),
        ("response", text("\u{0}\u{1}\r\n\t\"\\ \u{7f} \u{fffd} \u{10ffff}")),
        ("response_bytes", AttributeValue::B(Blob::new((0..=255).collect::<Vec<u8>>()))),
        ("timestamp", number(0)),
    ]);

    dynamo.put(&table, row.clone()).await;

    let pk = row["pk"].as_s().expect("a string");
    assert_eq!(dynamo.scan(&table).await.into_iter().collect::<Vec<_>>(), [(pk.clone(), row.clone())]);
}
