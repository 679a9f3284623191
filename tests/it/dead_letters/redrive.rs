//! Letters come back as what they were, and only those that were chosen.

use google_cloud_pubsub::model::{DeadLetterPolicy, Message};

use super::{attributes, brought_back, dead_letters, letter, partly_done, patient, succeeded, waiting, write};
use crate::support::pipeline::{Pipeline, good, scan};
use crate::support::program::Exit;

#[expect(clippy::disallowed_methods, reason = "the future is judged by when the server published")]
fn in_an_hour() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs() + 60 * 60
}

/// `Redriven: N, left: M` of the closing line.
fn counts(exit: &Exit) -> &str {
    exit.said.stdout[0].split_once(". ").expect("a closing line").1
}

#[tokio::test]
async fn a_rejected_scan_comes_back_through_a_consumer_that_accepts_it_now() {
    let pipeline = Pipeline::new().await;
    let strict = pipeline.consumer().arguments(["--max-future-skew", "1m"]).start();
    pipeline.publish([scan("1.1.1.1", in_an_hour(), "from the future")]).await;
    pipeline.drained().await;
    drop(strict);
    let listed = succeeded(&dead_letters(&pipeline, "list").run().await);
    assert!(listed.contains("timestamp_in_future"), "{listed}");
    let _lenient = pipeline.consumer().arguments(["--max-future-skew", "2h"]).start();

    let exit = dead_letters(&pipeline, "redrive").run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(exit.said.stdout[0], "Redrive finished. Redriven: 1, left: 0");
    assert_eq!(exit.said.stdout[1], format!("  1 redriven: timestamp_in_future to {}", pipeline.topic));
    assert_eq!(exit.said.stderr, [""; 0], "a bar where there is no terminal");
    assert!(pipeline.rows(1).await.contains_key("1.1.1.1#80#HTTP"));
    pipeline.drained().await;
    assert_eq!(waiting(&pipeline), 0);
}

#[tokio::test]
async fn the_original_comes_back_byte_for_byte_with_its_own_attributes_and_the_count() {
    let pipeline = Pipeline::new().await;
    let payload: Vec<u8> = (0..=255).collect();
    let original = Message::new().set_data(payload.clone()).set_attributes([("team", "red"), ("empty", "")]);
    let consumer = pipeline.consumer().start();
    pipeline.pubsub.try_publish(&pipeline.topic, [original]).await.remove(0).expect("it is accepted");
    pipeline.drained().await;
    drop(consumer);

    succeeded(&dead_letters(&pipeline, "redrive").run().await);

    let back = brought_back(&pipeline, 1).await.remove(0);
    assert_eq!(back.data, payload);
    assert_eq!(attributes(&back), [("team", "red"), ("empty", ""), ("mini_scan_redrive_count", "1")].into());
}

#[tokio::test]
async fn a_letter_that_is_rejected_again_is_left_and_after_three_redrives_must_be_forced() {
    let pipeline = Pipeline::new().await;
    let _consumer = pipeline.consumer().start();
    let twice = Message::new().set_data("poison").set_attributes([("mini_scan_redrive_count", "2")]);
    pipeline.pubsub.try_publish(&pipeline.topic, [twice]).await.remove(0).expect("it is accepted");
    pipeline.drained().await;

    let exit = patient(&pipeline, "redrive").arguments(["--wait", "5s"]).run().await;

    assert_eq!(counts(&exit), "Redriven: 1, left: 1", "{exit:#?}");
    assert!(partly_done(&exit).contains("1 left: rejected again during this run"), "{exit:#?}");
    let exit = dead_letters(&pipeline, "redrive").run().await;

    assert_eq!(counts(&exit), "Redriven: 0, left: 1", "{exit:#?}");
    assert!(partly_done(&exit).contains("already redriven 3 times; add --force"), "{exit:#?}");
    let exit = patient(&pipeline, "redrive").arguments(["--wait", "5s", "--force"]).run().await;
    assert_eq!(counts(&exit), "Redriven: 1, left: 1", "{exit:#?}");
    assert_eq!(attributes(&pipeline.dead_letters(1).await[0])["redrive_count"], "4");
}

#[tokio::test]
async fn only_letters_of_the_chosen_reasons_are_redriven() {
    let pipeline = Pipeline::new().await;
    let reasons = ["invalid_ip", "invalid_port", "malformed_json", "invalid_port", "item_too_large"];
    write(&pipeline, reasons.map(|reason| letter(&pipeline, reason, reason))).await;

    let chosen = ["--reason", "invalid_port,malformed_json"];
    let exit = dead_letters(&pipeline, "redrive").arguments(chosen).run().await;

    assert_eq!(counts(&exit), "Redriven: 3, left: 2", "{exit:#?}");
    let mut back: Vec<_> = brought_back(&pipeline, 3).await.into_iter().map(|message| message.data).collect();
    back.sort();
    assert_eq!(back, ["invalid_port", "invalid_port", "malformed_json"]);
    let mut left: Vec<_> = pipeline.dead_letters(2).await.into_iter().map(|message| message.data).collect();
    left.sort();
    assert_eq!(left, ["invalid_ip", "item_too_large"]);
}

