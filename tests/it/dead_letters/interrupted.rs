//! An interrupted run loses no dead letter and releases those that it has received.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{backlog, command, command_with_default_wait, dead_letter, publish, stdout_of_success, wait_for_leased};
use crate::support::pipeline::Pipeline;
use crate::support::program::Signal;
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{POLL_INTERVAL, with_timeout};

/// More than a redrive has in flight at a time.
const DEAD_LETTERS: usize = 5_000;
/// Shorter than every lease.
const BEFORE_LEASES_END: Duration = Duration::from_secs(8);

/// Publishes [`DEAD_LETTERS`] dead letters and returns their payloads.
async fn publish_many(pipeline: &Pipeline) -> BTreeSet<String> {
    let payloads: BTreeSet<_> = (0..DEAD_LETTERS).map(|n| format!("poison {n}")).collect();
    publish(pipeline, payloads.iter().map(|payload| dead_letter(pipeline, "invalid_ip", payload))).await;
    payloads
}

/// Takes all messages from the source subscription, acknowledges them, and returns their payloads.
async fn take_all(pipeline: &Pipeline) -> BTreeSet<String> {
    let mut inbox = pipeline.pubsub.open(&pipeline.subscription);
    let mut payloads = BTreeSet::new();
    for _ in 0..pipeline.counts().backlog() {
        let (message, handler) = inbox.next().await;
        handler.ack();
        payloads.insert(String::from_utf8(message.data.to_vec()).expect("a payload of this test"));
    }
    payloads
}

/// Waits until the first message is published to the source topic.
async fn wait_for_first_redriven(pipeline: &Pipeline) {
    let published = async {
        while pipeline.counts().published == 0 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout("a redriven message", published).await
}

#[tokio::test]
async fn a_killed_redrive_loses_nothing() {
    let pipeline = Pipeline::new().await;
    let payloads = publish_many(&pipeline).await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    proxy.delay(Duration::from_millis(300));
    let address = proxy.address.to_string();
    let mut killed = command(&pipeline, "redrive").env("PUBSUB_EMULATOR_HOST", &address).start();
    wait_for_first_redriven(&pipeline).await;

    killed.signal(Signal::Kill).await;
    killed.end_of_output().await;
    proxy.close_open();

    wait_for_leased(&pipeline, 0).await;
    let (moved, left) = (pipeline.counts().backlog(), backlog(&pipeline));
    let is_partial = 0 < left && left < DEAD_LETTERS + 1 && moved < DEAD_LETTERS;
    assert!(is_partial, "the kill came too early or too late: {moved} redriven, {left} left");
    let mut redriven = take_all(&pipeline).await;
    assert!(redriven.len() + left >= DEAD_LETTERS, "{} redriven and {left} left", redriven.len());
    let exit = command(&pipeline, "redrive").run().await;
    assert!(stdout_of_success(&exit).contains("left: 0"), "{exit:#?}");
    redriven.extend(take_all(&pipeline).await);
    assert!(redriven == payloads, "{} of {DEAD_LETTERS} were redriven", redriven.len());
    assert_eq!(backlog(&pipeline), 0);
}

#[tokio::test]
async fn a_stopped_redrive_completes_the_messages_in_flight_and_releases_the_others() {
    let pipeline = Pipeline::new().await;
    let payloads = publish_many(&pipeline).await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    proxy.delay(Duration::from_millis(300));
    let address = proxy.address.to_string();
    let stopped = command(&pipeline, "redrive").env("PUBSUB_EMULATOR_HOST", &address).start();
    wait_for_first_redriven(&pipeline).await;

    stopped.signal(Signal::Terminate).await;

    let exit = stopped.exit().await;
    assert_eq!(exit.code, Some(3), "{exit:#?}");
    assert!(exit.output.stdout[0].starts_with("Redrive stopped before the end. Redriven: "), "{exit:#?}");
    let counts = pipeline.pubsub.counts(&pipeline.dead_letter_subscription);
    assert_eq!((counts.outstanding, counts.expired), (0, 0));
    let mut redriven = take_all(&pipeline).await;
    // No message is on both subscriptions, because every published one was acknowledged.
    assert_eq!(redriven.len() + backlog(&pipeline), DEAD_LETTERS);
    stdout_of_success(&command(&pipeline, "redrive").run().await);
    redriven.extend(take_all(&pipeline).await);
    assert!(redriven == payloads, "{} of {DEAD_LETTERS} were redriven", redriven.len());
}

#[tokio::test]
async fn acknowledges_no_dead_letter_if_its_original_cannot_be_published() {
    let pipeline = Pipeline::new().await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    let address = proxy.address.to_string();
    let launch =
        command_with_default_wait(&pipeline, "redrive").arguments(["--wait", "10m", "--topic", &pipeline.topic]);
    let run = launch.env("PUBSUB_EMULATOR_HOST", &address).start();
    let reading = async {
        while pipeline.pubsub.counts(&pipeline.dead_letter_subscription).streams == 0 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout("an open stream", reading).await;

    // Acknowledgements still work over the open connection. Publishing needs another connection.
    proxy.refuse().await;
    publish(&pipeline, ["a", "b", "c"].map(|payload| dead_letter(&pipeline, "invalid_ip", payload))).await;

    let exit = run.exit().await;
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let stderr = exit.output.stderr.join("\n");
    let parts = ["cannot publish to topic", &pipeline.topic, "--topic", "PUBSUB_EMULATOR_HOST"];
    assert!(parts.iter().all(|part| stderr.contains(part)), "{exit:#?}");
    let counts = pipeline.pubsub.counts(&pipeline.dead_letter_subscription);
    assert_eq!((counts.acknowledged, counts.backlog(), counts.outstanding), (0, 3, 0));
}

#[tokio::test]
async fn an_interrupt_releases_unsettled_dead_letters_immediately() {
    for task in ["list", "redrive"] {
        let pipeline = Pipeline::new().await;
        publish(&pipeline, ["a", "b", "c"].map(|payload| dead_letter(&pipeline, "invalid_ip", payload))).await;
        let arguments: &[&str] = if task == "list" { &[] } else { &["--reason", "invalid_port"] };
        let arguments = arguments.iter().copied().chain(["--wait", "10m"]);
        let run = command_with_default_wait(&pipeline, task).arguments(arguments).start();
        wait_for_leased(&pipeline, 3).await;

        run.signal(Signal::Interrupt).await;

        let exit = run.exit().await;
        assert_eq!(exit.code, Some(if task == "list" { 1 } else { 3 }), "{exit:#?}");
        let output = [exit.output.stdout.join("\n"), exit.output.stderr.join("\n")].concat();
        assert!(output.contains("stopped before the end"), "{exit:#?}");
        let mut inbox = pipeline.pubsub.open(&pipeline.dead_letter_subscription);
        for _ in 0..3 {
            inbox.next_within(BEFORE_LEASES_END).await.expect("the dead letter was released").1.ack();
        }
        assert_eq!(pipeline.counts().published, 0);
    }
}
