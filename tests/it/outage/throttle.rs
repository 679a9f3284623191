//! Throttling of the whole table, and of one hot key.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{WRITES_IN_FLIGHT, stop};
use crate::support::dynamo::Dynamo;
use crate::support::dynamo_proxy::{Action, Barrier, DynamoProxy, Request};
use crate::support::messages::CONSUMING;
use crate::support::pipeline::{Pipeline, ip, scan, valid_scans};
use crate::support::pubsub::Pubsub;
use crate::support::{POLL_INTERVAL, with_timeout};

const TABLE_REASON: &str = "TableWriteProvisionedThroughputExceeded";
const KEY_REASON: &str = "TableWriteKeyRangeThroughputExceeded";

/// Returns how long `work` takes.
async fn timed(work: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

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

/// How long a throttled write keeps its permit at least. A consumer with one permit writes no faster.
const PAUSE: Duration = Duration::from_millis(40);
const RESTORED: &str = "restored the limit of writes in flight";

/// The capacity of a table in writes, independent of time.
#[derive(Default)]
struct Tokens {
    left: watch::Sender<usize>,
    /// The number of throttled writes in a row that came at least [`PAUSE`] after the one before.
    slow: watch::Sender<usize>,
    latest: Mutex<Option<Instant>>,
    /// Holds the writes after the throttling.
    barrier: OnceLock<Barrier>,
}

impl Tokens {
    fn decide(&self, reason: Option<&str>) -> Action {
        if self.left.send_if_modified(|left| left.checked_sub(1).inspect(|fewer| *left = *fewer).is_some()) {
            return self.barrier.get().map_or(Action::Forward, |barrier| Action::Hold(barrier.clone()));
        }
        let now = Instant::now();
        let before = self.latest.lock().expect("no thread panics while it holds the lock").replace(now);
        let is_slow = before.is_some_and(|before| now - before >= PAUSE);
        self.slow.send_modify(|slow| *slow = if is_slow { *slow + 1 } else { 0 });
        Action::throttled(reason)
    }

    async fn grant(&self, writes: usize) {
        self.left.send_replace(writes);
        let mut left = self.left.subscribe();
        with_timeout("the use of the capacity", left.wait_for(|left| *left == 0)).await.expect("`self` has a sender");
    }
}

async fn test_throttling(reason: Option<&'static str>) {
    let pipeline = pipeline().await;
    let tokens = Arc::new(Tokens::default());
    let proxy = proxy(&pipeline, {
        let tokens = tokens.clone();
        move |request| if request.is_put() { tokens.decide(reason) } else { Action::Forward }
    });
    let proxy = proxy.await;
    let launch = pipeline.consumer().arguments(["--threads", "1"]);
    let mut consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    consumer.wait_for_line(CONSUMING).await;
    let lines = consumer.log().len();
    let began = Instant::now();
    let mut messages = 400;
    pipeline.publish(valid_scans(0..messages)).await;

    for _ in 0..2 {
        let mut slow = tokens.slow.subscribe();
        let one_by_one = slow.wait_for(|slow| *slow >= 20);
        with_timeout("throttled writes one by one", one_by_one).await.expect("`tokens` has a sender");
        // Fewer than it takes to restore the limit, which would suppress the next log message.
        tokens.grant(15).await;
    }
    let logged = consumer.log()[lines..].iter().filter(|line| !line.contains("summary")).count();
    assert!(logged as u64 <= 5 * (1 + began.elapsed().as_secs() / 10), "{:#?}", consumer.log());

    // The limit grows with writes that succeed, so there must be some until it is restored.
    tokens.left.send_replace(usize::MAX);
    let is_restored = Cell::new(false);
    let restoring = async {
        consumer.wait_for_line(RESTORED).await;
        is_restored.set(true);
    };
    let publishing = async {
        while !is_restored.get() {
            if pipeline.counts().backlog() < 100 {
                pipeline.publish(valid_scans(messages..messages + 100)).await;
                messages += 100;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::join!(restoring, publishing);
    let barrier = tokens.barrier.get_or_init(|| Barrier::new(WRITES_IN_FLIGHT));
    pipeline.publish(valid_scans(messages..messages + 2 * WRITES_IN_FLIGHT)).await;
    messages += 2 * WRITES_IN_FLIGHT;
    barrier.opened().await;

    pipeline.drained().await;
    let counts = pipeline.counts();
    assert_eq!((counts.nacked, counts.expired), (0, 0), "{counts:?}");
    assert_eq!(pipeline.rows(messages).await.len(), messages);
    stop(consumer).await;
}

#[tokio::test]
async fn writes_follow_the_capacity_of_a_throttled_table_and_return_to_full_rate() {
    test_throttling(Some(TABLE_REASON)).await;
}

#[tokio::test]
async fn writes_follow_the_capacity_of_a_table_that_throttles_without_a_reason() {
    test_throttling(None).await;
}

#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn writes_follow_the_capacity_of_a_table_that_throttles_for_a_minute() {
    let lasts = Duration::from_secs(60);
    let pipeline = pipeline().await;
    let capacity = Arc::new(Capacity::default());
    let proxy = proxy(&pipeline, {
        let capacity = capacity.clone();
        move |request| {
            match request.is_put() && !capacity.accepts() {
                true => Action::throttled(Some(TABLE_REASON)),
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
async fn a_throttled_hot_key_does_not_slow_other_keys() {
    const OTHERS: usize = 200;
    let pipeline = pipeline().await;
    let hot = format!("{}#80#HTTP", ip(0));
    let (hot_writes, barrier) = (watch::Sender::new(0_usize), Barrier::new(WRITES_IN_FLIGHT));
    let other_writes = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let proxy = proxy(&pipeline, {
        let (hot_writes, barrier, other_writes) = (hot_writes.clone(), barrier.clone(), other_writes.clone());
        move |request| match request.key() {
            Some(key) if request.is_put() && key == hot => {
                hot_writes.send_modify(|writes| *writes += 1);
                Action::throttled(Some(KEY_REASON))
            }
            Some(key) if request.is_put() => {
                *other_writes.lock().expect("no thread panics while it holds the lock").entry(key).or_default() += 1;
                Action::Hold(barrier.clone())
            }
            _ => Action::Forward,
        }
    });
    let proxy = proxy.await;
    // The messages of the hot key may keep four permits for outstanding messages.
    let outstanding = (WRITES_IN_FLIGHT + 4).to_string();
    let launch = pipeline.consumer().arguments(["--threads", "1", "--max-outstanding", &outstanding]);
    let mut consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    consumer.wait_for_line(CONSUMING).await;
    pipeline.publish((1..=50).map(|n| scan(&ip(0), n, "hot"))).await;
    let mut retried = hot_writes.subscribe();
    with_timeout("retries of the hot key", retried.wait_for(|writes| *writes > 2)).await.expect("it has a sender");

    pipeline.publish(valid_scans(1..OTHERS + 1)).await;

    // As many writes of other keys are in flight as without a hot key.
    barrier.opened().await;
    assert_eq!(pipeline.rows(OTHERS).await.len(), OTHERS, "the hot key was written");
    let other_writes = other_writes.lock().expect("no thread panics while it holds the lock");
    // Those that waited at the barrier may have exceeded their time limit.
    let twice = other_writes.values().filter(|writes| **writes > 1).count();
    assert!(twice <= WRITES_IN_FLIGHT, "other keys were written twice: {other_writes:?}");
}
