//! Supervision of streams in the whole program: its rows and its log.

use std::time::Duration;

use crate::support::QUIET_PERIOD;
use crate::support::http_proxy::{HttpProxy, Reject};
use crate::support::messages::{CONSUMING, PUBSUB_SILENT, RECOVERED};
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::program::{Launch, Output, Signal};
use crate::support::tcp_proxy::TcpProxy;

/// Returns a consumer behind a proxy, with short leases and a short time until a stream counts as silent.
fn consumer_behind(proxy: &TcpProxy, pipeline: &Pipeline) -> Launch {
    let short = ["--stream-max-idle", "2s", "--max-lease-extension", "10s"];
    pipeline.consumer().arguments(short).env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string())
}

/// Returns the number of warnings and errors, and the number of recoveries.
fn problems_and_recoveries(output: &Output) -> (usize, usize) {
    let count = |text: &str| output.stderr.iter().filter(|line| line.contains(text)).count();
    (count("WARN") + count("ERROR"), count(RECOVERED))
}

#[tokio::test]
async fn reading_resumes_over_new_connections_when_all_open_ones_hang() {
    let pipeline = Pipeline::new().await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    let _consumer = consumer_behind(&proxy, &pipeline).start();
    pipeline.publish(valid_scans(0..10)).await;
    pipeline.rows(10).await;

    proxy.freeze_open();
    pipeline.publish(valid_scans(10..40)).await;

    pipeline.rows(11).await;
    proxy.thaw();
    pipeline.rows(40).await;
    pipeline.drained().await;
}

#[tokio::test]
async fn an_outage_of_pubsub_and_its_end_are_logged_once_and_no_message_is_lost() {
    let pipeline = Pipeline::new().await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    let mut consumer = consumer_behind(&proxy, &pipeline).start();
    pipeline.publish(valid_scans(0..10)).await;
    pipeline.rows(10).await;
    pipeline.drained().await;

    proxy.refuse().await;
    proxy.close_open();
    consumer.wait_for_line(PUBSUB_SILENT).await;
    pipeline.publish(valid_scans(10..100)).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    proxy.accept().await;

    pipeline.rows(100).await;
    consumer.wait_for_line(RECOVERED).await;
    pipeline.drained().await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(problems_and_recoveries(&exit.output), (1, 1), "{exit:#?}");
}

#[tokio::test]
async fn streams_of_an_idle_subscription_are_replaced_without_a_log_message() {
    let pipeline = Pipeline::new().await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    let mut consumer = consumer_behind(&proxy, &pipeline).start();
    consumer.wait_for_line(CONSUMING).await;
    let connections = proxy.opened();

    // Each of the ten streams opens a connection for itself, and later its successor opens one and another for its probe.
    proxy.wait_for_opened(connections + 30).await;

    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(problems_and_recoveries(&exit.output), (0, 0), "{exit:#?}");
}

#[tokio::test]
async fn a_full_stream_is_kept_while_the_store_hangs() {
    let pipeline = Pipeline::new().await;
    let pubsub_proxy = TcpProxy::before(&pipeline.pubsub.address);
    let store_proxy = HttpProxy::before(pipeline.dynamo.endpoint.trim_start_matches("http://"), Reject::Nothing).await;
    // One stream with at most 1,010 messages.
    let launch = consumer_behind(&pubsub_proxy, &pipeline).arguments(["--consumers", "1", "--max-outstanding", "10"]);
    let _consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &store_proxy.url()).start();
    pipeline.publish(valid_scans(0..1)).await;
    pipeline.rows(1).await;

    store_proxy.freeze();
    pipeline.publish(valid_scans(1..601)).await;
    store_proxy.wait_for_stalled(10).await;
    tokio::time::sleep(QUIET_PERIOD).await;
    let connections = pubsub_proxy.opened();
    // Three times --stream-max-idle.
    tokio::time::sleep(Duration::from_secs(6)).await;

    assert_eq!(pubsub_proxy.opened(), connections, "the stream was replaced");
    store_proxy.thaw();
    pipeline.rows(601).await;
    pipeline.drained().await;
}
