//! The consumer drains in time, prints its final counts, and releases unsettled messages for other consumers.

use std::time::Duration;

use google_cloud_pubsub::model::RetryPolicy;
use google_cloud_wkt::Duration as WireDuration;
use tokio::time::Instant;

use crate::support::http_proxy::{HttpProxy, Reject};
use crate::support::messages::STOPPING;
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::program::{Exit, Program, Signal};
use crate::support::tcp_proxy::TcpProxy;

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
    proxy.wait_for_stalled(UNSETTLED).await;
    (consumer, proxy)
}

fn closing(exit: &Exit) -> Option<&str> {
    exit.output.stdout.last().map(String::as_str)
}

/// Stops a consumer with unsettled messages on several threads. Checks that another consumer stores them because they were
/// released, not because their leases expired. Returns how long both took.
async fn stop_and_take_over(pipeline: &Pipeline) -> Duration {
    let (consumer, _proxy) = stuck(pipeline, &["--shutdown-grace", "2s", "-c", "6", "--threads", "2"]).await;
    let signalled = Instant::now();

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert!(signalled.elapsed() >= Duration::from_secs(2), "the stop took {:?}", signalled.elapsed());
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(closing(&exit), Some("Consumer stopped. Final stats - Processed: 1, Failed: 0"), "{exit:#?}");
    let last = exit.output.stderr.last().map(String::as_str).unwrap_or_default();
    assert!(last.contains(r#""message":"Released at shutdown: 32""#), "{exit:#?}");
    let _other = pipeline.consumer().start();
    assert_eq!(pipeline.rows(1 + UNSETTLED).await.len(), 1 + UNSETTLED);
    let took = signalled.elapsed();
    let counts = pipeline.counts();
    assert_eq!((counts.nacked, counts.expired), (UNSETTLED as u64, 0), "{counts:?}");
    took
}

#[tokio::test]
async fn a_stop_while_dynamodb_hangs_takes_the_shutdown_grace_and_releases_all_messages() {
    stop_and_take_over(&Pipeline::new().await).await;
}

#[tokio::test]
async fn released_messages_are_redelivered_after_the_minimum_backoff_of_the_subscription() {
    let mut pipeline = Pipeline::new().await;
    let seconds = |seconds| WireDuration::clamp(seconds, 0);
    let policy = RetryPolicy::new().set_minimum_backoff(seconds(3)).set_maximum_backoff(seconds(600));
    let spaced = pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_retry_policy(policy));
    pipeline.subscription = spaced.await;

    let took = stop_and_take_over(&pipeline).await;

    assert!(took >= Duration::from_secs(2 + 3), "both took {took:?}");
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
async fn a_second_signal_stops_immediately_with_its_own_exit_code() {
    for (second, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
        let pipeline = Pipeline::new().await;
        // Much longer than the test waits for the exit.
        let (mut consumer, _proxy) = stuck(&pipeline, &["--shutdown-grace", "10m"]).await;
        consumer.signal(Signal::Terminate).await;
        consumer.wait_for_line(STOPPING).await;

        consumer.signal(second).await;

        let exit = consumer.exit().await;
        assert_eq!(exit.code, Some(code), "{exit:#?}");
    }
}

/// Stops a consumer while a request of its start checks has no response. A check that waits for its timeout fails, and the
/// consumer does not exit with 0. `hanging` has the variables of the servers that accept connections but do not respond.
async fn stops_during_start_checks(hanging: &[&str]) {
    let pipeline = Pipeline::new().await;
    let server = TcpProxy::before(&pipeline.pubsub.address);
    server.freeze();
    let launch = pipeline.consumer_without_dead_letter_topic();
    let consumer = hanging.iter().fold(launch, |launch, name| launch.env(name, &server.url())).start();
    server.wait_for_stalled(hanging.len()).await;

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(closing(&exit), Some("Consumer stopped. Final stats - Processed: 0, Failed: 0"), "{exit:#?}");
}

#[tokio::test]
async fn a_stop_during_the_start_checks_is_immediate_even_if_a_server_hangs() {
    let (pubsub, dynamo) = ("PUBSUB_EMULATOR_HOST", "AWS_ENDPOINT_URL_DYNAMODB");
    for hanging in [&[dynamo][..], &[pubsub], &[pubsub, dynamo]] {
        stops_during_start_checks(hanging).await;
    }
}
