//! A purge deletes the selected dead letters and no others.

use std::future::pending;
use std::time::Duration;

use google_cloud_pubsub::model::Message;
use mini_scan::dead_letters::{Outcome, Purge, Selection, Subscription, purge};
use mini_scan::service::Endpoints;

use super::{
    backlog, command, command_for, command_for_all, dead_letter, publish, stdout_of_partial_success, stdout_of_success,
    wait_for_counts,
};
use crate::support::pipeline::Pipeline;
use crate::support::program::{Launch, Signal};

/// Writes two dead letters with other reasons, then two that the server delivers last.
async fn write_reasons(pipeline: &Pipeline) {
    for reasons in [["invalid_ip", "malformed_json"], ["invalid_port"; 2]] {
        publish(pipeline, reasons.map(|reason| dead_letter(pipeline, reason, reason))).await;
    }
}

/// Returns a purge of `limit` dead letters.
fn purge_command(pipeline: &Pipeline, limit: usize, flags: &[&str]) -> Launch {
    command_for(pipeline, "purge", limit).arguments(flags.iter().copied())
}

/// The payloads that are left, acked.
async fn left(pipeline: &Pipeline, count: usize) -> Vec<String> {
    assert_eq!(backlog(pipeline), count);
    let messages = pipeline.dead_letters(count).await;
    let payload = |message: Message| String::from_utf8(message.data.to_vec()).expect("as it was written");
    let mut payloads: Vec<_> = messages.into_iter().map(payload).collect();
    payloads.sort();
    payloads
}

#[tokio::test]
async fn deletes_the_selected_dead_letters_and_leaves_the_others() {
    let pipeline = Pipeline::new().await;
    write_reasons(&pipeline).await;

    let exit = purge_command(&pipeline, 2, &["--reason", "invalid_port", "--yes"]).run().await;

    let expected = [
        "Purge finished. Deleted: 2, left: 2",
        "  2 deleted: invalid_port",
        "  1 left: not selected by --reason: invalid_ip",
        "  1 left: not selected by --reason: malformed_json",
        "There may be more: the limit of 2 was reached.",
    ];
    assert_eq!(stdout_of_success(&exit), expected.join("\n"));
    assert_eq!(left(&pipeline, 2).await, ["invalid_ip", "malformed_json"]);
    assert_eq!(pipeline.counts().published, 0);
}

#[tokio::test]
async fn a_dry_run_deletes_nothing() {
    let pipeline = Pipeline::new().await;
    write_reasons(&pipeline).await;

    let exit = purge_command(&pipeline, 4, &["--all", "--dry-run"]).run().await;

    let report = stdout_of_success(&exit);
    assert!(report.starts_with("Dry run finished. Would be deleted: 4, left: 0\n"), "{report}");
    assert!(report.contains("\n  2 would be deleted: invalid_port\n"), "{report}");
    assert_eq!(backlog(&pipeline), 4);
}

#[tokio::test]
async fn deletes_at_most_the_limit() {
    let pipeline = Pipeline::new().await;
    write_reasons(&pipeline).await;

    let exit = purge_command(&pipeline, 3, &["--all", "--yes"]).run().await;

    let report = stdout_of_success(&exit);
    assert!(report.starts_with("Purge finished. Deleted: 3, left: 0\n"), "{report}");
    assert!(report.contains("There may be more: the limit of 3 was reached."), "{report}");
    assert_eq!(backlog(&pipeline), 1);
}

#[tokio::test]
async fn without_a_terminal_it_needs_yes_and_a_selection() {
    let pipeline = Pipeline::new().await;
    write_reasons(&pipeline).await;

    for (flags, hint) in [(["--reason", "invalid_port"], "--yes"), (["--yes", "--limit=1"], "--all")] {
        let exit = command(&pipeline, "purge").arguments(flags).run().await;

        assert_eq!(exit.code, Some(2), "{exit:#?}");
        assert!(exit.output.stderr.join("\n").contains(hint), "{exit:#?}");
    }
    let counts = pipeline.pubsub.counts(&pipeline.dead_letter_subscription);
    assert_eq!((counts.delivered, counts.ready), (0, 4));
}

