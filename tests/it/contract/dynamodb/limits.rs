//! Sizes: what an item may hold, by the rule of
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{Put, code, put, put_if_newer};
use crate::support::dynamo::{Dynamo, Item, item, number, text};

const ITEM_BYTES: usize = 409_600;
const KEY_BYTES: usize = 2_048;

/// An item of exactly `bytes`: names and UTF-8 values count, nothing else.
fn of_bytes(bytes: usize) -> Item {
    let names = "pk".len() + "response".len();
    item([("pk", text("k")), ("response", text("x".repeat(bytes - names - "k".len())))])
}

#[tokio::test]
async fn an_item_of_exactly_400_kb_is_stored_and_one_byte_more_is_refused() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;

    dynamo.put(&table, of_bytes(ITEM_BYTES)).await;
    let answer = put(&dynamo, &table, of_bytes(ITEM_BYTES + 1)).await;

    assert_eq!(code(&answer), Some("ValidationException"), "{answer:?}");
    assert_eq!(dynamo.get(&table, "k").await, Some(of_bytes(ITEM_BYTES)));
}

#[tokio::test]
async fn text_counts_by_its_bytes_and_not_by_its_characters() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let euros = |count: usize| item([("pk", text("k")), ("response", text("€".repeat(count)))]);
    let fitting = (ITEM_BYTES - "pk".len() - "k".len() - "response".len()) / "€".len();

    dynamo.put(&table, euros(fitting)).await;
    let answer = put(&dynamo, &table, euros(fitting + 1)).await;

    assert_eq!(code(&answer), Some("ValidationException"), "{answer:?}");
}

#[tokio::test]
async fn binary_counts_by_its_bytes_and_not_by_its_base64() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let bytes =
        |count: usize| item([("pk", text("k")), ("response_bytes", AttributeValue::B(Blob::new(vec![0xff; count])))]);
    let fitting = ITEM_BYTES - "pk".len() - "k".len() - "response_bytes".len();

    dynamo.put(&table, bytes(fitting)).await;
    let answer = put(&dynamo, &table, bytes(fitting + 1)).await;

    assert_eq!(code(&answer), Some("ValidationException"), "{answer:?}");
}

/// AWS documents this as an approximation: a byte, and one more for every two significant digits. Whoever computes it
/// so never sends an item that is refused, which is what `item_too_large` relies on for numbers of zero and above.
#[tokio::test]
async fn a_number_counts_one_byte_and_one_for_every_two_significant_digits_at_most() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let numbers = [("0", 1), ("1", 2), ("80", 2), ("65535", 4), ("1740298125", 6), ("1000000000", 2)];
    let largest = (i64::MAX.to_string(), 11);

    for (value, bytes) in numbers.map(|(value, bytes)| (value.to_owned(), bytes)).into_iter().chain([largest]) {
        let mut row = of_bytes(ITEM_BYTES - "timestamp".len() - bytes);
        row.insert("timestamp".to_owned(), number(&value));
        let answer = put(&dynamo, &table, row).await;
        assert!(answer.is_ok(), "{value}: {answer:?}");
    }
}

#[tokio::test]
async fn an_item_beyond_400_kb_is_refused_before_its_condition_is_judged() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    dynamo.put(&table, item([("pk", text("k")), ("timestamp", number(2))])).await;

    let newer = dynamo.client.put_item().table_name(&table).condition_expression("attribute_not_exists(pk)");
    let answer = newer.set_item(Some(of_bytes(ITEM_BYTES + 1))).send().await;

    assert_eq!(code(&answer), Some("ValidationException"), "{answer:?}");
}

#[tokio::test]
async fn an_empty_response_is_stored_and_an_empty_key_is_refused() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let empty = |pk: &str| item([("pk", text(pk)), ("timestamp", number(1)), ("response", text(""))]);

    assert_eq!(put_if_newer(&dynamo, &table, empty("k")).await, Put::Stored);
    let answer = put(&dynamo, &table, empty("")).await;

    assert_eq!(dynamo.get(&table, "k").await, Some(empty("k")));
    assert_eq!(code(&answer), Some("ValidationException"), "{answer:?}");
}

#[tokio::test]
async fn a_key_of_2048_bytes_is_stored_and_a_longer_one_is_refused() {
    let dynamo = Dynamo::connect();
    let table = dynamo.table().await;
    let longest = "k".repeat(KEY_BYTES);

    dynamo.put(&table, item([("pk", text(&longest))])).await;
    let answer = put(&dynamo, &table, item([("pk", text(format!("{longest}k")))])).await;

    assert!(dynamo.get(&table, &longest).await.is_some());
    assert_eq!(code(&answer), Some("ValidationException"), "{answer:?}");
}

#[tokio::test]
async fn text_and_bytes_come_back_exactly() {
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
