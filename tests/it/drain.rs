//! The consumer drains in time, prints its final counts, and releases unsettled messages for other consumers.

use std::net::TcpListener;
use std::time::Duration;

use google_cloud_pubsub::model::RetryPolicy;
use google_cloud_wkt::Duration as WireDuration;
use tokio::time::Instant;

use crate::support::http_proxy::{HttpProxy, Reject};
use crate::support::messages::STOPPING;
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::program::{Exit, Program, Signal};

/// The initial limit of writes in flight, independent of the number of cores.
const UNSETTLED: usize = 32;

/// Starts a consumer that stores one scan. Then DynamoDB freezes while [`UNSETTLED`] more writes are in flight.
async fn stuck(pipeline: &Pipeline, arguments: &[&str]) -> (Program, HttpProxy) {
    let proxy = HttpProxy::before(pipeline.dynamo.endpoint.trim_start_matches("http://"), Reject::Nothing).await;
    let launch = pipeline.consumer().arguments(arguments.iter().copied());
    let consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    pipeline.publish(valid_scans(0..1)).await;
    pipeline.rows(1).await;
    pipeline.drained().await;
    proxy.freeze();
    pipeline.publish(valid_scans(1..1 + UNSETTLED)).await;
    proxy.wait_for_held(UNSETTLED).await;
    (consumer, proxy)
}

fn closing(exit: &Exit) -> Option<&str> {
    exit.output.stdout.last().map(String::as_str)
}

/// Stops a consumer with unsettled messages on several threads, and returns how long another consumer then needs to
/// store them.
async fn taken_over_in(pipeline: &Pipeline) -> Duration {
    let (consumer, _proxy) = stuck(pipeline, &["--shutdown-grace", "2s", "-c", "6", "--threads", "2"]).await;
    let signalled = Instant::now();

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert!(signalled.elapsed() < Duration::from_secs(2 + 3), "the stop took {:?}", signalled.elapsed());
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(closing(&exit), Some("Consumer stopped. Final stats - Processed: 1, Failed: 0"), "{exit:#?}");
    assert_eq!(exit.output.stderr.last().map(String::as_str), Some("Handed back undone: 32"), "{exit:#?}");
    let _other = pipeline.consumer().start();
    let started = Instant::now();
    assert_eq!(pipeline.rows(1 + UNSETTLED).await.len(), 1 + UNSETTLED);
    started.elapsed()
}

#[tokio::test]
async fn a_stop_while_dynamodb_hangs_takes_the_shutdown_grace_and_releases_all_messages() {
    let took = taken_over_in(&Pipeline::new().await).await;
    // Shorter than every lease.
    assert!(took < Duration::from_secs(8), "the other consumer needed {took:?}");
}

#[tokio::test]
async fn released_messages_are_redelivered_after_the_minimum_backoff_of_the_subscription() {
    let mut pipeline = Pipeline::new().await;
    let seconds = |seconds| WireDuration::clamp(seconds, 0);
    let policy = RetryPolicy::new().set_minimum_backoff(seconds(3)).set_maximum_backoff(seconds(600));
    let spaced = pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_retry_policy(policy));
    pipeline.subscription = spaced.await;

    let took = taken_over_in(&pipeline).await;

    assert!(took < Duration::from_secs(3 + 3), "the other consumer needed {took:?}");
}

#[tokio::test]
async fn a_stop_completes_the_writes_that_dynamodb_answers_within_the_shutdown_grace() {
    let pipeline = Pipeline::new().await;
    let (mut consumer, proxy) = stuck(&pipeline, &[]).await;

    consumer.signal(Signal::Terminate).await;
    consumer.wait_for_line(STOPPING).await;
    proxy.thaw();

    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(closing(&exit), Some("Consumer stopped. Final stats - Processed: 33, Failed: 0"), "{exit:#?}");
    pipeline.drained().await;
}

#[tokio::test]
async fn a_second_signal_stops_immediately() {
    let pipeline = Pipeline::new().await;
    let (mut consumer, _proxy) = stuck(&pipeline, &[]).await;
    consumer.signal(Signal::Terminate).await;
    consumer.wait_for_line(STOPPING).await;
    let signalled = Instant::now();

    consumer.signal(Signal::Interrupt).await;

    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(130), "{exit:#?}");
    assert!(signalled.elapsed() < Duration::from_secs(2), "the stop took {:?}", signalled.elapsed());
}

/// Stops a consumer during its start checks. `hanging` has the variables of the servers that accept connections but do
/// not respond.
async fn stops_during_start_checks(hanging: &[&str]) {
    let pipeline = Pipeline::new().await;
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", server.local_addr().expect("a bound listener"));
    let launch = pipeline.consumer_without_dead_letter_topic().arguments(["--log-levels", "debug"]);
    let mut consumer = hanging.iter().fold(launch, |launch, name| launch.env(name, &url)).start();
    consumer.wait_for_line("").await;
    let signalled = Instant::now();

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(closing(&exit), Some("Consumer stopped. Final stats - Processed: 0, Failed: 0"), "{exit:#?}");
    assert!(signalled.elapsed() < Duration::from_secs(3), "the stop took {:?}", signalled.elapsed());
}

#[tokio::test]
async fn a_stop_during_the_start_checks_is_immediate_even_if_a_server_hangs() {
    let (pubsub, dynamo) = ("PUBSUB_EMULATOR_HOST", "AWS_ENDPOINT_URL_DYNAMODB");
    for hanging in [&[dynamo][..], &[pubsub], &[pubsub, dynamo]] {
        stops_during_start_checks(hanging).await;
    }
}
