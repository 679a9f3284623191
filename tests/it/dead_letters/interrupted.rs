//! A run that does not come to its end loses nothing, and gives back what it has.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{dead_letters, leased, letter, patient, succeeded, waiting, write};
use crate::support::pipeline::Pipeline;
use crate::support::program::Signal;
use crate::support::wire::Wire;
use crate::support::{LOOKING, within_patience};

/// More than are on their way at a time.
const LETTERS: usize = 5_000;
/// Sooner than any lease ends.
const AT_ONCE: Duration = Duration::from_secs(8);

async fn many_letters(pipeline: &Pipeline) -> BTreeSet<String> {
    let payloads: BTreeSet<_> = (0..LETTERS).map(|n| format!("poison {n}")).collect();
    write(pipeline, payloads.iter().map(|payload| letter(pipeline, "invalid_ip", payload))).await;
    payloads
}

/// What is on the source subscription, acked.
async fn take_all(pipeline: &Pipeline) -> BTreeSet<String> {
    let mut inbox = pipeline.pubsub.open(&pipeline.subscription);
    let mut payloads = BTreeSet::new();
    for _ in 0..pipeline.counts().backlog() {
        let (message, handler) = inbox.next().await;
        handler.ack();
        payloads.insert(String::from_utf8(message.data.to_vec()).expect("as it was written"));
    }
    payloads
}

/// Waits until some were published to the source topic, and gives how many.
async fn some_are_published(pipeline: &Pipeline) -> u64 {
    let some = async {
        loop {
            match pipeline.counts().published {
                0 => tokio::time::sleep(LOOKING).await,
                some => return some,
            }
        }
    };
    within_patience("a redriven message", some).await
}

#[tokio::test]
async fn a_redrive_that_is_killed_half_way_loses_nothing() {
    let pipeline = Pipeline::new().await;
    let payloads = many_letters(&pipeline).await;
    let slow = Wire::before(&pipeline.pubsub.address);
    slow.delay(Duration::from_millis(300));
    let wire = slow.address.to_string();
    let mut killed = dead_letters(&pipeline, "redrive").env("PUBSUB_EMULATOR_HOST", &wire).start();
    some_are_published(&pipeline).await;

    killed.signal(Signal::Kill).await;
    killed.silence().await;
    slow.cut();

    leased(&pipeline, 0).await;
    let (moved, left) = (pipeline.counts().backlog(), waiting(&pipeline));
    assert!(0 < left && left < LETTERS + 1 && moved < LETTERS, "not half way: {moved} moved, {left} left");
    let mut back = take_all(&pipeline).await;
    assert!(back.len() + left >= LETTERS, "{} were published, and {left} are letters still", back.len());
    let exit = dead_letters(&pipeline, "redrive").run().await;
    assert!(succeeded(&exit).contains("left: 0"), "{exit:#?}");
    back.extend(take_all(&pipeline).await);
    assert!(back == payloads, "{} of {LETTERS} came back", back.len());
    assert_eq!(waiting(&pipeline), 0);
}

#[tokio::test]
async fn a_redrive_that_is_stopped_half_way_finishes_what_is_on_its_way_and_gives_back_the_rest() {
    let pipeline = Pipeline::new().await;
    let payloads = many_letters(&pipeline).await;
    let slow = Wire::before(&pipeline.pubsub.address);
    slow.delay(Duration::from_millis(300));
    let wire = slow.address.to_string();
    let stopped = dead_letters(&pipeline, "redrive").env("PUBSUB_EMULATOR_HOST", &wire).start();
    some_are_published(&pipeline).await;

    stopped.signal(Signal::Terminate).await;

    let exit = stopped.exit().await;
    assert_eq!(exit.code, Some(3), "{exit:#?}");
    assert!(exit.said.stdout[0].starts_with("Redrive stopped before the end. Redriven: "), "{exit:#?}");
    let counted = pipeline.pubsub.counts(&pipeline.dead_letter_subscription);
    assert_eq!((counted.outstanding, counted.expired), (0, 0));
    let mut back = take_all(&pipeline).await;
    // None is in both places, for what was published was acked.
    assert_eq!(back.len() + waiting(&pipeline), LETTERS);
    succeeded(&dead_letters(&pipeline, "redrive").run().await);
    back.extend(take_all(&pipeline).await);
    assert!(back == payloads, "{} of {LETTERS} came back", back.len());
}

#[tokio::test]
async fn letters_whose_originals_find_no_topic_are_not_acked() {
    let pipeline = Pipeline::new().await;
    let wire = Wire::before(&pipeline.pubsub.address);
    let address = wire.address.to_string();
    let launch = patient(&pipeline, "redrive").arguments(["--wait", "10m", "--topic", &pipeline.topic]);
    let run = launch.env("PUBSUB_EMULATOR_HOST", &address).start();
    let reading = async {
        while pipeline.pubsub.counts(&pipeline.dead_letter_subscription).streams == 0 {
            tokio::time::sleep(LOOKING).await;
        }
    };
    within_patience("an open stream", reading).await;

    // Acks still pass, over the connection that is open; publishing needs another.
    wire.refuse().await;
    write(&pipeline, ["a", "b", "c"].map(|payload| letter(&pipeline, "invalid_ip", payload))).await;

    let exit = run.exit().await;
    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let said = exit.said.stderr.join("\n");
    let parts = ["cannot publish to topic", &pipeline.topic, "--topic", "PUBSUB_EMULATOR_HOST"];
    assert!(parts.iter().all(|part| said.contains(part)), "{exit:#?}");
    let counted = pipeline.pubsub.counts(&pipeline.dead_letter_subscription);
    assert_eq!((counted.acknowledged, counted.backlog(), counted.outstanding), (0, 3, 0));
}

#[tokio::test]
async fn letters_that_were_held_come_to_another_at_once_after_an_interrupt() {
    for task in ["list", "redrive"] {
        let pipeline = Pipeline::new().await;
        write(&pipeline, ["a", "b", "c"].map(|payload| letter(&pipeline, "invalid_ip", payload))).await;
        let arguments: &[&str] = if task == "list" { &[] } else { &["--reason", "invalid_port"] };
        let arguments = arguments.iter().copied().chain(["--wait", "10m"]);
        let run = patient(&pipeline, task).arguments(arguments).start();
        leased(&pipeline, 3).await;

        run.signal(Signal::Interrupt).await;

        let exit = run.exit().await;
        assert_eq!(exit.code, Some(if task == "list" { 1 } else { 3 }), "{exit:#?}");
        let said = [exit.said.stdout.join("\n"), exit.said.stderr.join("\n")].concat();
        assert!(said.contains("stopped before the end"), "{exit:#?}");
        let mut inbox = pipeline.pubsub.open(&pipeline.dead_letter_subscription);
        for _ in 0..3 {
            inbox.next_within(AT_ONCE).await.expect("it was given back").1.ack();
        }
        assert_eq!(pipeline.counts().published, 0);
    }
}
