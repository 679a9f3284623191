//! An interrupted run loses no dead letter and releases those that it has received.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pubsub_local::Event;

use super::{backlog, command, command_for, dead_letter, publish, stdout_of_success, wait_for_counts, wait_for_leased};
use crate::support::pipeline::Pipeline;
use crate::support::program::Signal;
use crate::support::publish_router::PublishRouter;
use crate::support::tcp_proxy::TcpProxy;

const DEAD_LETTERS: usize = 3_000;
/// A redrive is half way when it has published this many messages.
const HALF_WAY: usize = 1_500;
/// The messages that a redrive has in flight at a time.
const IN_FLIGHT: usize = 1_000;
/// The messages that the server delivers in one response.
const RESPONSE: u64 = 1_000;

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

/// Starts a router before the pipeline's server, and a proxy for the connections of the router that publish. The proxy
/// freezes when a redrive is half way. The messages that are in flight then may be published or not.
async fn freeze_half_way(pipeline: &Pipeline) -> (Arc<TcpProxy>, PublishRouter) {
    let publishing = Arc::new(TcpProxy::before(&pipeline.pubsub.address));
    let router = PublishRouter::start(&publishing.address.to_string(), &pipeline.pubsub.address).await;
    let (proxy, source, published) = (publishing.clone(), pipeline.topic.clone(), AtomicUsize::new(0));
    pipeline.pubsub.listen(move |event| {
        if let Event::Published { topic, .. } = event
            && *topic == source
            && published.fetch_add(1, Ordering::Relaxed) + 1 == HALF_WAY
        {
            proxy.freeze();
        }
    });
    (publishing, router)
}

#[tokio::test]
async fn a_killed_redrive_loses_nothing() {
    let (pipeline, _faults) = Pipeline::with_faults().await;
    let payloads = publish_many(&pipeline).await;
    let (publishing, router) = freeze_half_way(&pipeline).await;
    let address = router.address.to_string();
    let mut killed = command(&pipeline, "redrive").env("PUBSUB_EMULATOR_HOST", &address).start();
    publishing.wait_for_stalled(1).await;
    // At least those are acknowledged whose messages were confirmed before the freeze.
    wait_for_counts(&pipeline, "acks", |counts| counts.acknowledged > 0).await;

    killed.signal(Signal::Kill).await;
    killed.end_of_output().await;
    publishing.close_open();

    wait_for_leased(&pipeline, 0).await;
    let (moved, left) = (pipeline.counts().backlog(), backlog(&pipeline));
    assert!((HALF_WAY..=HALF_WAY + IN_FLIGHT).contains(&moved), "{moved} redriven, {left} left");
    assert!(left < DEAD_LETTERS, "{moved} redriven, {left} left");
    let mut redriven = take_all(&pipeline).await;
    assert!(redriven.len() + left >= DEAD_LETTERS, "{} redriven and {left} left", redriven.len());
    let exit = command_for(&pipeline, "redrive", left).run().await;
    assert!(stdout_of_success(&exit).contains("left: 0"), "{exit:#?}");
    redriven.extend(take_all(&pipeline).await);
    assert!(redriven == payloads, "{} of {DEAD_LETTERS} were redriven", redriven.len());
    assert_eq!(backlog(&pipeline), 0);
}

#[tokio::test]
async fn a_stopped_redrive_completes_the_messages_in_flight_and_releases_the_others() {
    let (pipeline, _faults) = Pipeline::with_faults().await;
    let payloads = publish_many(&pipeline).await;
    let (publishing, router) = freeze_half_way(&pipeline).await;
    let address = router.address.to_string();
    let stopped = command(&pipeline, "redrive").env("PUBSUB_EMULATOR_HOST", &address).start();
    publishing.wait_for_stalled(1).await;

    stopped.signal(Signal::Terminate).await;
    publishing.thaw();

    let exit = stopped.exit().await;
    assert_eq!(exit.code, Some(3), "{exit:#?}");
    assert!(exit.output.stdout[0].starts_with("Redrive stopped before the end. Redriven: "), "{exit:#?}");
    wait_for_leased(&pipeline, 0).await;
    let counts = pipeline.pubsub.counts(&pipeline.dead_letter_subscription);
    // If a response was on its way when the stream ended, the leases of its dead letters had to expire.
    assert!(counts.nacked > 0 && counts.expired <= RESPONSE, "{counts:?}");
    assert_eq!(counts.delivered, DEAD_LETTERS as u64, "the closing stream received released dead letters again");
    let mut redriven = take_all(&pipeline).await;
    // No message is on both subscriptions, because every published one was acknowledged.
    let left = backlog(&pipeline);
    assert_eq!(redriven.len() + left, DEAD_LETTERS);
    stdout_of_success(&command_for(&pipeline, "redrive", left).run().await);
    redriven.extend(take_all(&pipeline).await);
    assert!(redriven == payloads, "{} of {DEAD_LETTERS} were redriven", redriven.len());
}

#[tokio::test]
async fn acknowledges_no_dead_letter_if_its_original_cannot_be_published() {
    let pipeline = Pipeline::new().await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    let address = proxy.address.to_string();
    let launch = command(&pipeline, "redrive").arguments(["--wait", "10m", "--topic", &pipeline.topic]);
    let run = launch.env("PUBSUB_EMULATOR_HOST", &address).start();
    pipeline.pubsub.wait_for_stream(&pipeline.dead_letter_subscription).await;

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
        let run = command(&pipeline, task).arguments(arguments).start();
        wait_for_leased(&pipeline, 3).await;

        run.signal(Signal::Interrupt).await;

        let exit = run.exit().await;
        assert_eq!(exit.code, Some(if task == "list" { 1 } else { 3 }), "{exit:#?}");
        let output = [exit.output.stdout.join("\n"), exit.output.stderr.join("\n")].concat();
        assert!(output.contains("stopped before the end"), "{exit:#?}");
        // Released ones may have been delivered to the stream again before the server noticed its end.
        assert!(pipeline.pubsub.counts(&pipeline.dead_letter_subscription).nacked >= 3);
        let mut inbox = pipeline.pubsub.open(&pipeline.dead_letter_subscription);
        for _ in 0..3 {
            inbox.next().await.1.ack();
        }
        assert_eq!(pipeline.counts().published, 0);
    }
}