#[tokio::test]
async fn selects_by_age_and_by_source() {
    let pipeline = Pipeline::new().await;
    let (_, other) = pipeline.pubsub.topic_with_subscription().await;
    let of_other = dead_letter(&pipeline, "invalid_ip", "other")
        .set_attributes([("rejection_reason", "invalid_ip"), ("source_subscription", other.as_str())]);
    publish(&pipeline, [dead_letter(&pipeline, "invalid_ip", "own"), Message::new().set_data("none")]).await;
    publish(&pipeline, [of_other]).await;

    let young = command_for_all(&pipeline, "purge").arguments(["--older-than", "1h", "--yes"]).run().await;
    // The first run has waited for longer than 1 s.
    let of_source = purge_command(&pipeline, 1, &["--older-than", "1s", "--source", &other, "--yes"]).run().await;

    assert!(stdout_of_success(&young).contains("\n  3 left: not selected by --older-than\n"), "{young:#?}");
    let report = stdout_of_success(&of_source);
    assert!(report.starts_with("Purge finished. Deleted: 1, left: 2\n"), "{report}");
    assert!(report.contains(&format!("  1 left: not selected by --source: {}\n", pipeline.subscription)), "{report}");
    assert!(report.contains("  1 left: not selected by --source: without a source subscription\n"), "{report}");
    assert_eq!(left(&pipeline, 2).await, ["none", "own"]);
}

#[tokio::test]
async fn a_redrive_selects_by_source_too() {
    let pipeline = Pipeline::new().await;
    publish(&pipeline, [Message::new().set_data("none")]).await;
    publish(&pipeline, [dead_letter(&pipeline, "invalid_ip", "own")]).await;

    let flags = ["--source", &pipeline.subscription, "--older-than", "1ms"];
    let exit = command_for(&pipeline, "redrive", 1).arguments(flags).run().await;

    assert!(stdout_of_success(&exit).starts_with("Redrive finished. Redriven: 1, left: 1\n"), "{exit:#?}");
    assert_eq!((pipeline.counts().published, backlog(&pipeline)), (1, 1));
}

#[tokio::test]
async fn a_purge_that_is_stopped_has_deleted_only_what_it_reports() {
    let pipeline = Pipeline::new().await;
    write_reasons(&pipeline).await;
    let run = command(&pipeline, "purge").arguments(["--reason", "invalid_port", "--yes"]);
    let run = run.arguments(["--wait", "10m"]).start();
    wait_for_counts(&pipeline, "two deleted dead letters", |counts| counts.acknowledged == 2).await;

    run.signal(Signal::Interrupt).await;

    let exit = run.exit().await;
    assert!(
        stdout_of_partial_success(&exit).starts_with("Purge stopped before the end. Deleted: 2, left: 2\n"),
        "{exit:#?}"
    );
    assert_eq!(backlog(&pipeline), 2);
}

/// An unconfirmed purge of `invalid_port`, as on a terminal.
fn question(pipeline: &Pipeline) -> Purge {
    Purge {
        from: Subscription {
            endpoints: Endpoints { pubsub: Some(pipeline.pubsub.address.clone()), dynamo: None },
            name: pipeline.dead_letter_subscription.clone(),
            wait: Some(Duration::from_secs(10)),
        },
        select: Selection { reasons: vec!["invalid_port".to_owned()], ..Selection::default() },
        limit: None,
        dry_run: false,
        is_confirmed: false,
    }
}

#[tokio::test]
async fn a_confirmed_purge_deletes_those_that_were_shown_and_none_that_came_later() {
    let pipeline = Pipeline::new().await;
    write_reasons(&pipeline).await;
    let mut out = Vec::new();

    let answer = async |count| {
        assert_eq!(count, 2);
        publish(&pipeline, [dead_letter(&pipeline, "invalid_port", "later")]).await;
        // Longer than a lease, which the client extends.
        tokio::time::sleep(Duration::from_secs(12)).await;
        true
    };
    let outcome = purge(&question(&pipeline), pending(), answer, &mut out).await.expect("it is read");

    let report = String::from_utf8(out).expect("text");
    assert_eq!(outcome, Outcome::Done, "{report}");
    assert!(
        report.starts_with("Selected: 2\n  2 selected: invalid_port\nPurge finished. Deleted: 2, left: 2\n"),
        "{report}"
    );
    assert_eq!(left(&pipeline, 3).await, ["invalid_ip", "later", "malformed_json"]);
}

#[tokio::test]
async fn a_purge_that_is_not_confirmed_deletes_nothing() {
    let pipeline = Pipeline::new().await;
    write_reasons(&pipeline).await;
    let mut out = Vec::new();

    let outcome = purge(&question(&pipeline), pending(), async |_| false, &mut out).await.expect("it is read");

    let report = String::from_utf8(out).expect("text");
    assert_eq!(outcome, Outcome::Stopped, "{report}");
    assert!(report.contains("Purge cancelled. Deleted: 0, left: 4\n"), "{report}");
    assert!(report.contains("  2 left: not confirmed\n") && report.ends_with("Nothing was deleted.\n"), "{report}");
    wait_for_counts(&pipeline, "released dead letters", |counts| counts.ready == 4).await;
    let counts = pipeline.pubsub.counts(&pipeline.dead_letter_subscription);
    assert!(counts.acknowledged == 0 && counts.nacked >= 4, "{counts:?}");
}
