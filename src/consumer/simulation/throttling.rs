//! Throttling: the limit of writes in flight follows the table and its partitions, and a hot key affects no other key.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::{PUBLISHED, row, scan};
use super::world::World;
use crate::consumer::ports::Throttle;
use crate::consumer::settings::{Settings, WriteMode};

const LATENCY: Duration = Duration::from_millis(100);
const THROTTLED_FOR: Duration = Duration::from_secs(60);

fn bounds() -> Settings {
    Settings { consumers: n(4), max_outstanding: n(100), max_writes: n(16), ..settings() }
}

/// Publishes new scans, faster than they are written, while it is polled.
async fn flood(world: &World) {
    for port in 1000.. {
        world.publish([scan(port, 5)]);
        sleep(Duration::from_millis(5)).await;
    }
}

/// Accepts `of_ten` of ten writes during the throttling, and all writes after it.
fn throttle(world: &World, of_ten: usize, answer: Answer) {
    world.slow_store(move |attempt| {
        let fails = attempt.at < THROTTLED_FOR && attempt.number % 10 >= of_ten;
        (LATENCY, if fails { answer } else { Answer::Normal })
    });
}

/// Checks that writes get fewer while nine of ten get this answer, and that their rate recovers.
async fn assert_the_rate_follows(answer: Answer) -> Instance {
    let world = World::new();
    throttle(&world, 1, answer);
    let start = Instant::now();
    let instance = Instance::new(&world, bounds());
    let script = async {
        tokio::select! {
            () = flood(&world) => {}
            () = sleep(THROTTLED_FOR + Duration::from_secs(12)) => {}
        }
    };
    instance.during(script).await;
    let state = world.state();
    let calls = |from: u64, to: u64| {
        state.table.calls_between(start, Duration::from_secs(from), Duration::from_secs(to)) as u64 / (to - from)
    };
    // With 16 writes of 100 ms in flight, 160 writes per second are possible.
    assert!(calls(20, 60) <= 20, "{} writes per second while nine of ten were throttled", calls(20, 60));
    assert!(calls(20, 60) >= 5, "only {} attempts per second during the throttling", calls(20, 60));
    assert!(calls(70, 72) >= 150, "{} writes per second after the throttling", calls(70, 72));
    drop(state);
    instance
}

#[tokio::test(start_paused = true)]
async fn a_throttled_table_gets_fewer_writes_and_the_rate_recovers_within_ten_seconds() {
    let metrics = assert_the_rate_follows(Answer::Throttled).await.metrics;
    assert!(metrics.throttles(Throttle::Table).get() > 100);
    assert_eq!(metrics.throttles(Throttle::Partition).get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_throttles_many_keys_gets_fewer_writes_and_the_rate_recovers_within_ten_seconds() {
    let metrics = assert_the_rate_follows(Answer::HotKey).await.metrics;
    assert!(metrics.throttles(Throttle::Partition).get() > 100);
    assert_eq!(metrics.throttles(Throttle::Table).get(), 0);
}

/// Errors of statements have no reasons, so the reasons of the PutItems that follow decide.
#[tokio::test(start_paused = true)]
async fn a_partition_that_throttles_several_statements_of_a_call_lowers_the_limit() {
    let world = World::new();
    world.slow_store(|attempt| {
        (LATENCY, if attempt.port <= 5 && attempt.of_key <= 2 { Answer::HotKey } else { Answer::Normal })
    });
    (1..=25).for_each(|port| {
        world.state().table.rows.insert(port, row(port, PUBLISHED - 2000, "old"));
    });
    world.publish((1..=25).map(|port| scan(port, 5)));
    let write_mode = WriteMode::Batch { linger: Duration::from_millis(2) };
    let instance = Instance::new(&world, Settings { write_mode, ..settings() });
    let script = async {
        world.acked(20).await;
        sleep(LATENCY + Duration::from_millis(1)).await;
        let load = instance.process.load();
        assert!(load.writes_limit <= 16, "{} writes in flight are allowed", load.writes_limit);
        world.acked(25).await;
    };
    instance.during(script).await;
    let counts = Throttle::ALL.map(|throttle| instance.metrics.throttles(throttle).get());
    // Of five throttled keys, the first two may be hot.
    assert_eq!(counts, [0, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn errors_other_than_throttling_do_not_lower_the_limit() {
    let world = World::new();
    world.slow_store(|attempt| {
        let answer = if attempt.of_key == 1 { Answer::Unavailable { written: false } } else { Answer::Normal };
        (LATENCY, if attempt.port % 10 == 0 { answer } else { Answer::Normal })
    });
    world.publish((1..=500).map(|port| scan(port, 5)));
    Instance::new(&world, bounds()).during(world.acked(500)).await;
    assert_eq!(world.state().table.max_in_flight, 16);
}

/// Returns how long the writes of 500 keys take while this many other keys are throttled.
async fn write_with_hot_keys(hot: u16) -> Duration {
    let world = World::new();
    world.slow_store(move |attempt| (LATENCY, if attempt.port <= hot { Answer::HotKey } else { Answer::Normal }));
    let start = Instant::now();
    world.publish((0..500).flat_map(|n| [scan(1 + n % 2, u64::from(n)), scan(1000 + n, 5)]));
    let others = world.until("500 other rows", |state| state.table.rows.range(1000..).count() == 500);
    let instance = Instance::new(&world, Settings { max_retry_time: Duration::from_secs(30), ..bounds() });
    instance
        .during(async {
            others.await;
            start.elapsed()
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn one_or_two_hot_keys_do_not_slow_other_keys() {
    let without = write_with_hot_keys(0).await;
    for hot in [1, 2] {
        let with = write_with_hot_keys(hot).await;
        assert!(with <= without.mul_f64(1.1), "{with:?} with {hot} hot keys, {without:?} without");
    }
}

/// The table accepts a write every 100 ms, and throttles immediately otherwise.
#[tokio::test(start_paused = true)]
async fn a_table_that_throttles_faster_than_it_writes_is_not_flooded() {
    let world = World::new();
    let mut next = Duration::ZERO;
    world.slow_store(move |attempt| match attempt.at < next {
        true => (Duration::from_micros(100), Answer::Throttled),
        false => {
            next = attempt.at + Duration::from_millis(100);
            (Duration::from_millis(1), Answer::Normal)
        }
    });
    let start = Instant::now();
    world.publish((1000..2000).map(|port| scan(port, 5)));
    Instance::new(&world, bounds()).during(world.acked(300)).await;
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let state = world.state();
    let calls = state.table.calls.len();
    assert!(calls < 5 * 300, "{calls} calls for 300 writes");
}
