//! Connections to DynamoDB: their number, and writes that share a slow line.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::stop;
use crate::support::POLL_INTERVAL;
use crate::support::dynamo::Dynamo;
use crate::support::dynamo_proxy::{Action, DynamoProxy, Request};
use crate::support::messages::CONSUMING;
use crate::support::pipeline::{Pipeline, ip, scan, valid_scans};
use crate::support::pubsub::Pubsub;
use crate::support::tcp_proxy::TcpProxy;

/// Starts a DynamoDB that answers each PutItem after this time without storing it, and counts them.
async fn store(dynamo: &Dynamo, latency: Duration) -> (DynamoProxy, Arc<AtomicUsize>) {
    let puts = Arc::new(AtomicUsize::new(0));
    let counted = puts.clone();
    let decide = move |request: &Request| match request.is_put() {
        true => {
            counted.fetch_add(1, Ordering::Relaxed);
            Action::Respond(200, "{}".to_owned()).after(latency)
        }
        false => Action::Forward,
    };
    (DynamoProxy::before(dynamo.endpoint.trim_start_matches("http://"), decide).await, puts)
}

#[tokio::test]
async fn there_are_few_more_connections_than_writes_in_flight() {
    const SCANS: usize = 20_000;
    const WRITES: u64 = 64;
    let (pubsub, _faults) = Pubsub::dedicated().await;
    let pipeline = Pipeline::on(pubsub, Dynamo::connect()).await;
    let (store, puts) = store(&pipeline.dynamo, Duration::from_millis(20)).await;
    let proxy = TcpProxy::before(store.url().trim_start_matches("http://"));
    let flags = ["--threads", "4", "--max-writes", &WRITES.to_string()];
    let mut consumer = pipeline.consumer().arguments(flags).env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    consumer.wait_for_line(CONSUMING).await;
    pipeline.publish(valid_scans(0..SCANS)).await;
    pipeline.drained().await;

    println!("{} connections for {WRITES} writes in flight", proxy.opened());
    assert_eq!(puts.load(Ordering::Relaxed), SCANS);
    // The start check and the readiness check have connections of their own.
    assert!(proxy.opened() <= WRITES * 3 / 2 + 2, "{} connections", proxy.opened());
    stop(consumer).await;
}

/// 100 Mb/s.
const LINE_BYTES_PER_SECOND: u32 = 12_500_000;
const RECORD_BYTES: usize = 300_000;

/// Writes large records over a slow line, and checks that few attempts are lost and that the line is busy.
async fn test_slow_line(threads: &str, scans: usize) {
    /// Messages in Pub/Sub at a time, so that not all of them are in memory.
    const AHEAD: usize = 300;
    let (pubsub, _faults) = Pubsub::dedicated().await;
    let pipeline = Pipeline::on(pubsub, Dynamo::connect()).await;
    let (store, _) = store(&pipeline.dynamo, Duration::ZERO).await;
    let proxy = TcpProxy::before(store.url().trim_start_matches("http://"));
    let launch = pipeline.consumer().arguments(["--threads", threads]);
    let mut consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    consumer.wait_for_line(CONSUMING).await;
    proxy.limit(LINE_BYTES_PER_SECOND);
    let other_requests = proxy.posts();

    let response = "x".repeat(RECORD_BYTES);
    let deadline = Instant::now() + Duration::from_secs(300);
    let (began, mut published) = (Instant::now(), 0);
    loop {
        let counts = pipeline.counts();
        let acked = usize::try_from(counts.acknowledged).expect("few messages");
        if acked >= scans {
            break;
        }
        let more = published..(acked + AHEAD).min(scans);
        published = published.max(more.end);
        pipeline.publish(more.map(|n| scan(&ip(n), 7, &response))).await;
        assert!(Instant::now() < deadline, "{counts:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let took = began.elapsed();

    // Including those that timed out before the line had carried the whole record.
    let attempts = proxy.posts() - other_requests;
    let bytes = (scans * RECORD_BYTES) as f64;
    let share = bytes / f64::from(LINE_BYTES_PER_SECOND) / took.as_secs_f64();
    println!("{attempts} attempts for {scans} writes in {took:?}, {:.0} % of the line", 100.0 * share);
    assert!(2 * attempts <= 3 * scans, "{attempts} attempts");
    assert!(share >= 0.8, "{share:.2} of the line");
    let counts = pipeline.counts();
    assert_eq!((counts.nacked, counts.expired), (0, 0), "{counts:?}");
    stop(consumer).await;
}

#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn large_records_on_a_slow_line_are_written_with_few_timeouts_by_two_threads() {
    test_slow_line("2", 2_000).await;
}

#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn large_records_on_a_slow_line_are_written_with_few_timeouts_by_four_threads() {
    test_slow_line("4", 2_000).await;
}
