//! Messages that can never be stored: their dead letters, and what becomes of the good ones beside them.

use std::collections::HashMap;
use std::time::Duration;

use google_cloud_pubsub::model::{Message, RetryPolicy};
use google_cloud_wkt::Duration as WireDuration;
use tokio::time::Instant;

use crate::support::dynamo::{Item, item, text};
use crate::support::pipeline::{Pipeline, good, scan};

fn reason(letter: &Message) -> Option<&str> {
    letter.attributes.get("rejection_reason").map(String::as_str)
}

/// Publishes one message and gives its dead letter.
async fn letter_of(pipeline: &Pipeline, message: &Message) -> Message {
    let accepted = pipeline.pubsub.try_publish(&pipeline.topic, [message.clone()]).await.remove(0);
    accepted.expect("it is accepted");
    pipeline.dead_letters(1).await.remove(0)
}

/// Good scans that follow poison are stored within seconds, though no dead-letter topic takes it.
async fn good_scans_pass_poison(pipeline: &Pipeline) {
    pipeline.publish((0..5_000).map(|n| format!("poison {n}"))).await;
    let mut consumer = pipeline.consumer_without_letters().start();
    consumer.line("consuming").await;
    let published = Instant::now();

    pipeline.publish(good(0..1_000)).await;

    assert_eq!(pipeline.rows(1_000).await.len(), 1_000);
    assert!(published.elapsed() < Duration::from_secs(15), "it took {:?}", published.elapsed());
}

#[tokio::test]
async fn poison_without_a_dead_letter_topic_does_not_starve_good_scans() {
    good_scans_pass_poison(&Pipeline::new().await).await;
}

#[tokio::test]
async fn poison_on_a_subscription_with_a_retry_policy_does_not_starve_good_scans() {
    let mut pipeline = Pipeline::new().await;
    let seconds = |seconds| WireDuration::clamp(seconds, 0);
    let policy = RetryPolicy::new().set_minimum_backoff(seconds(10)).set_maximum_backoff(seconds(600));
    let spaced = pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_retry_policy(policy));
    pipeline.subscription = spaced.await;
    good_scans_pass_poison(&pipeline).await;
}

#[tokio::test]
async fn a_row_that_is_not_ours_is_left_alone_and_its_scan_becomes_a_dead_letter() {
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

    for letter in pipeline.dead_letters(2).await {
        assert_eq!(reason(&letter), Some("refused_by_store"), "{letter:?}");
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

    let letter = letter_of(&pipeline, &large).await;

    assert_eq!(reason(&letter), Some("item_too_large"));
    assert_eq!(letter.data, large.data);
}

#[tokio::test]
async fn an_original_at_the_limits_of_a_message_becomes_a_dead_letter_with_its_reason() {
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
        let letter = letter_of(&pipeline, &original).await;

        assert_eq!(letter.data, original.data);
        assert_eq!(reason(&letter), Some("malformed_json"));
        assert!(letter.attributes.len() <= 100);
        let kept = original.attributes.iter().filter(|(name, value)| letter.attributes.get(*name) == Some(*value));
        assert!(kept.count() + 1 >= original.attributes.len(), "more than one of the original's attributes is gone");
    }
}

/// As large as a message may be, less its overhead.
fn of_largest_size(before: &str, repeated: &[u8], closing: &str, after: &str) -> Vec<u8> {
    let times = (10_000_000 - 200 - before.len() - after.len()) / (repeated.len() + closing.len());
    [before.as_bytes(), &repeated.repeat(times), closing.repeat(times).as_bytes(), after.as_bytes()].concat()
}

#[tokio::test]
async fn a_payload_made_to_cost_more_than_its_size_becomes_a_dead_letter_that_is_accepted() {
    let pipeline = Pipeline::new().await;
    let _consumer = pipeline.consumer().start();
    let good = r#"{"ip":"1.1.1.1","port":80,"service":"HTTP","timestamp":7,"data_version":2"#;
    let text = format!(r#"{good},"data":{{"response_str":""#);
    let unknown = format!(r#"{good},"a":"#);
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
        let letter = letter_of(&pipeline, &Message::new().set_data(payload.clone())).await;

        assert!(letter.data == payload, "the payload is another: {start}");
        assert_eq!(reason(&letter), Some(expected), "{start}");
    }
    assert_eq!(pipeline.rows(0).await.len(), 0);
}

#[tokio::test]
async fn an_attribute_of_the_original_that_bears_our_name_gives_way() {
    let pipeline = Pipeline::new().await;
    let _consumer = pipeline.consumer().start();
    let attributes = HashMap::from([("rejection_reason", "older"), ("team", "red")]);

    let letter = letter_of(&pipeline, &Message::new().set_data("poison").set_attributes(attributes)).await;

    assert_eq!(reason(&letter), Some("malformed_json"));
    assert_eq!(letter.attributes.get("team").map(String::as_str), Some("red"));
    assert_eq!(letter.attributes["source_subscription"], pipeline.subscription);
    let rejected = scan("1.1.1.1", 7, "good").replace("80", "70000");
    let letter = letter_of(&pipeline, &Message::new().set_data(rejected)).await;
    assert_eq!(reason(&letter), Some("invalid_port"));
    assert_eq!(pipeline.rows(0).await.len(), 0);
}
