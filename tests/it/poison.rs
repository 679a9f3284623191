//! Poison messages, which can never be stored: they become dead letters and do not delay valid scans.

use std::collections::HashMap;

use google_cloud_pubsub::model::{Message, RetryPolicy};
use google_cloud_wkt::Duration as WireDuration;

use crate::support::dynamo::{Item, item, text};
use crate::support::messages::CONSUMING;
use crate::support::pipeline::{Pipeline, scan, valid_scans};
use crate::support::with_timeout;

fn reason(dead_letter: &Message) -> Option<&str> {
    dead_letter.attributes.get("rejection_reason").map(String::as_str)
}

/// Publishes one message and returns its dead letter.
async fn dead_letter_of(pipeline: &Pipeline, message: &Message) -> Message {
    let published = pipeline.pubsub.try_publish(&pipeline.topic, [message.clone()]).await.remove(0);
    published.expect("the message is accepted");
    pipeline.dead_letters(1).await.remove(0)
}

/// Checks that valid scans are stored while poison messages without a dead-letter topic are redelivered again and again.
async fn assert_poison_does_not_starve_valid_scans(pipeline: &Pipeline) {
    // Each is parked for at least a second, so the scans would wait for minutes if that took one of the 20 permits.
    const POISON: usize = 1_000;
    pipeline.publish((0..POISON).map(|n| format!("poison {n}"))).await;
    let mut consumer = pipeline.consumer_without_dead_letter_topic().arguments(["-m", "20"]).start();
    consumer.wait_for_line(CONSUMING).await;

    pipeline.publish(valid_scans(0..200)).await;

    assert_eq!(with_timeout("the scans", pipeline.rows(200)).await.len(), 200);
    assert!(pipeline.counts().backlog() >= POISON, "{:?}", pipeline.counts());
}

#[tokio::test]
async fn poison_without_a_dead_letter_topic_does_not_starve_valid_scans() {
    assert_poison_does_not_starve_valid_scans(&Pipeline::with_faults().await.0).await;
}

#[tokio::test]
async fn poison_on_a_subscription_with_a_retry_policy_does_not_starve_valid_scans() {
    let (mut pipeline, _faults) = Pipeline::with_faults().await;
    let seconds = |seconds| WireDuration::clamp(seconds, 0);
    let policy = RetryPolicy::new().set_minimum_backoff(seconds(10)).set_maximum_backoff(seconds(600));
    let subscription = pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_retry_policy(policy));
    pipeline.subscription = subscription.await;
    assert_poison_does_not_starve_valid_scans(&pipeline).await;
}

#[tokio::test]
async fn a_foreign_row_is_not_changed_and_its_scan_becomes_a_dead_letter() {
    let pipeline = Pipeline::new().await;
    let key = |ip: &str| ("pk", text(format!("{ip}#80#HTTP")));
    let foreign: [Item; 2] = [
        item([key("1.1.1.1"), ("note", text("no timestamp"))]),
        item([key("1.1.1.2"), ("timestamp", text("9999-12-31"))]),
    ];
    for row in &foreign {
        pipeline.dynamo.put(&pipeline.table, row.clone()).await;
    }
    pipeline.publish([scan("1.1.1.1", 7, "good"), scan("1.1.1.2", 7, "good")]).await;

    let _consumer = pipeline.consumer().start();

    for dead_letter in pipeline.dead_letters(2).await {
        assert_eq!(reason(&dead_letter), Some("refused_by_store"), "{dead_letter:?}");
    }
    let rows = pipeline.rows(2).await;
    assert_eq!(rows.into_values().collect::<Vec<_>>(), foreign);
    pipeline.drained().await;
}

#[tokio::test]
async fn a_scan_too_large_for_an_item_becomes_a_dead_letter() {
    let pipeline = Pipeline::new().await;
    let _consumer = pipeline.consumer().start();
    let large = Message::new().set_data(scan("1.1.1.1", 7, &"x".repeat(400 << 10)));

    let dead_letter = dead_letter_of(&pipeline, &large).await;

    assert_eq!(reason(&dead_letter), Some("item_too_large"));
    assert_eq!(dead_letter.data, large.data);
}

