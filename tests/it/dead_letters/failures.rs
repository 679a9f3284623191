//! Failures: the error names the cause and what to do, and no dead letter is lost.

use google_cloud_pubsub::model::Message;

use super::{backlog, command, command_for, command_for_all, dead_letter, publish, stdout_of_success};
use crate::support::http_proxy::{HttpProxy, Reject};
use crate::support::pipeline::Pipeline;
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::{REFUSING, unique};

/// Checks that the program failed and printed all `parts`.
fn assert_failed(exit: &Exit, parts: &[&str]) {
    assert_exit(exit, 1, parts);
}

/// Checks that the program left dead letters and printed all `parts`.
fn assert_left(exit: &Exit, parts: &[&str]) {
    assert_exit(exit, 3, parts);
}

fn assert_exit(exit: &Exit, code: i32, parts: &[&str]) {
    assert_eq!(exit.code, Some(code), "{exit:#?}");
    let output = [exit.output.stdout.join("\n"), exit.output.stderr.join("\n")].join("\n");
    let missing: Vec<_> = parts.iter().filter(|part| !output.contains(**part)).collect();
    assert!(missing.is_empty(), "without {missing:?}: {output}");
}

#[tokio::test]
async fn names_a_missing_subscription_and_the_command_that_creates_it() {
    let mut pipeline = Pipeline::new().await;
    pipeline.dead_letter_subscription.push_str("-missing");
    let proxy = HttpProxy::before(&pipeline.pubsub.address, Reject::Gets).await;
    for task in ["list", "redrive"] {
        let parts = [&pipeline.dead_letter_subscription, "--subscription", "does not exist", "mini-scan setup pubsub"];
        assert_failed(&command(&pipeline, task).run().await, &parts);
        let without_gets = command(&pipeline, task).env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string());
        assert_failed(&without_gets.run().await, &parts);
    }
}

#[tokio::test]
async fn names_an_unreachable_server_and_the_variable_that_chose_it() {
    let launch = mini_scan(["dead-letters", "list"]).env("PUBSUB_EMULATOR_HOST", REFUSING);

    let chosen = format!("PUBSUB_EMULATOR_HOST={REFUSING}");
    assert_failed(&launch.run().await, &[&chosen, "scan-dead-letter", "mini-scan local"]);
}

#[tokio::test]
async fn leaves_dead_letters_without_a_known_source_and_asks_for_a_topic() {
    let pipeline = Pipeline::new().await;
    let gone = pipeline.pubsub.subscription_name(&unique("gone"));
    let of = |source: &str| {
        Message::new()
            .set_data("x")
            .set_attributes([("rejection_reason", "invalid_ip"), ("source_subscription", source)])
    };
    let bare = Message::new().set_data("x").set_attributes([("rejection_reason", "invalid_ip")]);
    publish(&pipeline, [of(&gone), of("../../../v1/evil"), bare]).await;
    publish(&pipeline, [dead_letter(&pipeline, "invalid_ip", "valid")]).await;

    let exit = command_for(&pipeline, "redrive", 1).run().await;

    let missing = format!("source subscription {gone} does not exist; choose a topic with --topic");
    let unnamed = "without a source subscription; choose a topic with --topic";
    let invalid = "../../../v1/evil is not a valid source subscription; choose";
    assert_left(&exit, &["Redriven: 1, left: 3", &missing, unnamed, invalid]);
    assert_eq!((pipeline.counts().published, backlog(&pipeline)), (1, 3));
}

#[tokio::test]
async fn asks_for_a_topic_if_the_topic_of_the_source_subscription_was_deleted() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline, [dead_letter(&pipeline, "invalid_ip", "x")]).await;
    pipeline.pubsub.topics.delete_topic().set_topic(&pipeline.topic).send().await.expect("the topic is deleted");

    let exit = command_for_all(&pipeline, "redrive").run().await;

    assert_left(&exit, &["the topic of source subscription", &pipeline.subscription, "was deleted", "--topic"]);
    assert_eq!(backlog(&pipeline), 1);
}

#[tokio::test]
async fn without_permission_to_get_subscriptions_list_works_and_redrive_asks_for_it_or_a_topic() {
    let pipeline = Pipeline::new().await;
    let proxy = HttpProxy::before(&pipeline.pubsub.address, Reject::Gets).await;
    let address = proxy.address.to_string();
    publish(&pipeline, [dead_letter(&pipeline, "invalid_ip", "x")]).await;
    let without_gets = |launch: Launch| launch.env("PUBSUB_EMULATOR_HOST", &address);

    let listed = without_gets(command_for(&pipeline, "list", 1)).run().await;
    assert!(stdout_of_success(&listed).contains("invalid_ip"));
    let parts = [pipeline.subscription.as_str(), "grant roles/pubsub.viewer", "--topic", "left: 1"];
    assert_left(&without_gets(command_for_all(&pipeline, "redrive")).run().await, &parts);

    let redrive = command_for(&pipeline, "redrive", 1).arguments(["--topic", &pipeline.topic]);
    stdout_of_success(&without_gets(redrive).run().await);
    assert_eq!((pipeline.counts().published, backlog(&pipeline)), (1, 0));
}

#[tokio::test]
async fn a_missing_topic_stops_the_redrive_and_keeps_the_dead_letters() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline, ["a", "b"].map(|payload| dead_letter(&pipeline, "invalid_ip", payload))).await;
    let missing = pipeline.pubsub.topic_name(&unique("missing"));

    let exit = command(&pipeline, "redrive").arguments(["--topic", &missing]).run().await;

    assert_failed(
        &exit,
        &["Redrive stopped before the end. Redriven: 0", &missing, "--topic", "mini-scan setup pubsub"],
    );
    assert_eq!(backlog(&pipeline), 2);
}

#[tokio::test]
async fn does_not_redrive_to_the_dead_letter_topic_itself() {
    let pipeline = Pipeline::new().await;
    let circular = Message::new().set_data("x").set_attributes([
        ("rejection_reason", "invalid_ip"),
        ("source_subscription", pipeline.dead_letter_subscription.as_str()),
    ]);
    publish(&pipeline, [circular]).await;

    let chosen = command(&pipeline, "redrive").arguments(["--topic", &pipeline.dead_letter_topic]).run().await;
    let named = command_for_all(&pipeline, "redrive").run().await;

    assert_failed(&chosen, &["--topic", &pipeline.dead_letter_topic, "come back as a dead letter"]);
    assert_left(&named, &["is on the dead-letter topic itself", "--topic"]);
    assert_eq!(backlog(&pipeline), 1);
}

#[tokio::test]
async fn leaves_a_message_that_the_topic_rejects_and_redrives_the_others() {
    let pipeline = Pipeline::new().await;
    // With its redrive count it has one attribute more than a message may have.
    let full = Message::new().set_data("full").set_attributes((0..100).map(|n| (format!("name-{n}"), String::new())));
    publish(&pipeline, [full, Message::new().set_data("valid")]).await;

    let exit = command_for(&pipeline, "redrive", 2).arguments(["--topic", &pipeline.topic]).run().await;

    assert_left(&exit, &["Redriven: 1, left: 1", "1 left: refused by the topic: "]);
    assert_eq!((pipeline.counts().published, backlog(&pipeline)), (1, 1));
}
