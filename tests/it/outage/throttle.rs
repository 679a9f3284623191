//! Throttling of the whole table, and of one hot key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{stop, timed};
use crate::support::dynamo::Dynamo;
use crate::support::dynamo_proxy::{Action, DynamoProxy, Request};
use crate::support::messages::CONSUMING;
use crate::support::pipeline::{Pipeline, ip, scan, valid_scans};
use crate::support::program::Signal;
use crate::support::pubsub::Pubsub;

const TABLE_REASON: &str = "TableWriteProvisionedThroughputExceeded";
const KEY_REASON: &str = "TableWriteKeyRangeThroughputExceeded";

/// How soon after the throttling the consumer must be at its rate from before it.
const AT_FULL_RATE_WITHIN: Duration = Duration::from_secs(10);

async fn pipeline() -> Pipeline {
    let (pubsub, _faults) = Pubsub::dedicated().await;
    Pipeline::on(pubsub, Dynamo::connect()).await
}

async fn proxy(pipeline: &Pipeline, decide: impl Fn(&Request) -> Action + Send + Sync + 'static) -> DynamoProxy {
    DynamoProxy::before(pipeline.dynamo.endpoint.trim_start_matches("http://"), decide).await
}

/// The capacity of a table: a token bucket with at most one second of burst, like DynamoDB's.
#[derive(Default)]
struct Capacity {
    bucket: Mutex<Option<Bucket>>,
    accepted: AtomicU64,
    throttled: AtomicU64,
}

struct Bucket {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Capacity {
    fn limit(&self, per_second: Option<f64>) {
        let bucket = per_second.map(|per_second| Bucket { per_second, tokens: 0.0, filled: Instant::now() });
        *self.bucket.lock().expect("no thread panics while it holds the lock") = bucket;
    }

    fn accepts(&self) -> bool {
        let mut bucket = self.bucket.lock().expect("no thread panics while it holds the lock");
        let accepts = bucket.as_mut().is_none_or(Bucket::take);
        let count = if accepts { &self.accepted } else { &self.throttled };
        count.fetch_add(1, Ordering::Relaxed);
        accepts
    }

    /// Returns the accepted and the throttled writes.
    fn counts(&self) -> (u64, u64) {
        (self.accepted.load(Ordering::Relaxed), self.throttled.load(Ordering::Relaxed))
    }
}

impl Bucket {
    fn take(&mut self) -> bool {
        let now = Instant::now();
        let filled = self.per_second * (now - std::mem::replace(&mut self.filled, now)).as_secs_f64();
        self.tokens = (self.tokens + filled).min(self.per_second);
        let has_token = self.tokens >= 1.0;
        if has_token {
            self.tokens -= 1.0;
        }
        has_token
    }
}

/// The latency of DynamoDB, throttled or not. Without it even a limit of one write in flight would cause a retry storm.
const USUAL_LATENCY: Duration = Duration::from_millis(5);

/// The capacity of the table, which is a tenth or less of what the consumer would write.
const WRITES_PER_SECOND: f64 = 100.0;

async fn test_throttling(reason: Option<&'static str>, lasts: Duration) {
    let pipeline = pipeline().await;
    let capacity = Arc::new(Capacity::default());
    let proxy = proxy(&pipeline, {
        let capacity = capacity.clone();
        move |request| {
            match request.is_put() && !capacity.accepts() {
                true => Action::throttled(reason),
                false => Action::Forward,
            }
            .after(USUAL_LATENCY)
        }
    });
    let proxy = proxy.await;
    let mut consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    consumer.wait_for_line(CONSUMING).await;
    // Twice as many as the table accepts meanwhile, so that half of them are left after the throttling.
    let messages = (2.0 * WRITES_PER_SECOND * lasts.as_secs_f64()) as usize;
    let before = timed(async {
        pipeline.publish(valid_scans(0..messages)).await;
        pipeline.drained().await;
    });
    let before = before.await;
    let lines = consumer.log().len();

    capacity.limit(Some(WRITES_PER_SECOND));
    pipeline.publish(valid_scans(messages..2 * messages)).await;
    // The consumer needs some time to adapt its write limit.
    tokio::time::sleep(lasts / 4).await;
    let (accepted_before, throttled_before) = capacity.counts();
    tokio::time::sleep(lasts * 3 / 4).await;
    let (accepted, throttled) = capacity.counts();
    let (accepted, throttled) = (accepted - accepted_before, throttled - throttled_before);
    let logged = consumer.log()[lines..].iter().filter(|line| !line.contains("summary")).count();
    capacity.limit(None);
    let after = timed(pipeline.drained()).await;

    let possible = WRITES_PER_SECOND * lasts.as_secs_f64() * 0.75;
    println!(
        "took {before:?} before the throttling, {accepted} of {possible} possible writes accepted, \
         {throttled} throttled, {logged} lines logged, took {after:?} after it"
    );
    assert!(accepted as f64 > 0.7 * possible, "{accepted} of {possible} possible writes");
    assert!(throttled < 12 * accepted, "{throttled} throttled writes for {accepted} accepted ones");
    assert!(logged <= 5, "{:#?}", consumer.log());
    assert!(after < before + AT_FULL_RATE_WITHIN, "{before:?} before the throttling, {after:?} after it");
    let counts = pipeline.counts();
    assert_eq!((counts.nacked, counts.expired), (0, 0), "{counts:?}");
    assert_eq!(pipeline.rows(2 * messages).await.len(), 2 * messages);
    stop(consumer).await;
}

#[tokio::test]
async fn writes_follow_the_capacity_of_a_throttled_table_and_return_to_full_rate() {
    test_throttling(Some(TABLE_REASON), Duration::from_secs(6)).await;
}

#[tokio::test]
async fn writes_follow_the_capacity_of_a_table_that_throttles_without_a_reason() {
    test_throttling(None, Duration::from_secs(6)).await;
}

#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn writes_follow_the_capacity_of_a_table_that_throttles_for_a_minute() {
    test_throttling(Some(TABLE_REASON), Duration::from_secs(60)).await;
}