#[tokio::test]
async fn no_more_than_the_limit_are_redriven() {
    let pipeline = Pipeline::new().await;
    write(&pipeline, (0..10).map(|n| letter(&pipeline, "invalid_ip", &format!("{n}")))).await;

    let exit = dead_letters(&pipeline, "redrive").arguments(["--limit", "4"]).run().await;

    assert_eq!(counts(&exit), "Redriven: 4, left: 0", "{exit:#?}");
    assert!(succeeded(&exit).contains("There may be more: the limit of 4"), "{exit:#?}");
    assert_eq!((pipeline.counts().published, waiting(&pipeline)), (4, 6));
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let pipeline = Pipeline::new().await;
    write(&pipeline, ["invalid_ip", "invalid_ip", "invalid_port"].map(|reason| letter(&pipeline, reason, "x"))).await;

    let dry = ["--dry-run", "--reason", "invalid_ip"];
    let exit = dead_letters(&pipeline, "redrive").arguments(dry).run().await;

    let expected = [
        "Dry run finished. Would be redriven: 2, left: 1".to_owned(),
        format!("  2 would be redriven: invalid_ip to {}", pipeline.topic),
        "  1 left: not selected by --reason: invalid_port".to_owned(),
        "No more arrived for 2s.".to_owned(),
    ];
    assert_eq!(exit.said.stdout, expected, "{exit:#?}");
    assert_eq!((pipeline.counts().published, waiting(&pipeline)), (0, 3));
}

#[tokio::test]
async fn letters_go_to_the_chosen_topic_whatever_they_say() {
    let pipeline = Pipeline::new().await;
    let (topic, elsewhere) = pipeline.pubsub.pair().await;
    write(&pipeline, [letter(&pipeline, "invalid_ip", "a"), Message::new().set_data("b")]).await;

    let exit = dead_letters(&pipeline, "redrive").arguments(["--topic", &topic]).run().await;

    assert_eq!(counts(&exit), "Redriven: 2, left: 0", "{exit:#?}");
    let mut inbox = pipeline.pubsub.open(&elsewhere);
    let mut back: Vec<_> = inbox.take(2).await.into_iter().map(|(message, _)| message.data).collect();
    back.sort();
    assert_eq!(back, ["a", "b"]);
    assert_eq!(pipeline.counts().published, 0);
}

#[tokio::test]
async fn letters_of_several_sources_go_each_to_its_own() {
    let pipeline = Pipeline::new().await;
    let (_, other) = pipeline.pubsub.pair().await;
    let of_other = letter(&pipeline, "invalid_ip", "other")
        .set_attributes([("rejection_reason", "invalid_ip"), ("source_subscription", other.as_str())]);
    write(&pipeline, [letter(&pipeline, "invalid_ip", "own"), of_other]).await;

    let exit = dead_letters(&pipeline, "redrive").run().await;

    assert_eq!(counts(&exit), "Redriven: 2, left: 0", "{exit:#?}");
    assert_eq!(&brought_back(&pipeline, 1).await[0].data[..], b"own");
    assert_eq!(&pipeline.pubsub.open(&other).next().await.0.data[..], b"other");
}

#[tokio::test]
async fn what_pubsub_itself_forwarded_is_listed_and_comes_back_without_its_attributes() {
    let pipeline = Pipeline::new().await;
    let policy =
        DeadLetterPolicy::new().set_dead_letter_topic(&pipeline.dead_letter_topic).set_max_delivery_attempts(5);
    let policed =
        pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_dead_letter_policy(policy)).await;
    let sent = Message::new().set_data(good(0..1).next().expect("a scan")).set_attributes([("team", "red")]);
    pipeline.pubsub.try_publish(&pipeline.topic, [sent.clone()]).await.remove(0).expect("it is accepted");
    assert_eq!(brought_back(&pipeline, 1).await[0].data, sent.data);
    let mut inbox = pipeline.pubsub.open(&policed);
    for _ in 0..5 {
        inbox.next().await.1.nack();
    }

    let listed = dead_letters(&pipeline, "list").run().await;
    let chosen = ["--reason", "delivery_attempts_exhausted"];
    let exit = dead_letters(&pipeline, "redrive").arguments(chosen).run().await;

    let row = succeeded(&listed);
    let id = policed.rsplit('/').next().expect("an id");
    let parts = ["delivery_attempts_exhausted", id, "after 5 delivery attempts"];
    assert!(parts.iter().all(|part| row.contains(part)), "{row}");
    assert_eq!(counts(&exit), "Redriven: 1, left: 0", "{exit:#?}");
    let back = brought_back(&pipeline, 1).await.remove(0);
    assert_eq!(back.data, sent.data);
    assert_eq!(attributes(&back), [("team", "red"), ("mini_scan_redrive_count", "1")].into());
}
