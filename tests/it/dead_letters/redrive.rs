//! `redrive` publishes the original messages of the chosen dead letters again.

use google_cloud_pubsub::model::{DeadLetterPolicy, Message};

use super::{
    attributes, backlog, command_for, command_for_all, dead_letter, publish, redriven, stdout_of_partial_success,
    stdout_of_success,
};
use crate::support::pipeline::{Pipeline, scan, valid_scans};
use crate::support::program::Exit;

#[expect(clippy::disallowed_methods, reason = "the consumer compares timestamps with the server's publish time")]
fn in_an_hour() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs() + 60 * 60
}

/// Returns `Redriven: N, left: M` from the closing line.
fn counts(exit: &Exit) -> &str {
    exit.output.stdout[0].split_once(". ").expect("a closing line").1
}

#[tokio::test]
async fn a_rejected_scan_is_stored_after_a_redrive_to_a_consumer_that_accepts_it() {
    let pipeline = Pipeline::new().await;
    let strict = pipeline.consumer().arguments(["--max-future-skew", "1m"]).start();
    pipeline.publish([scan("1.1.1.1", in_an_hour(), "from the future")]).await;
    pipeline.drained().await;
    drop(strict);
    let listed = stdout_of_success(&command_for(&pipeline, "list", 1).run().await);
    assert!(listed.contains("timestamp_in_future"), "{listed}");
    let _lenient = pipeline.consumer().arguments(["--max-future-skew", "2h"]).start();

    let exit = command_for(&pipeline, "redrive", 1).run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(exit.output.stdout[0], "Redrive finished. Redriven: 1, left: 0");
    assert_eq!(exit.output.stdout[1], format!("  1 redriven: timestamp_in_future to {}", pipeline.topic));
    assert_eq!(exit.output.stderr, [""; 0], "a progress bar without a terminal");
    assert!(pipeline.rows(1).await.contains_key("1.1.1.1#80#HTTP"));
    pipeline.drained().await;
    assert_eq!(backlog(&pipeline), 0);
}

#[tokio::test]
async fn publishes_the_original_payload_and_attributes_and_the_redrive_count() {
    let pipeline = Pipeline::new().await;
    let payload: Vec<u8> = (0..=255).collect();
    let original = Message::new().set_data(payload.clone()).set_attributes([("team", "red"), ("empty", "")]);
    let consumer = pipeline.consumer().start();
    pipeline.pubsub.try_publish(&pipeline.topic, [original]).await.remove(0).expect("the message is accepted");
    pipeline.drained().await;
    drop(consumer);

    stdout_of_success(&command_for(&pipeline, "redrive", 1).run().await);

    let message = redriven(&pipeline, 1).await.remove(0);
    assert_eq!(message.data, payload);
    assert_eq!(attributes(&message), [("team", "red"), ("empty", ""), ("mini_scan_redrive_count", "1")].into());
}

#[tokio::test]
async fn leaves_a_message_that_is_rejected_again_and_needs_force_after_three_redrives() {
    let pipeline = Pipeline::new().await;
    let _consumer = pipeline.consumer().start();
    let twice = Message::new().set_data("poison").set_attributes([("mini_scan_redrive_count", "2")]);
    pipeline.pubsub.try_publish(&pipeline.topic, [twice]).await.remove(0).expect("the message is accepted");
    pipeline.drained().await;

    let exit = command_for_all(&pipeline, "redrive").run().await;

    assert_eq!(counts(&exit), "Redriven: 1, left: 1", "{exit:#?}");
    assert!(stdout_of_partial_success(&exit).contains("1 left: rejected again during this run"), "{exit:#?}");
    let exit = command_for_all(&pipeline, "redrive").run().await;

    assert_eq!(counts(&exit), "Redriven: 0, left: 1", "{exit:#?}");
    assert!(stdout_of_partial_success(&exit).contains("already redriven 3 times; add --force"), "{exit:#?}");
    let exit = command_for_all(&pipeline, "redrive").arguments(["--force"]).run().await;
    assert_eq!(counts(&exit), "Redriven: 1, left: 1", "{exit:#?}");
    assert_eq!(attributes(&pipeline.dead_letters(1).await[0])["redrive_count"], "4");
}

#[tokio::test]
async fn redrives_only_the_dead_letters_with_the_chosen_reasons() {
    let pipeline = Pipeline::new().await;
    let written = |reason| dead_letter(&pipeline, reason, reason);
    publish(&pipeline, ["invalid_ip", "item_too_large"].map(written)).await;
    publish(&pipeline, ["invalid_port", "malformed_json", "invalid_port"].map(written)).await;

    let chosen = ["--reason", "invalid_port,malformed_json"];
    let exit = command_for(&pipeline, "redrive", 3).arguments(chosen).run().await;

    assert_eq!(counts(&exit), "Redriven: 3, left: 2", "{exit:#?}");
    let mut redriven: Vec<_> = redriven(&pipeline, 3).await.into_iter().map(|message| message.data).collect();
    redriven.sort();
    assert_eq!(redriven, ["invalid_port", "invalid_port", "malformed_json"]);
    let mut left: Vec<_> = pipeline.dead_letters(2).await.into_iter().map(|message| message.data).collect();
    left.sort();
    assert_eq!(left, ["invalid_ip", "item_too_large"]);
}

