//! `list` shows dead letters and does not change them.

use google_cloud_pubsub::model::{Message, RetryPolicy};
use google_cloud_wkt::Duration as WireDuration;
use serde_json::{Value, json};

use super::{backlog, command, command_for, dead_letter, publish, stdout_of_success};
use crate::support::pipeline::{Pipeline, scan};

#[tokio::test]
async fn lists_a_dead_letter_with_its_reason_and_does_not_remove_it() {
    let pipeline = Pipeline::new().await;
    let poison = scan("1.1.1.1", 7, "good").replace("80", "70000");
    let _consumer = pipeline.consumer().start();
    pipeline.publish([poison.clone()]).await;
    pipeline.drained().await;

    // The second run shows that the first one changed nothing.
    for _ in 0..2 {
        let exit = command_for(&pipeline, "list", 1).run().await;

        let table = stdout_of_success(&exit);
        let (head, row) = table.split_once('\n').expect("a line for the dead letter");
        assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["REASON", "AGE", "SOURCE", "SIZE", "DETAIL"]);
        let source = pipeline.subscription.rsplit('/').next().expect("an id");
        let size = format!("{} B", poison.len());
        let parts = ["invalid_port", source, &size, "70000"];
        assert!(parts.iter().all(|part| row.contains(part)), "{table}");
        assert!(exit.output.stderr[0].starts_with("1 dead letter, "), "{exit:#?}");
    }
    assert_eq!(&pipeline.dead_letters(1).await[0].data[..], poison.as_bytes());
}

#[tokio::test]
async fn releases_the_listed_dead_letters_immediately() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline, (0..20).map(|n| dead_letter(&pipeline, "invalid_ip", &format!("poison {n}")))).await;

    stdout_of_success(&command_for(&pipeline, "list", 20).run().await);

    // Released ones may have been delivered to the stream again before the server noticed its end.
    assert!(pipeline.pubsub.counts(&pipeline.dead_letter_subscription).nacked >= 20);
    let mut inbox = pipeline.pubsub.open(&pipeline.dead_letter_subscription);
    for _ in 0..20 {
        inbox.next().await.1.ack();
    }
}

#[tokio::test]
async fn json_output_has_all_fields_and_no_control_characters() {
    let pipeline = Pipeline::new().await;
    let detail = "found `\u{1b}]0;title\u{7}\u{9b}31m\u{202e}ö`";
    let attributes = [("rejection_detail", detail), ("redrive_count", "2"), ("delivery_attempt", "4")];
    let mut message = dead_letter(&pipeline, "malformed_json", "poison");
    message.attributes.extend(attributes.map(|(name, value)| (name.to_owned(), value.to_owned())));
    publish(&pipeline, [message]).await;

    let line = stdout_of_success(&command_for(&pipeline, "list", 1).arguments(["--json"]).run().await);

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
    let table = stdout_of_success(&command_for(&pipeline, "list", 1).run().await);
    assert!(table.contains("ö") && table.contains("\\u{1b}]0;title\\u{7}"), "{table}");
    assert!(!table.chars().any(|c| c != '\n' && c.is_control() || c == '\u{202e}'), "{table:?}");
}

#[tokio::test]
async fn reports_that_there_may_be_more_dead_letters_than_the_limit() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline, (0..5).map(|n| dead_letter(&pipeline, "invalid_ip", &format!("poison {n}")))).await;

    let exit = command_for(&pipeline, "list", 2).run().await;

    assert_eq!(stdout_of_success(&exit).lines().count(), 3, "{exit:#?}");
    assert!(exit.output.stderr[0].contains("there may be more: --limit 2"), "{exit:#?}");
    assert_eq!(backlog(&pipeline), 5);
}

#[tokio::test]
async fn reports_that_there_are_no_dead_letters() {
    let pipeline = Pipeline::new().await;

    let exit = command(&pipeline, "list").arguments(["--wait", "2s"]).run().await;

    assert_eq!(stdout_of_success(&exit), "");
    let notice =
        format!("0 dead letters on {}; no more for 2s. Dead letters that another", pipeline.dead_letter_subscription);
    assert!(exit.output.stderr[0].starts_with(&notice), "{exit:#?}");
    let exit = command(&pipeline, "redrive").arguments(["--wait", "2s"]).run().await;
    assert_eq!(exit.output.stdout[0], "Redrive finished. Redriven: 0, left: 0");
    assert!(stdout_of_success(&exit).contains("No more arrived for 2s. Dead letters that another"), "{exit:#?}");
}

#[tokio::test]
async fn waits_longer_and_reports_it_if_the_subscription_delays_redeliveries() {
    let mut pipeline = Pipeline::new().await;
    let seconds = |seconds| WireDuration::clamp(seconds, 0);
    let policy = RetryPolicy::new().set_minimum_backoff(seconds(4)).set_maximum_backoff(seconds(600));
    let subscription =
        pipeline.pubsub.subscription_with(&pipeline.dead_letter_topic, |plain| plain.set_retry_policy(policy));
    pipeline.dead_letter_subscription = subscription.await;
    publish(&pipeline, [dead_letter(&pipeline, "invalid_ip", "poison")]).await;

    let first = command(&pipeline, "list").run().await;
    let second = command(&pipeline, "list").run().await;

    assert!(first.output.stderr[0].ends_with("redelivers them after 4s at the earliest."), "{first:#?}");
    assert!(
        second.output.stderr[0].contains("1 dead letter on ") && second.output.stderr[0].contains("for 9s"),
        "{second:#?}"
    );
}

#[tokio::test]
async fn lists_a_message_without_a_reason_as_unknown() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline, [Message::new().set_data("no attributes")]).await;

    let table = stdout_of_success(&command_for(&pipeline, "list", 1).run().await);

    assert!(table.lines().nth(1).is_some_and(|row| row.starts_with("unknown")), "{table}");
}
