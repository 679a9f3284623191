//! Supervision of streams in the whole program: its rows and its log.

use crate::support::http_proxy::{HttpProxy, Reject};
use crate::support::messages::{CONSUMING, PUBSUB_SILENT, RECOVERED};
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::program::{Launch, Output, Program, Signal};
use crate::support::tcp_proxy::TcpProxy;
use crate::support::with_progress;

/// The default levels, and a message for each replaced stream.
const LEVELS: &str = "warn,aws_config=error,mini_scan=info,mini_scan::pubsub=debug";
/// The workers of a consumer by default. Each has one stream.
const WORKERS: usize = 10;

/// Returns a consumer behind a proxy, with short leases and a short time until a stream counts as silent.
fn consumer_behind(proxy: &TcpProxy, pipeline: &Pipeline) -> Launch {
    let short = ["--stream-max-idle", "5s", "--max-lease-extension", "10s"];
    let launch = pipeline.consumer().arguments(short).arguments(["--log-levels", LEVELS]);
    launch.env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string())
}

/// Waits until the consumer has replaced this many more streams.
async fn wait_for_replaced_streams(consumer: &mut Program, streams: usize) {
    for _ in 0..streams {
        consumer.wait_for_line("stream replaced").await;
    }
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
    wait_for_replaced_streams(&mut consumer, WORKERS).await;
    proxy.accept().await;

    pipeline.rows(100).await;
    consumer.wait_for_line(RECOVERED).await;
    pipeline.drained().await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(problems_and_recoveries(&exit.output), (1, 1), "{exit:#?}");
}

#[tokio::test]
async fn streams_of_an_idle_subscription_are_replaced_without_a_warning() {
    let pipeline = Pipeline::new().await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    let mut consumer = consumer_behind(&proxy, &pipeline).start();
    consumer.wait_for_line(CONSUMING).await;

    wait_for_replaced_streams(&mut consumer, WORKERS).await;

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
    with_progress("600 messages on the stream", async || match pipeline.counts().outstanding {
        600.. => Ok(()),
        outstanding => Err(outstanding),
    })
    .await;
    let connections = pubsub_proxy.opened();
    // Meanwhile an idle stream is replaced.
    let idle = Pipeline::new().await;
    let idle_proxy = TcpProxy::before(&idle.pubsub.address);
    let mut other = consumer_behind(&idle_proxy, &idle).arguments(["--consumers", "1"]).start();
    wait_for_replaced_streams(&mut other, 1).await;

    assert_eq!(pubsub_proxy.opened(), connections, "the stream was replaced");
    store_proxy.thaw();
    pipeline.rows(601).await;
    pipeline.drained().await;
}
