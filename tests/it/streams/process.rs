//! The same, of the program as it is used: its rows and its lines.

use std::time::Duration;

use crate::support::QUIET;
use crate::support::front::{Front, Refuse};
use crate::support::pipeline::{Pipeline, good};
use crate::support::program::{Launch, Said, Signal};
use crate::support::wire::Wire;

/// A consumer behind a wire, with streams that are soon silent and leases that soon end.
fn behind(wire: &Wire, pipeline: &Pipeline) -> Launch {
    let soon = ["--stream-max-idle", "2s", "--max-lease-extension", "10s"];
    pipeline.consumer().arguments(soon).env("PUBSUB_EMULATOR_HOST", &wire.address.to_string())
}

/// How many lines say that something is wrong, and how many that it is over.
fn complaints(said: &Said) -> (usize, usize) {
    let count = |text: &str| said.stderr.iter().filter(|line| line.contains(text)).count();
    let wrong = count("WARN") + count("ERROR");
    (wrong, count("recovered"))
}

#[tokio::test]
async fn when_every_connection_freezes_and_new_ones_work_messages_flow_again() {
    let pipeline = Pipeline::new().await;
    let wire = Wire::before(&pipeline.pubsub.address);
    let _consumer = behind(&wire, &pipeline).start();
    pipeline.publish(good(0..10)).await;
    pipeline.rows(10).await;

    wire.freeze_open();
    pipeline.publish(good(10..40)).await;

    pipeline.rows(11).await;
    wire.thaw();
    pipeline.rows(40).await;
    pipeline.drained().await;
}

#[tokio::test]
async fn an_outage_of_pubsub_is_said_once_and_its_end_once_and_nothing_is_lost() {
    let pipeline = Pipeline::new().await;
    let wire = Wire::before(&pipeline.pubsub.address);
    let mut consumer = behind(&wire, &pipeline).start();
    pipeline.publish(good(0..10)).await;
    pipeline.rows(10).await;
    pipeline.drained().await;

    wire.refuse().await;
    wire.cut();
    consumer.line("Pub/Sub does not answer").await;
    pipeline.publish(good(10..100)).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    wire.accept().await;

    pipeline.rows(100).await;
    consumer.line("recovered").await;
    pipeline.drained().await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(complaints(&exit.said), (1, 1), "{exit:#?}");
}

#[tokio::test]
async fn on_an_idle_subscription_streams_are_replaced_and_nothing_is_said() {
    let pipeline = Pipeline::new().await;
    let wire = Wire::before(&pipeline.pubsub.address);
    let mut consumer = behind(&wire, &pipeline).start();
    consumer.line("consuming").await;
    let connections = wire.opened();

    // Of each of ten streams: its own, and one that asks whether anything answers.
    wire.opens(connections + 30).await;

    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(complaints(&exit.said), (0, 0), "{exit:#?}");
}

#[tokio::test]
async fn while_the_store_hangs_a_full_stream_is_kept() {
    let pipeline = Pipeline::new().await;
    let wire = Wire::before(&pipeline.pubsub.address);
    let front = Front::before(pipeline.dynamo.endpoint.trim_start_matches("http://"), Refuse::Nothing).await;
    // A stream of 1,010 messages.
    let launch = behind(&wire, &pipeline).arguments(["--consumers", "1", "--max-outstanding", "10"]);
    let _consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &front.url()).start();
    pipeline.publish(good(0..1)).await;
    pipeline.rows(1).await;

    front.fall_silent();
    pipeline.publish(good(1..601)).await;
    front.holds(10).await;
    tokio::time::sleep(QUIET).await;
    let connections = wire.opened();
    tokio::time::sleep(Duration::from_secs(6)).await;

    assert_eq!(wire.opened(), connections, "three times its patience");
    front.speak();
    pipeline.rows(601).await;
    pipeline.drained().await;
}
