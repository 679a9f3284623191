//! What is missing or refused is named, with what to do about it, and costs no letter.

use google_cloud_pubsub::model::Message;

use super::{dead_letters, letter, succeeded, waiting, write};
use crate::support::front::{Front, Refuse};
use crate::support::pipeline::Pipeline;
use crate::support::program::{Exit, mini_scan};
use crate::support::unique;

/// The program must have ended with 1, and said all `parts`.
fn is_refused(exit: &Exit, parts: &[&str]) {
    ends_with(exit, 1, parts);
}

/// The program must have ended with this code, and said all `parts`.
fn ends_with(exit: &Exit, code: i32, parts: &[&str]) {
    assert_eq!(exit.code, Some(code), "{exit:#?}");
    let said = [exit.said.stdout.join("\n"), exit.said.stderr.join("\n")].join("\n");
    let missing: Vec<_> = parts.iter().filter(|part| !said.contains(**part)).collect();
    assert!(missing.is_empty(), "without {missing:?}: {said}");
}

#[tokio::test]
async fn a_missing_subscription_is_named_with_the_command_that_creates_it() {
    let mut pipeline = Pipeline::new().await;
    pipeline.dead_letter_subscription.push_str("-missing");
    let front = Front::before(&pipeline.pubsub.address, Refuse::Looking).await;
    for task in ["list", "redrive"] {
        let parts = [&pipeline.dead_letter_subscription, "--subscription", "does not exist", "mini-scan setup pubsub"];
        is_refused(&dead_letters(&pipeline, task).run().await, &parts);
        let unseen = dead_letters(&pipeline, task).env("PUBSUB_EMULATOR_HOST", &front.address.to_string());
        is_refused(&unseen.run().await, &parts);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_what_chose_it() {
    let launch = mini_scan(["dead-letters", "list"]).env("PUBSUB_EMULATOR_HOST", "127.0.0.1:1");

    is_refused(&launch.run().await, &["PUBSUB_EMULATOR_HOST=127.0.0.1:1", "scan-dead-letter", "mini-scan local"]);
}

#[tokio::test]
async fn a_letter_whose_source_cannot_be_known_is_left_and_asks_for_a_topic() {
    let pipeline = Pipeline::new().await;
    let gone = pipeline.pubsub.subscription_name(&unique("gone"));
    let of = |source: &str| {
        Message::new()
            .set_data("x")
            .set_attributes([("rejection_reason", "invalid_ip"), ("source_subscription", source)])
    };
    let bare = Message::new().set_data("x").set_attributes([("rejection_reason", "invalid_ip")]);
    write(&pipeline, [of(&gone), of("../../../v1/evil"), bare, letter(&pipeline, "invalid_ip", "well")]).await;

    let exit = dead_letters(&pipeline, "redrive").run().await;

    let not_there = format!("source subscription {gone} does not exist; choose a topic with --topic");
    let unnamed = "without a source subscription; choose a topic with --topic";
    let wrong = "../../../v1/evil is not a valid source subscription; choose";
    ends_with(&exit, 3, &["Redriven: 1, left: 3", &not_there, unnamed, wrong]);
    assert_eq!((pipeline.counts().published, waiting(&pipeline)), (1, 3));
}

#[tokio::test]
async fn a_subscription_whose_topic_was_deleted_asks_for_a_topic() {
    let pipeline = Pipeline::new().await;
    write(&pipeline, [letter(&pipeline, "invalid_ip", "x")]).await;
    pipeline.pubsub.topics.delete_topic().set_topic(&pipeline.topic).send().await.expect("the topic is deleted");

    let exit = dead_letters(&pipeline, "redrive").run().await;

    ends_with(&exit, 3, &["the topic of source subscription", &pipeline.subscription, "was deleted", "--topic"]);
    assert_eq!(waiting(&pipeline), 1);
}

#[tokio::test]
async fn without_the_right_to_look_letters_are_listed_and_redrive_asks_for_it_or_a_topic() {
    let pipeline = Pipeline::new().await;
    let front = Front::before(&pipeline.pubsub.address, Refuse::Looking).await;
    let address = front.address.to_string();
    write(&pipeline, [letter(&pipeline, "invalid_ip", "x")]).await;
    let behind = |task| dead_letters(&pipeline, task).env("PUBSUB_EMULATOR_HOST", &address);

    assert!(succeeded(&behind("list").run().await).contains("invalid_ip"));
    let parts = [pipeline.subscription.as_str(), "grant roles/pubsub.viewer", "--topic", "left: 1"];
    ends_with(&behind("redrive").run().await, 3, &parts);

    succeeded(&behind("redrive").arguments(["--topic", &pipeline.topic]).run().await);
    assert_eq!((pipeline.counts().published, waiting(&pipeline)), (1, 0));
}

#[tokio::test]
async fn a_missing_topic_ends_the_run_and_keeps_the_letters() {
    let pipeline = Pipeline::new().await;
    write(&pipeline, ["a", "b"].map(|payload| letter(&pipeline, "invalid_ip", payload))).await;
    let missing = pipeline.pubsub.topic_name(&unique("missing"));

    let exit = dead_letters(&pipeline, "redrive").arguments(["--topic", &missing]).run().await;

    is_refused(&exit, &["Redrive stopped before the end. Redriven: 0", &missing, "--topic", "mini-scan setup pubsub"]);
    assert_eq!(waiting(&pipeline), 2);
}

#[tokio::test]
async fn the_dead_letter_topic_itself_is_no_topic_to_redrive_to() {
    let pipeline = Pipeline::new().await;
    let circle = Message::new().set_data("x").set_attributes([
        ("rejection_reason", "invalid_ip"),
        ("source_subscription", pipeline.dead_letter_subscription.as_str()),
    ]);
    write(&pipeline, [circle]).await;

    let chosen = dead_letters(&pipeline, "redrive").arguments(["--topic", &pipeline.dead_letter_topic]).run().await;
    let named = dead_letters(&pipeline, "redrive").run().await;

    is_refused(&chosen, &["--topic", &pipeline.dead_letter_topic, "come back as a dead letter"]);
    ends_with(&named, 3, &["is on the dead-letter topic itself", "--topic"]);
    assert_eq!(waiting(&pipeline), 1);
}

#[tokio::test]
async fn a_message_that_the_topic_refuses_is_left_and_the_others_go() {
    let pipeline = Pipeline::new().await;
    // With its count it has one attribute more than a message may have.
    let full = Message::new().set_data("full").set_attributes((0..100).map(|n| (format!("name-{n}"), String::new())));
    write(&pipeline, [full, Message::new().set_data("well")]).await;

    let exit = dead_letters(&pipeline, "redrive").arguments(["--topic", &pipeline.topic]).run().await;

    ends_with(&exit, 3, &["Redriven: 1, left: 1", "1 left: refused by the topic: "]);
    assert_eq!((pipeline.counts().published, waiting(&pipeline)), (1, 1));
}
