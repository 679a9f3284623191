//! A table that takes fewer writes than come, and a key that takes fewer than the table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{stopped, timed};
use crate::support::dynamo::Dynamo;
use crate::support::pipeline::{Pipeline, good, ip, scan};
use crate::support::program::Signal;
use crate::support::pubsub::Pubsub;
use crate::support::store_front::{Fate, Request, StoreFront};

const TABLE_REASON: &str = "TableWriteProvisionedThroughputExceeded";
const KEY_REASON: &str = "TableWriteKeyRangeThroughputExceeded";

/// How soon after the throttling the consumer is as fast as before it.
const AT_FULL_RATE_WITHIN: Duration = Duration::from_secs(10);

async fn pipeline() -> Pipeline {
    let (pubsub, _faults) = Pubsub::own().await;
    Pipeline::on(pubsub, Dynamo::connect()).await
}

async fn front(pipeline: &Pipeline, decide: impl Fn(&Request) -> Fate + Send + Sync + 'static) -> StoreFront {
    StoreFront::before(pipeline.dynamo.endpoint.trim_start_matches("http://"), decide).await
}

/// What a table takes: so many writes a second, saved up for a second at most, as DynamoDB's own buckets do.
#[derive(Default)]
struct Capacity {
    bucket: Mutex<Option<Bucket>>,
    taken: AtomicU64,
    throttled: AtomicU64,
}

struct Bucket {
    a_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Capacity {
    fn limit(&self, a_second: Option<f64>) {
        let bucket = a_second.map(|a_second| Bucket { a_second, tokens: 0.0, filled: Instant::now() });
        *self.bucket.lock().expect("nobody panics with it") = bucket;
    }

    fn takes_one(&self) -> bool {
        let takes = self.bucket.lock().expect("nobody panics with it").as_mut().is_none_or(Bucket::take);
        let count = if takes { &self.taken } else { &self.throttled };
        count.fetch_add(1, Ordering::Relaxed);
        takes
    }

    fn counts(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed), self.throttled.load(Ordering::Relaxed))
    }
}

impl Bucket {
    fn take(&mut self) -> bool {
        let now = Instant::now();
        let filled = self.a_second * (now - std::mem::replace(&mut self.filled, now)).as_secs_f64();
        self.tokens = (self.tokens + filled).min(self.a_second);
        let takes = self.tokens >= 1.0;
        if takes {
            self.tokens -= 1.0;
        }
        takes
    }
}

/// What DynamoDB takes to answer, throttled or not. One write at a time that is answered at once would be a storm.
const USUAL_LATENCY: Duration = Duration::from_millis(5);

/// A tenth, or less, of what the consumer would write.
const A_SECOND: f64 = 100.0;

async fn a_throttled_table(reason: Option<&'static str>, lasts: Duration) {
    let pipeline = pipeline().await;
    let capacity = Arc::new(Capacity::default());
    let front = front(&pipeline, {
        let capacity = capacity.clone();
        move |request| {
            match request.is_put() && !capacity.takes_one() {
                true => Fate::throttled(reason),
                false => Fate::Pass,
            }
            .late(USUAL_LATENCY)
        }
    });
    let front = front.await;
    let mut consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &front.url()).start();
    consumer.line("consuming").await;
    // So many that they last for the whole time, and as many are left after it.
    let messages = (2.0 * A_SECOND * lasts.as_secs_f64()) as usize;
    let before = timed(async {
        pipeline.publish(good(0..messages)).await;
        pipeline.drained().await;
    });
    let before = before.await;
    let lines = consumer.log().len();

    capacity.limit(Some(A_SECOND));
    pipeline.publish(good(messages..2 * messages)).await;
    // The limit needs a moment to find the capacity.
    tokio::time::sleep(lasts / 4).await;
    let (taken_then, throttled_then) = capacity.counts();
    tokio::time::sleep(lasts * 3 / 4).await;
    let (taken, throttled) = capacity.counts();
    let (taken, throttled) = (taken - taken_then, throttled - throttled_then);
    let said = consumer.log()[lines..].iter().filter(|line| !line.contains("summary")).count();
    capacity.limit(None);
    let after = timed(pipeline.drained()).await;

    let could = A_SECOND * lasts.as_secs_f64() * 0.75;
    println!("before {before:?}, taken {taken} of {could}, throttled {throttled}, said {said}, after {after:?}");
    assert!(taken as f64 > 0.7 * could, "it wrote {taken} where the table takes {could}");
    assert!(throttled < 12 * taken, "of {taken} writes that the table took it was refused {throttled}");
    assert!(said <= 5, "{:#?}", consumer.log());
    assert!(after < before + AT_FULL_RATE_WITHIN, "{before:?} before the throttling, {after:?} after it");
    let counts = pipeline.counts();
    assert_eq!((counts.nacked, counts.expired), (0, 0), "{counts:?}");
    assert_eq!(pipeline.rows(2 * messages).await.len(), 2 * messages);
    stopped(consumer).await;
}

