//! Letters are shown, and nothing else happens to them.

use std::time::Duration;

use google_cloud_pubsub::model::{Message, RetryPolicy};
use google_cloud_wkt::Duration as WireDuration;
use serde_json::{Value, json};

use super::{dead_letters, letter, patient, succeeded, waiting, write};
use crate::support::pipeline::{Pipeline, scan};

/// Sooner than any lease ends.
const AT_ONCE: Duration = Duration::from_secs(8);

#[tokio::test]
async fn poison_is_listed_with_its_reason_and_left_where_it_is() {
    let pipeline = Pipeline::new().await;
    let poison = scan("1.1.1.1", 7, "good").replace("80", "70000");
    let _consumer = pipeline.consumer().start();
    pipeline.publish([poison.clone()]).await;
    pipeline.drained().await;

    // Twice, because looking changes nothing.
    for _ in 0..2 {
        let exit = dead_letters(&pipeline, "list").run().await;

        let table = succeeded(&exit);
        let (head, row) = table.split_once('\n').expect("a line for the letter");
        assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["REASON", "AGE", "SOURCE", "SIZE", "DETAIL"]);
        let source = pipeline.subscription.rsplit('/').next().expect("an id");
        let size = format!("{} B", poison.len());
        let parts = ["invalid_port", source, &size, "70000"];
        assert!(parts.iter().all(|part| row.contains(part)), "{table}");
        assert!(exit.said.stderr[0].starts_with("1 dead letter on "), "{exit:#?}");
    }
    assert_eq!(&pipeline.dead_letters(1).await[0].data[..], poison.as_bytes());
}

#[tokio::test]
async fn letters_that_were_listed_come_to_another_at_once() {
    let pipeline = Pipeline::new().await;
    write(&pipeline, (0..20).map(|n| letter(&pipeline, "invalid_ip", &format!("poison {n}")))).await;

    succeeded(&dead_letters(&pipeline, "list").run().await);

    let mut inbox = pipeline.pubsub.open(&pipeline.dead_letter_subscription);
    for _ in 0..20 {
        inbox.next_within(AT_ONCE).await.expect("it was given back").1.ack();
    }
    assert_eq!(pipeline.pubsub.counts(&pipeline.dead_letter_subscription).expired, 0);
}

#[tokio::test]
async fn json_has_every_field_of_a_letter_and_no_character_that_a_terminal_obeys() {
    let pipeline = Pipeline::new().await;
    let detail = "found `\u{1b}]0;title\u{7}\u{9b}31m\u{202e}ö`";
    let attributes = [("rejection_detail", detail), ("redrive_count", "2"), ("delivery_attempt", "4")];
    let mut written = letter(&pipeline, "malformed_json", "poison");
    written.attributes.extend(attributes.map(|(name, value)| (name.to_owned(), value.to_owned())));
    write(&pipeline, [written]).await;

    let line = succeeded(&dead_letters(&pipeline, "list").arguments(["--json"]).run().await);

    assert!(line.chars().all(|c| matches!(c, ' '..='~')), "{line:?}");
    let mut object: Value = serde_json::from_str(&line).expect("one object on one line");
    let fields = object.as_object_mut().expect("an object");
    assert!(fields.remove("age_s").is_some_and(|age| age.is_u64()));
    assert!(fields.remove("published").is_some() && fields.remove("message_id").is_some());
    let expected = json!({
        "reason": "malformed_json", "detail": detail, "source_subscription": pipeline.subscription, "bytes": 6,
        "source_message_id": "1", "source_publish_time": "2026-11-21T08:00:00Z", "delivery_attempt": 4,
        "redrive_count": 2,
    });
    assert_eq!(object, expected);
    let table = succeeded(&dead_letters(&pipeline, "list").run().await);
    assert!(table.contains("ö") && table.contains("\\u{1b}]0;title\\u{7}"), "{table}");
    assert!(!table.chars().any(|c| c != '\n' && c.is_control() || c == '\u{202e}'), "{table:?}");
}

#[tokio::test]
async fn it_says_when_there_may_be_more_than_the_limit() {
    let pipeline = Pipeline::new().await;
    write(&pipeline, (0..5).map(|n| letter(&pipeline, "invalid_ip", &format!("poison {n}")))).await;

    let exit = dead_letters(&pipeline, "list").arguments(["--limit", "2"]).run().await;

    assert_eq!(succeeded(&exit).lines().count(), 3, "{exit:#?}");
    assert!(exit.said.stderr[0].contains("there may be more: --limit 2"), "{exit:#?}");
    assert_eq!(waiting(&pipeline), 5);
}

#[tokio::test]
async fn where_there_is_none_it_says_so() {
    let pipeline = Pipeline::new().await;

    let exit = dead_letters(&pipeline, "list").run().await;

    assert_eq!(succeeded(&exit), "");
    let said =
        format!("0 dead letters on {}; no more for 2s. Dead letters that another", pipeline.dead_letter_subscription);
    assert!(exit.said.stderr[0].starts_with(&said), "{exit:#?}");
    let exit = dead_letters(&pipeline, "redrive").run().await;
    assert_eq!(exit.said.stdout[0], "Redrive finished. Redriven: 0, left: 0");
    assert!(succeeded(&exit).contains("No more arrived for 2s. Dead letters that another"), "{exit:#?}");
}

#[tokio::test]
async fn where_the_subscription_delays_what_is_given_back_it_waits_longer_and_says_so() {
    let mut pipeline = Pipeline::new().await;
    let seconds = |seconds| WireDuration::clamp(seconds, 0);
    let policy = RetryPolicy::new().set_minimum_backoff(seconds(4)).set_maximum_backoff(seconds(600));
    let spaced = pipeline.pubsub.subscription_with(&pipeline.dead_letter_topic, |plain| plain.set_retry_policy(policy));
    pipeline.dead_letter_subscription = spaced.await;
    write(&pipeline, [letter(&pipeline, "invalid_ip", "poison")]).await;

    let first = patient(&pipeline, "list").run().await;
    let second = patient(&pipeline, "list").run().await;

    assert!(first.said.stderr[0].ends_with("redelivers them after 4s at the earliest."), "{first:#?}");
    assert!(
        second.said.stderr[0].contains("1 dead letter on ") && second.said.stderr[0].contains("for 9s"),
        "{second:#?}"
    );
}

#[tokio::test]
async fn a_message_that_is_no_letter_is_listed_as_unknown() {
    let pipeline = Pipeline::new().await;
    write(&pipeline, [Message::new().set_data("who knows")]).await;

    let table = succeeded(&dead_letters(&pipeline, "list").run().await);

    assert!(table.lines().nth(1).is_some_and(|row| row.starts_with("unknown")), "{table}");
}