#[tokio::test]
async fn redrives_no_more_dead_letters_than_the_limit() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline, (0..10).map(|n| dead_letter(&pipeline, "invalid_ip", &format!("{n}")))).await;

    let exit = command_for(&pipeline, "redrive", 4).run().await;

    assert_eq!(counts(&exit), "Redriven: 4, left: 0", "{exit:#?}");
    assert!(stdout_of_success(&exit).contains("There may be more: the limit of 4"), "{exit:#?}");
    assert_eq!((pipeline.counts().published, backlog(&pipeline)), (4, 6));
}

#[tokio::test]
async fn a_dry_run_reports_what_it_would_redrive_and_changes_nothing() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline, [dead_letter(&pipeline, "invalid_port", "x")]).await;
    publish(&pipeline, ["x", "y"].map(|payload| dead_letter(&pipeline, "invalid_ip", payload))).await;

    let dry = ["--dry-run", "--reason", "invalid_ip"];
    let exit = command_for(&pipeline, "redrive", 2).arguments(dry).run().await;

    let expected = [
        "Dry run finished. Would be redriven: 2, left: 1".to_owned(),
        format!("  2 would be redriven: invalid_ip to {}", pipeline.topic),
        "  1 left: not selected by --reason: invalid_port".to_owned(),
        "There may be more: the limit of 2 was reached.".to_owned(),
    ];
    assert_eq!(exit.output.stdout, expected, "{exit:#?}");
    assert_eq!((pipeline.counts().published, backlog(&pipeline)), (0, 3));
}

#[tokio::test]
async fn redrives_all_dead_letters_to_the_chosen_topic() {
    let pipeline = Pipeline::new().await;
    let (topic, subscription) = pipeline.pubsub.topic_with_subscription().await;
    publish(&pipeline, [dead_letter(&pipeline, "invalid_ip", "a"), Message::new().set_data("b")]).await;

    let exit = command_for(&pipeline, "redrive", 2).arguments(["--topic", &topic]).run().await;

    assert_eq!(counts(&exit), "Redriven: 2, left: 0", "{exit:#?}");
    let mut inbox = pipeline.pubsub.open(&subscription);
    let mut redriven: Vec<_> = inbox.take(2).await.into_iter().map(|(message, _)| message.data).collect();
    redriven.sort();
    assert_eq!(redriven, ["a", "b"]);
    assert_eq!(pipeline.counts().published, 0);
}

#[tokio::test]
async fn redrives_each_dead_letter_to_the_topic_of_its_source_subscription() {
    let pipeline = Pipeline::new().await;
    let (_, other) = pipeline.pubsub.topic_with_subscription().await;
    let of_other = dead_letter(&pipeline, "invalid_ip", "other")
        .set_attributes([("rejection_reason", "invalid_ip"), ("source_subscription", other.as_str())]);
    publish(&pipeline, [dead_letter(&pipeline, "invalid_ip", "own"), of_other]).await;

    let exit = command_for(&pipeline, "redrive", 2).run().await;

    assert_eq!(counts(&exit), "Redriven: 2, left: 0", "{exit:#?}");
    assert_eq!(&redriven(&pipeline, 1).await[0].data[..], b"own");
    assert_eq!(&pipeline.pubsub.open(&other).next().await.0.data[..], b"other");
}

#[tokio::test]
async fn lists_and_redrives_messages_forwarded_by_pubsub_without_the_attributes_of_pubsub() {
    let pipeline = Pipeline::new().await;
    let policy =
        DeadLetterPolicy::new().set_dead_letter_topic(&pipeline.dead_letter_topic).set_max_delivery_attempts(5);
    let subscription =
        pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_dead_letter_policy(policy)).await;
    let sent = Message::new().set_data(valid_scans(0..1).next().expect("a scan")).set_attributes([("team", "red")]);
    pipeline.pubsub.try_publish(&pipeline.topic, [sent.clone()]).await.remove(0).expect("the message is accepted");
    assert_eq!(redriven(&pipeline, 1).await[0].data, sent.data);
    let mut inbox = pipeline.pubsub.open(&subscription);
    for _ in 0..5 {
        inbox.next().await.1.nack();
    }

    let listed = command_for(&pipeline, "list", 1).run().await;
    let chosen = ["--reason", "delivery_attempts_exhausted"];
    let exit = command_for(&pipeline, "redrive", 1).arguments(chosen).run().await;

    let row = stdout_of_success(&listed);
    let id = subscription.rsplit('/').next().expect("an id");
    let parts = ["delivery_attempts_exhausted", id, "after 5 delivery attempts"];
    assert!(parts.iter().all(|part| row.contains(part)), "{row}");
    assert_eq!(counts(&exit), "Redriven: 1, left: 0", "{exit:#?}");
    let message = redriven(&pipeline, 1).await.remove(0);
    assert_eq!(message.data, sent.data);
    assert_eq!(attributes(&message), [("team", "red"), ("mini_scan_redrive_count", "1")].into());
}