/// Much longer than a consumer needs for a message, so that the duration depends only on the writes in flight.
const LATENCY: Duration = Duration::from_millis(150);

/// The writes that the store received.
#[derive(Default)]
struct Writes {
    /// The writes of each key except the hot one.
    others: Mutex<HashMap<String, usize>>,
    /// When each of those was sent.
    times: Mutex<Vec<Instant>>,
    hot: AtomicUsize,
}

impl Writes {
    /// Returns the maximum of writes in flight, which is the most that were sent within the latency.
    fn in_flight(&self) -> usize {
        let times = self.times.lock().expect("no thread panics while it holds the lock");
        let within =
            |start: &Instant| times.iter().filter(|time| **time >= *start && **time < *start + LATENCY).count();
        times.iter().map(within).max().unwrap_or(0)
    }
}

/// Writes many keys and a throttled hot key. Returns the writes, and how long those of the other keys took.
async fn write_with_hot_key(hot_scans: usize) -> (Arc<Writes>, Duration) {
    const OTHERS: usize = 3_000;
    let pipeline = pipeline().await;
    let writes = Arc::new(Writes::default());
    let hot = format!("{}#80#HTTP", ip(0));
    let proxy = proxy(&pipeline, {
        let writes = writes.clone();
        move |request| match request.key() {
            Some(key) if request.is_put() && key == hot => {
                writes.hot.fetch_add(1, Ordering::Relaxed);
                Action::throttled(Some(KEY_REASON))
            }
            Some(key) if request.is_put() => {
                *writes.others.lock().expect("no thread panics while it holds the lock").entry(key).or_default() += 1;
                writes.times.lock().expect("no thread panics while it holds the lock").push(Instant::now());
                Action::Forward.after(LATENCY)
            }
            _ => Action::Forward,
        }
    });
    let proxy = proxy.await;
    // With this limit the initial writes in flight are the maximum, so that the consumer does not have to adapt.
    let launch = pipeline.consumer().arguments(["--threads", "2", "--max-outstanding", "64"]);
    let mut consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    consumer.wait_for_line(CONSUMING).await;
    pipeline.publish((1..=hot_scans).map(|n| scan(&ip(0), n as u64, "hot"))).await;
    let took = timed(async {
        pipeline.publish(valid_scans(1..OTHERS + 1)).await;
        pipeline.rows(OTHERS).await;
    });
    let took = took.await;
    assert_eq!(pipeline.rows(0).await.len(), OTHERS, "the hot key was written");
    consumer.signal(Signal::Kill).await;
    (writes, took)
}

#[tokio::test]
async fn a_throttled_hot_key_does_not_slow_other_keys() {
    // Both run concurrently, so that other load on the machine affects both.
    let ((without, took_without), (with, took_with)) = tokio::join!(write_with_hot_key(0), write_with_hot_key(50));

    println!(
        "{} writes in flight in {took_without:?} without a hot key, {} in {took_with:?} with one",
        without.in_flight(),
        with.in_flight()
    );
    assert!(with.hot.load(Ordering::Relaxed) > 1, "the hot key is retried");
    assert!(
        with.others.lock().expect("no thread panics while it holds the lock").values().all(|writes| *writes == 1),
        "another key was written twice"
    );
    assert!(with.in_flight() * 10 >= without.in_flight() * 9, "{} and {}", with.in_flight(), without.in_flight());
    // The duration is less exact than the counts above, because of other load on the machine.
    assert!(took_with < took_without.mul_f64(1.25), "{took_without:?} without, {took_with:?} with a hot key");
}