#[tokio::test]
async fn a_message_at_the_limits_of_pubsub_becomes_a_dead_letter_with_a_reason() {
    let pipeline = Pipeline::new().await;
    let _consumer = pipeline.consumer().start();
    let hundred = (0..100).map(|n| (format!("attribute-{n:03}"), "v".repeat(n)));
    let longest = (0..100).map(|n| (format!("{n:0>256}"), "v".repeat(1_024)));
    let wide = (0..100).map(|n| (format!("{n}{}", "é".repeat(127)), "\u{1f980}".repeat(256)));
    let large = (0..100).map(|n| (format!("{n:0>256}"), "v".repeat(1_024)));
    let originals = [
        Message::new().set_data("poison").set_attributes(hundred),
        Message::new().set_data("poison").set_attributes(longest),
        Message::new().set_data("poison").set_attributes(wide),
        Message::new().set_data(vec![b'x'; 10_000_000 - 140_000]).set_attributes(large),
        Message::new().set_data(vec![b'x'; 10_000_000 - 200]),
    ];
    for original in originals {
        let dead_letter = dead_letter_of(&pipeline, &original).await;

        assert_eq!(dead_letter.data, original.data);
        assert_eq!(reason(&dead_letter), Some("malformed_json"));
        assert!(dead_letter.attributes.len() <= 100);
        let kept = |(name, value): &(&String, &String)| dead_letter.attributes.get(*name) == Some(*value);
        let kept = original.attributes.iter().filter(kept).count();
        assert!(kept + 1 >= original.attributes.len(), "the dead letter lacks more than one attribute");
    }
}

/// Returns a payload as large as a message may be, less its overhead.
fn of_largest_size(before: &str, repeated: &[u8], closing: &str, after: &str) -> Vec<u8> {
    let times = (10_000_000 - 200 - before.len() - after.len()) / (repeated.len() + closing.len());
    [before.as_bytes(), &repeated.repeat(times), closing.repeat(times).as_bytes(), after.as_bytes()].concat()
}

#[tokio::test]
async fn a_large_payload_that_is_costly_to_decode_becomes_a_dead_letter() {
    let pipeline = Pipeline::new().await;
    let _consumer = pipeline.consumer().start();
    let valid = r#"{"ip":"1.1.1.1","port":80,"service":"HTTP","timestamp":7,"data_version":2"#;
    let text = format!(r#"{valid},"data":{{"response_str":""#);
    let unknown = format!(r#"{valid},"a":"#);
    for (payload, expected) in [
        (of_largest_size("", b"\xff", "", ""), "malformed_json"),
        (of_largest_size(&text, b"scan\xed\xa0\x80", "", r#""}}"#), "malformed_json"),
        (of_largest_size(r#"{"ip":"#, b"[", "]", "}"), "invalid_ip"),
        (of_largest_size(&unknown, br#"{"a":"#, "", ""), "malformed_json"),
        (of_largest_size(&unknown, b"[", "]", "}"), "missing_field"),
        (of_largest_size("{", br#""ip":"1.1.1.1","#, "", r#""port":1}"#), "malformed_json"),
        (of_largest_size("{", br#""a":0,"#, "", r#""port":1}"#), "missing_field"),
        (of_largest_size(r#"{"ip":"::1","port":1"#, b"0", "", "}"), "invalid_port"),
        (of_largest_size(&unknown, b"9", "", "}"), "missing_field"),
        (of_largest_size(&text, br"\ud800", "", r#""}}"#), "item_too_large"),
    ] {
        let start = String::from_utf8_lossy(&payload[..100]).into_owned();
        let dead_letter = dead_letter_of(&pipeline, &Message::new().set_data(payload.clone())).await;

        assert!(dead_letter.data == payload, "the payload differs: {start}");
        assert_eq!(reason(&dead_letter), Some(expected), "{start}");
    }
    assert_eq!(pipeline.rows(0).await.len(), 0);
}

#[tokio::test]
async fn the_attributes_of_a_dead_letter_replace_attributes_of_the_original_with_the_same_name() {
    let pipeline = Pipeline::new().await;
    let _consumer = pipeline.consumer().start();
    let attributes = HashMap::from([("rejection_reason", "older"), ("team", "red")]);

    let dead_letter = dead_letter_of(&pipeline, &Message::new().set_data("poison").set_attributes(attributes)).await;

    assert_eq!(reason(&dead_letter), Some("malformed_json"));
    assert_eq!(dead_letter.attributes.get("team").map(String::as_str), Some("red"));
    assert_eq!(dead_letter.attributes["source_subscription"], pipeline.subscription);
    let rejected = scan("1.1.1.1", 7, "good").replace("80", "70000");
    let dead_letter = dead_letter_of(&pipeline, &Message::new().set_data(rejected)).await;
    assert_eq!(reason(&dead_letter), Some("invalid_port"));
    assert_eq!(pipeline.rows(0).await.len(), 0);
}
