//! Single situations: many shards, deleted rows, gaps, dead records, memory, several streams and a disabled one.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::handler::SimHandler;
use super::table::Table;
use super::world::{FAILOVER, Faults, Finished, KEYS, POISON, World};
use crate::lease::{Checkpoint, LeaseKeys, Owner};
use crate::reader::Reader;
use crate::settings::Settings;

const HOUR: Duration = Duration::from_secs(3600);

/// Returns a world without faults.
fn world() -> World {
    world_with(|_| {})
}

fn world_with(set: impl Fn(&mut Faults)) -> World {
    let mut faults = Faults {
        until: Instant::now() + 24 * HOUR,
        fails: 0.0,
        is_late: 0.0,
        loses_answer: 0.0,
        omits: 0.0,
        expires: 0.0,
        handler_fails: 0.0,
        iterator_age: Duration::from_secs(900),
    };
    set(&mut faults);
    World::new(StdRng::seed_from_u64(1), faults)
}

/// Runs one instance until an event, and stops it.
async fn run_until(world: &World, stream: &str, settings: Settings, event: impl Future<Output = ()>) {
    let instance = format!("instance-{stream}");
    let table = Table { world: world.clone(), instance: instance.clone() };
    let handler = SimHandler { world: world.clone(), instance: instance.clone() };
    let keys = LeaseKeys::new("simulation", stream);
    let reader =
        Reader::new(&instance, world.clone(), table, keys, handler, Arc::new(world.clone()), settings).unwrap();
    let (stop, stopped) = oneshot::channel();
    let running = reader.with_seed(1).run(async { drop(stopped.await) });
    let stopping = async {
        event.await;
        let _ = stop.send(());
    };
    tokio::join!(running, stopping);
}