#[tokio::test]
async fn a_throttled_table_is_written_as_fast_as_it_takes_and_at_full_rate_soon_after() {
    a_throttled_table(Some(TABLE_REASON), Duration::from_secs(6)).await;
}

#[tokio::test]
async fn a_throttled_table_that_gives_no_reason_is_written_as_fast_as_it_takes() {
    a_throttled_table(None, Duration::from_secs(6)).await;
}

#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn a_table_that_is_throttled_for_a_minute_is_written_as_fast_as_it_takes() {
    a_throttled_table(Some(TABLE_REASON), Duration::from_secs(60)).await;
}

/// Far beyond what a consumer needs for a message, so that the writes in flight alone decide how long it takes.
const LATENCY: Duration = Duration::from_millis(150);

/// Counts the writes of all keys but the hot one: each key's, and how many there are at a time.
#[derive(Default)]
struct Others {
    sent: Mutex<HashMap<String, usize>>,
    /// When each was sent.
    times: Mutex<Vec<Instant>>,
    hot: AtomicUsize,
}

impl Others {
    /// The most that were sent within the latency: so many were in flight at a time.
    fn at_a_time(&self) -> usize {
        let times = self.times.lock().expect("nobody panics with it");
        let within =
            |start: &Instant| times.iter().filter(|time| **time >= *start && **time < *start + LATENCY).count();
        times.iter().map(within).max().unwrap_or(0)
    }
}

/// Writes of many keys, and of a hot one beside them that is throttled.
async fn beside_a_hot_key(scans_of_the_hot_key: usize) -> (Arc<Others>, Duration) {
    const OTHERS: usize = 3_000;
    let pipeline = pipeline().await;
    let others = Arc::new(Others::default());
    let hot = format!("{}#80#HTTP", ip(0));
    let front = front(&pipeline, {
        let others = others.clone();
        move |request| match request.key() {
            Some(key) if request.is_put() && key == hot => {
                others.hot.fetch_add(1, Ordering::Relaxed);
                Fate::throttled(Some(KEY_REASON))
            }
            Some(key) if request.is_put() => {
                *others.sent.lock().expect("nobody panics with it").entry(key).or_default() += 1;
                others.times.lock().expect("nobody panics with it").push(Instant::now());
                Fate::Pass.late(LATENCY)
            }
            _ => Fate::Pass,
        }
    });
    let front = front.await;
    // As many writes are in flight from the first, so that none has to find out how many pay.
    let launch = pipeline.consumer().arguments(["--threads", "2", "--max-outstanding", "64"]);
    let mut consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &front.url()).start();
    consumer.line("consuming").await;
    pipeline.publish((1..=scans_of_the_hot_key).map(|n| scan(&ip(0), n as u64, "hot"))).await;
    let took = timed(async {
        pipeline.publish(good(1..OTHERS + 1)).await;
        pipeline.rows(OTHERS).await;
    });
    let took = took.await;
    assert_eq!(pipeline.rows(0).await.len(), OTHERS, "the hot key was written");
    consumer.signal(Signal::Kill).await;
    (others, took)
}

#[tokio::test]
async fn a_hot_key_that_is_throttled_does_not_slow_the_others() {
    // At once, so that whatever else the machine does slows both.
    let ((alone, took_alone), (beside, took_beside)) = tokio::join!(beside_a_hot_key(0), beside_a_hot_key(50));

    println!(
        "alone {} at a time in {took_alone:?}, beside {} in {took_beside:?}",
        alone.at_a_time(),
        beside.at_a_time()
    );
    assert!(beside.hot.load(Ordering::Relaxed) > 1, "the hot key is tried");
    assert!(
        beside.sent.lock().expect("nobody panics with it").values().all(|sent| *sent == 1),
        "another key was written twice"
    );
    assert!(beside.at_a_time() * 10 >= alone.at_a_time() * 9, "{} and {}", alone.at_a_time(), beside.at_a_time());
    // The counts above are exact; how long it took is not, on a machine that does other things too.
    assert!(took_beside < took_alone.mul_f64(1.25), "{took_alone:?} without, {took_beside:?} with a hot key");
}
