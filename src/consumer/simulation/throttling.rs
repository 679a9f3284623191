//! Scripts of a table that throttles: its limit of writes follows it, and a hot key is nobody else's business.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::Answer;
use super::instance::{Instance, n, settings};
use super::messages::scan;
use super::world::World;
use crate::consumer::settings::Settings;

const LATENCY: Duration = Duration::from_millis(100);
const SPELL: Duration = Duration::from_secs(60);

fn bounds() -> Settings {
    Settings { consumers: n(4), max_outstanding: n(100), max_writes: n(16), ..settings() }
}

/// Publishes ever new scans, faster than anything here writes them, for as long as it is polled.
async fn a_flood(world: &World) {
    for port in 1000.. {
        world.publish([scan(port, 5)]);
        sleep(Duration::from_millis(5)).await;
    }
}

/// Takes `of_ten` of ten writes during the spell, and every one after it.
fn throttled(world: &World, of_ten: usize) {
    world.slow_store(move |attempt| {
        let fails = attempt.at < SPELL && attempt.number % 10 >= of_ten;
        (LATENCY, if fails { Answer::Throttled } else { Answer::Truly })
    });
}

#[tokio::test(start_paused = true)]
async fn a_throttled_table_is_asked_less_and_after_it_the_rate_is_back_within_ten_seconds() {
    let world = World::new();
    throttled(&world, 1);
    let start = Instant::now();
    let instance = Instance::new(&world, bounds());
    let script = async {
        tokio::select! {
            () = a_flood(&world) => {}
            () = sleep(SPELL + Duration::from_secs(12)) => {}
        }
    };
    instance.during(script).await;
    let state = world.state();
    let calls = |from: u64, to: u64| {
        state.table.calls_between(start, Duration::from_secs(from), Duration::from_secs(to)) as u64 / (to - from)
    };
    // 16 writes of 100 ms are 160 a second.
    assert!(calls(20, 60) <= 20, "{} writes a second while nine of ten were throttled", calls(20, 60));
    assert!(calls(20, 60) >= 5, "{} writes a second: it should go on trying", calls(20, 60));
    assert!(calls(70, 72) >= 150, "{} writes a second after the spell", calls(70, 72));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_throttles_nothing_moves_no_limit() {
    let world = World::new();
    world.slow_store(|attempt| {
        let answer = if attempt.of_key == 1 { Answer::Unavailable { written: false } } else { Answer::Truly };
        (LATENCY, if attempt.port % 10 == 0 { answer } else { Answer::Truly })
    });
    world.publish((1..=500).map(|port| scan(port, 5)));
    Instance::new(&world, bounds()).during(world.acked(500)).await;
    assert_eq!(world.state().table.most_in_flight, 16);
}

/// How long it takes to write 500 keys beside one that is throttled, or is not.
async fn beside_a_hot_key(is_hot: bool) -> Duration {
    let world = World::new();
    world
        .slow_store(move |attempt| (LATENCY, if is_hot && attempt.port == 1 { Answer::HotKey } else { Answer::Truly }));
    let start = Instant::now();
    world.publish((0..500).flat_map(|n| [scan(1, u64::from(n)), scan(1000 + n, 5)]));
    let others = world.until("the others are stored", |state| state.table.rows.range(1000..).count() == 500);
    let instance = Instance::new(&world, Settings { max_retry_time: Duration::from_secs(30), ..bounds() });
    instance
        .during(async {
            others.await;
            start.elapsed()
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_does_not_slow_the_others() {
    let (alone, beside) = (beside_a_hot_key(false).await, beside_a_hot_key(true).await);
    assert!(beside <= alone.mul_f64(1.1), "{beside:?} beside a hot key, {alone:?} without");
}

/// A table that takes a write every 100 ms, and says no at once.
#[tokio::test(start_paused = true)]
async fn a_table_that_refuses_faster_than_it_writes_is_not_flooded() {
    let world = World::new();
    let mut next = Duration::ZERO;
    world.slow_store(move |attempt| match attempt.at < next {
        true => (Duration::from_micros(100), Answer::Throttled),
        false => {
            next = attempt.at + Duration::from_millis(100);
            (Duration::from_millis(1), Answer::Truly)
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