async fn drained(world: &World) {
    let drained = async {
        while world.state().not_drained().is_some() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    if timeout(HOUR, drained).await.is_err() {
        panic!("{:?}", world.state().not_drained());
    }
}

#[tokio::test(start_paused = true)]
async fn reads_684_shards_although_half_of_the_requests_fail() {
    let world = world_with(|faults| faults.fails = 0.5);
    for number in 0..684 {
        world.state().open_shard(None, vec![KEYS + number]);
        world.state().write_record(KEYS + number);
    }
    run_until(&world, "s", Settings::default(), drained(&world)).await;
    assert_eq!(world.state().finished.len(), 684);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_deleted_by_hand_is_restored_with_its_checkpoint() {
    let world = world();
    world.state().open_shard(None, vec![1]);
    (0..10).for_each(|_| world.state().write_record(1));
    let event = async {
        drained(&world).await;
        world.state().rows.retain(|key, _| key.ends_with('/'));
        sleep(2 * FAILOVER).await;
    };
    run_until(&world, "s", Settings::default(), event).await;
    let state = world.state();
    assert_eq!(state.counts.get("restored rows"), Some(&1));
    assert_eq!(state.counts.get("repeated records"), None);
    assert_eq!(state.not_drained(), None);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_reported_and_reading_continues_after_it() {
    let world = world();
    world.state().open_shard(None, vec![1]);
    world.state().write_record(1);
    run_until(&world, "s", Settings::default(), drained(&world)).await;
    assert_eq!(world.state().gaps, []);
    (0..5).for_each(|_| world.state().write_record(1));
    sleep(Duration::from_secs(100)).await;
    world.state().write_record(1);
    world.state().trim(Duration::from_secs(50));
    run_until(&world, "s", Settings::default(), drained(&world)).await;
    let state = world.state();
    assert_eq!((state.gaps.len(), state.finished.len()), (1, 2));
    assert!(matches!(state.gaps[0].after, Checkpoint::After(_)));
}

#[tokio::test(start_paused = true)]
async fn records_that_cannot_be_handled_are_dead_and_hold_up_no_other() {
    let world = world();
    world.state().open_shard(None, (0..KEYS).collect());
    for number in 0..400 {
        world.state().write_record(if number % 2 == 0 { POISON } else { number % KEYS });
    }
    run_until(&world, "s", Settings::default(), drained(&world)).await;
    let dead = world.state().finished.values().filter(|how| **how == Finished::Dead).count();
    assert!(dead > 20, "{dead}");
}

#[tokio::test(start_paused = true)]
async fn unfinished_records_never_exceed_the_memory_budget() {
    let world = world_with(|faults| faults.handler_fails = 0.5);
    for key in 0..KEYS {
        world.state().open_shard(None, vec![key]);
        (0..100).for_each(|_| world.state().write_record(key));
    }
    let settings = Settings { max_records: 17, page_records: 10, max_records_per_shard: 12, ..Settings::default() };
    let event = async {
        timeout(10 * HOUR, async {
            while world.state().finished.len() < 100 * KEYS as usize {
                sleep(Duration::from_secs(1)).await;
            }
        })
        .await
        .expect("all records are handled");
    };
    run_until(&world, "s", settings, event).await;
    let most = world.live().most();
    assert!((10..=17).contains(&most), "{most} records in memory");
}

#[tokio::test(start_paused = true)]
async fn several_streams_share_a_lease_table() {
    let world = world();
    world.state().open_shard(None, vec![1]);
    world.state().write_record(1);
    run_until(&world, "one", Settings::default(), drained(&world)).await;
    let first = world.state().rows.clone();
    let counts = |world: &World| world.state().counts.get("repeated records").copied();
    assert_eq!(counts(&world), None);
    let event = async {
        while counts(&world).is_none() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    run_until(&world, "two", Settings::default(), event).await;
    let state = world.state();
    assert_eq!(state.rows.len(), 2 * first.len());
    assert!(first.iter().all(|(key, row)| state.rows[key] == *row), "the rows of the first stream did not change");
}

#[tokio::test(start_paused = true)]
async fn a_disabled_stream_is_read_to_its_end() {
    let world = world();
    world.state().open_shard(None, vec![1]);
    (0..10).for_each(|_| world.state().write_record(1));
    world.state().disable();
    run_until(&world, "s", Settings::default(), drained(&world)).await;
    let state = world.state();
    assert_eq!(state.counts.get("disabled streams"), Some(&1));
    assert!(state.rows.values().any(|row| row.checkpoint == Checkpoint::ShardEnd));
}

#[tokio::test(start_paused = true)]
async fn a_second_instance_gets_its_share_without_a_repeated_record() {
    let world = world();
    for key in 0..4 {
        world.state().open_shard(None, vec![key]);
        world.state().write_record(key);
    }
    let first = run_until(&world, "s", Settings::default(), sleep(HOUR));
    let second = async {
        sleep(Duration::from_secs(60)).await;
        let table = Table { world: world.clone(), instance: "instance-second".into() };
        let handler = SimHandler { world: world.clone(), instance: "instance-second".into() };
        let (keys, observer) = (LeaseKeys::new("simulation", "s"), Arc::new(world.clone()));
        let reader =
            Reader::new("instance-second", world.clone(), table, keys, handler, observer, Settings::default()).unwrap();
        let writing = async {
            for number in 0..1000 {
                world.state().write_record(number % 4);
                sleep(Duration::from_millis(100)).await;
            }
            let owns = |name: &str| {
                let state = world.state();
                let owners = state.rows.values().filter_map(|row| row.owner.clone());
                owners.filter(|owner| owner.as_str().starts_with(name)).count()
            };
            assert_eq!((owns("instance-s/"), owns("instance-second/")), (2, 2));
        };
        reader.with_seed(2).run(writing).await;
    };
    tokio::join!(first, second);
    let state = world.state();
    assert_eq!(state.counts.get("leases that were handed over"), Some(&2));
    assert_eq!(state.counts.get("repeated records"), None);
}

#[tokio::test(start_paused = true)]
async fn an_owner_stops_as_soon_as_its_write_is_refused() {
    let world = world();
    world.state().open_shard(None, vec![1]);
    let write_for = |time: Duration| {
        let world = world.clone();
        async move {
            let end = Instant::now() + time;
            while Instant::now() < end {
                world.state().write_record(1);
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    let event = async {
        write_for(Duration::from_secs(60)).await;
        let key = {
            let mut state = world.state();
            let row = state.rows.values_mut().find(|row| row.owner.is_some()).expect("the instance owns the shard");
            row.owner = Some(Owner::new("other"));
            row.counter += 1;
            let key = row.key.clone();
            state.disputed.insert(key.clone());
            key
        };
        // The next write of the owner is its next checkpoint. From then on, the world checks who handles records.
        write_for(Duration::from_secs(2)).await;
        world.state().disputed.remove(&key);
        write_for(Duration::from_secs(6)).await;
    };
    run_until(&world, "s", Settings::default(), event).await;
    assert_eq!(world.state().counts.get("lost leases"), Some(&1));
}
