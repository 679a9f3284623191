//! Pub/Sub hangs for minutes while messages are published. The consumer has default flags.

use std::time::Duration;

use tokio::time::{interval, sleep, timeout};

use crate::support::POLL_INTERVAL;
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::program::Program;
use crate::support::tcp_proxy::TcpProxy;

const MESSAGES_PER_SECOND: usize = 100;
/// Messages that the server sent over dead connections are redelivered when their leases end, after a minute.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// Publishes new scans for this time, and returns how many.
async fn publish(pipeline: &Pipeline, seconds: u64) -> usize {
    let mut published = 0;
    let mut second = interval(Duration::from_secs(1));
    for _ in 0..seconds {
        second.tick().await;
        pipeline.publish(valid_scans(published..published + MESSAGES_PER_SECOND)).await;
        published += MESSAGES_PER_SECOND;
    }
    published
}

/// Waits until another message is acknowledged.
async fn wait_for_progress(pipeline: &Pipeline) {
    let before = pipeline.counts().acknowledged;
    while pipeline.counts().acknowledged == before {
        sleep(POLL_INTERVAL).await;
    }
}

/// Starts a consumer with default flags behind a proxy, and waits until it has settled a message.
async fn active() -> (Pipeline, TcpProxy, Program) {
    let (pipeline, _faults) = Pipeline::with_faults().await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    let consumer = pipeline.consumer().env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string()).start();
    pipeline.publish(["poison"]).await;
    pipeline.drained().await;
    (pipeline, proxy, consumer)
}

async fn assert_nothing_lost(pipeline: &Pipeline, published: usize) {
    let drained = timeout(SETTLED_WITHIN, async {
        while pipeline.counts().backlog() > 0 {
            sleep(POLL_INTERVAL).await;
        }
    });
    assert!(drained.await.is_ok(), "not everything is settled: {:?}", pipeline.counts());
    assert_eq!(pipeline.rows(published).await.len(), published);
}

#[tokio::test]
#[ignore = "two minutes; run by `make check-slow`"]
async fn frozen_connections_are_replaced_within_two_minutes() {
    let (pipeline, proxy, _consumer) = active().await;
    proxy.freeze_open();
    let progress = async {
        let progress = timeout(Duration::from_secs(120), wait_for_progress(&pipeline)).await;
        assert!(progress.is_ok(), "{:?}", pipeline.counts());
        // Until the server knows that the old connections are dead, it sends messages to them as well.
        proxy.thaw();
    };
    let (published, ()) = tokio::join!(publish(&pipeline, 130), progress);
    assert_nothing_lost(&pipeline, published).await;
}

#[tokio::test]
#[ignore = "six minutes; run by `make check-slow`"]
async fn reading_resumes_within_half_a_minute_after_five_minutes_without_pubsub() {
    let (pipeline, proxy, _consumer) = active().await;
    proxy.freeze();
    let published = publish(&pipeline, 300).await;
    proxy.thaw();
    let progress = timeout(Duration::from_secs(30), wait_for_progress(&pipeline)).await;
    assert!(progress.is_ok(), "{:?}", pipeline.counts());
    assert_nothing_lost(&pipeline, published).await;
}
