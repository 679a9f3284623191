//! Minutes of a frozen Pub/Sub at default flags, while messages are published all the time.

use std::time::Duration;

use tokio::time::{Instant, interval, sleep, timeout};

use crate::support::LOOKING;
use crate::support::pipeline::{Pipeline, good};
use crate::support::program::Program;
use crate::support::wire::Wire;

const A_SECOND: usize = 100;
/// What the server gave to dead streams comes again when its leases end, a minute each.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// Publishes so many new scans each second.
async fn publish(pipeline: &Pipeline, seconds: u64) -> usize {
    let mut published = 0;
    let mut second = interval(Duration::from_secs(1));
    for _ in 0..seconds {
        second.tick().await;
        pipeline.publish(good(published..published + A_SECOND)).await;
        published += A_SECOND;
    }
    published
}

/// How long it takes until more is acknowledged than now.
async fn flows_after(pipeline: &Pipeline) -> Duration {
    let (start, before) = (Instant::now(), pipeline.counts().acknowledged);
    while pipeline.counts().acknowledged == before {
        sleep(LOOKING).await;
    }
    start.elapsed()
}

/// A consumer at default flags that reads, behind a wire.
async fn reading() -> (Pipeline, Wire, Program) {
    let (pipeline, _faults) = Pipeline::with_faults().await;
    let wire = Wire::before(&pipeline.pubsub.address);
    let consumer = pipeline.consumer().env("PUBSUB_EMULATOR_HOST", &wire.address.to_string()).start();
    pipeline.publish(["poison"]).await;
    pipeline.drained().await;
    (pipeline, wire, consumer)
}

async fn nothing_is_lost(pipeline: &Pipeline, published: usize) {
    let drained = timeout(SETTLED_WITHIN, async {
        while pipeline.counts().backlog() > 0 {
            sleep(LOOKING).await;
        }
    });
    assert!(drained.await.is_ok(), "not everything is settled: {:?}", pipeline.counts());
    assert_eq!(pipeline.rows(published).await.len(), published);
}

#[tokio::test]
#[ignore = "two minutes; run by `make check-slow`"]
async fn frozen_connections_are_replaced_within_two_minutes() {
    let (pipeline, wire, _consumer) = reading().await;
    wire.freeze_open();
    let flows = async {
        let flows = timeout(Duration::from_secs(120), flows_after(&pipeline)).await;
        assert!(flows.is_ok(), "{:?}", pipeline.counts());
        // Until the server knows that the old connections are dead, it gives to them too.
        wire.thaw();
    };
    let (published, ()) = tokio::join!(publish(&pipeline, 130), flows);
    nothing_is_lost(&pipeline, published).await;
}

#[tokio::test]
#[ignore = "six minutes; run by `make check-slow`"]
async fn five_minutes_without_pubsub_are_over_within_half_a_minute() {
    let (pipeline, wire, _consumer) = reading().await;
    wire.freeze();
    let published = publish(&pipeline, 300).await;
    wire.thaw();
    let flows = timeout(Duration::from_secs(30), flows_after(&pipeline)).await;
    assert!(flows.is_ok(), "{:?}", pipeline.counts());
    nothing_is_lost(&pipeline, published).await;
}
