//! Single situations: many shards, deleted rows, gaps, dead records, memory, several streams and a disabled one.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::handler::SimHandler;
use super::stream::SimStream;
use super::table::Table;
use super::world::{FAILOVER, Faults, Finished, KEYS, POISON, World};
use crate::lease::{Checkpoint, Lease, LeaseKeys, Owner, Start};
use crate::ports::GapCause;
use crate::reader::{Ended, Reader};
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
        invalid: 0.0,
        not_found: 0.0,
        knows_filter: true,
        iterator_age: Duration::from_secs(900),
    };
    set(&mut faults);
    World::new(StdRng::seed_from_u64(1), faults)
}

/// Runs one instance until an event, and stops it.
async fn run_until(world: &World, stream: &str, settings: Settings, event: impl Future<Output = ()>) -> Ended {
    run_instance_until(world, &format!("instance-{stream}"), stream, settings, event).await
}

async fn run_instance_until(
    world: &World,
    instance: &str,
    stream: &str,
    settings: Settings,
    event: impl Future<Output = ()>,
) -> Ended {
    let table = Table { world: world.clone(), instance: instance.to_owned() };
    let handler = SimHandler { world: world.clone(), instance: instance.to_owned() };
    let keys = LeaseKeys::new("simulation", stream);
    let source = SimStream { world: world.clone(), instance: instance.to_owned() };
    let reader = Reader::new(instance, source, table, keys, handler, Arc::new(world.clone()), settings).unwrap();
    let (stop, stopped) = oneshot::channel();
    let running = reader.with_seed(instance.len() as u64).with_clock(world.clock()).run(async { drop(stopped.await) });
    let stopping = async {
        event.await;
        let _ = stop.send(());
        std::future::pending().await
    };
    tokio::select! {
        biased;
        ended = running => ended,
        ended = stopping => ended,
    }
}

fn count(world: &World, name: &str) -> usize {
    world.state().counts.get(name).copied().unwrap_or(0)
}

fn handled_and_gaps(world: &World) -> (usize, usize) {
    let state = world.state();
    (state.finished.len(), state.gaps.len())
}

/// Waits until something was counted.
async fn counted(world: &World, name: &str) {
    let counted = async {
        while count(world, name) == 0 {
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(HOUR, counted).await.unwrap_or_else(|_| panic!("no {name}: {:?}", world.state().counts));
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
    let parents = 342;
    for number in 0..parents {
        let parent = world.state().open_shard(None, vec![KEYS + number]);
        world.state().write_record(KEYS + number);
        world.state().close(&parent);
        world.state().open_shard(Some(&parent), vec![KEYS + number]);
        world.state().write_record(KEYS + number);
    }
    run_until(&world, "s", Settings::default(), drained(&world)).await;
    assert_eq!(world.state().finished.len() as u64, 2 * parents);
    assert_eq!(count(&world, "throttled descriptions"), 0);
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
    let (most, _) = world.live().most();
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
    run_until(&world, "two", Settings::default(), counted(&world, "repeated records")).await;
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
    let ended = timeout(HOUR, run_until(&world, "s", Settings::default(), std::future::pending())).await;
    assert_eq!(ended, Ok(Ended::StreamEnded));
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
        run_instance_until(&world, "instance-second", "s", Settings::default(), writing).await;
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
        {
            let mut state = world.state();
            let row = state.rows.values_mut().find(|row| row.owner.is_some()).expect("the instance owns the shard");
            let former = row.owner.replace(Owner::new("other")).expect("an owner");
            row.counter += 1;
            // The next write of the owner is its next checkpoint. From then on, the world checks who handles records.
            let key = row.key.clone();
            state.former.insert(key, (former, Instant::now() + Duration::from_secs(2)));
        }
        write_for(Duration::from_secs(8)).await;
    };
    run_until(&world, "s", Settings::default(), event).await;
    assert_eq!(world.state().counts.get("lost leases"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_owner_ignores_a_request_is_taken_and_read_when_that_owner_must_have_noticed() {
    let (world, other) = (world(), Owner::new("other/1"));
    for key in 0..2 {
        let shard = world.state().open_shard(None, vec![key]);
        let row = Lease::new(LeaseKeys::new("simulation", "s").shard(&shard), Checkpoint::TrimHorizon);
        let mut state = world.state();
        state.write_record(key);
        state.rows.insert(row.key.clone(), Lease { owner: Some(other.clone()), ..row });
    }
    let renewing = async {
        loop {
            {
                let state = &mut *world.state();
                for row in state.rows.values_mut().filter(|row| row.owner.as_ref() == Some(&other)) {
                    row.counter += 1;
                    state.written.insert(row.key.clone(), Instant::now());
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let handled = async {
        while world.state().finished.is_empty() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    let event = async { timeout(HOUR, handled).await.expect("a record of the lease that was taken") };
    // The world checks that nothing is handled while the former owner may handle records.
    tokio::select! {
        () = renewing => unreachable!("it does not end"),
        _ = run_until(&world, "s", Settings::default(), event) => {}
    }
    assert_eq!(count(&world, "leases that were taken from an owner that ignored a request"), 1);
    assert_eq!(world.state().finished.len(), 1, "the other lease stays where it is");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_cannot_read_leaves_its_shards_to_others() {
    let world = world();
    for key in 0..4 {
        world.state().open_shard(None, vec![key]);
        world.state().write_record(key);
    }
    let settings = Settings::default;
    world.state().denied.insert("instance-denied".into());
    let denied = run_instance_until(&world, "instance-denied", "s", settings(), sleep(HOUR));
    let other = async {
        // The first instance owns everything by then.
        sleep(Duration::from_secs(60)).await;
        run_instance_until(&world, "instance-other", "s", settings(), async {
            timeout(2 * settings().unreadable_timeout, drained(&world)).await.expect("the other one reads");
            sleep(Duration::from_secs(600)).await;
        })
        .await;
    };
    tokio::join!(denied, other);
    assert!(count(&world, "released leases of unreadable shards") > 0);
    assert!(count(&world, "reports of progress, failing") > 10, "{:?}", world.state().counts);
    assert!(count(&world, "taken leases") <= 12, "they do not go to and fro: {:?}", world.state().counts);
}

#[tokio::test(start_paused = true)]
async fn an_instance_reads_again_when_it_is_permitted() {
    let world = world();
    world.state().open_shard(None, vec![1]);
    world.state().write_record(1);
    let event = async {
        drained(&world).await;
        world.state().denied.insert("instance-s".into());
        world.state().write_record(1);
        counted(&world, "released leases of unreadable shards").await;
        sleep(Duration::from_secs(600)).await;
        assert_eq!(count(&world, "taken leases"), 1, "it leaves the lease alone");
        world.state().denied.clear();
        timeout(Duration::from_secs(60), drained(&world)).await.expect("it reads");
    };
    run_until(&world, "s", Settings::default(), event).await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_no_listing_shows_is_read_before_its_child() {
    let world = world();
    world.state().open_shard(None, vec![1]);
    let unlisted = world.state().open_shard(None, vec![2]);
    world.state().shards.get_mut(&unlisted).unwrap().visible = Instant::now() + 24 * HOUR;
    let event = async {
        sleep(Duration::from_secs(60)).await;
        world.state().write_record(2);
        world.state().close(&unlisted);
        world.state().open_shard(Some(&unlisted), vec![2]);
        world.state().write_record(2);
        timeout(Duration::from_secs(300), drained(&world)).await.expect("both are read");
    };
    run_until(&world, "s", Settings::default(), event).await;
    assert_eq!(handled_and_gaps(&world), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_the_stream_denies_for_a_minute_is_not_gone() {
    let world = world();
    let shard = world.state().open_shard(None, vec![1]);
    let event = async {
        sleep(Duration::from_secs(60)).await;
        let minute = Duration::from_secs(60);
        world.state().hidden.insert(shard.clone(), Instant::now() + minute);
        world.state().shards.get_mut(&shard).unwrap().visible = Instant::now() + minute;
        world.state().write_record(1);
        sleep(2 * minute).await;
        drained(&world).await;
    };
    run_until(&world, "s", Settings::default(), event).await;
    assert_eq!(handled_and_gaps(&world), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_owner_keeps_a_missing_shard_until_it_is_gone() {
    let world = world();
    let parent = world.state().open_shard(None, vec![1]);
    world.state().write_record(1);
    run_until(&world, "s", Settings::default(), drained(&world)).await;
    world.state().write_record(1);
    world.state().close(&parent);
    sleep(Duration::from_secs(100)).await;
    world.state().open_shard(Some(&parent), vec![1]);
    world.state().write_record(1);
    world.state().trim(Duration::from_secs(50));
    let settings = Settings::default();
    let settings = Settings { unreadable_timeout: settings.missing_timeout / 2, ..settings };
    run_until(&world, "s", settings, drained(&world)).await;
    assert_eq!(handled_and_gaps(&world), (2, 1));
    assert_eq!(count(&world, "released leases of unreadable shards"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_start_before_the_oldest_record_is_a_gap() {
    let world = world();
    world.state().retention = Some(Duration::from_secs(50));
    world.state().open_shard(None, vec![1]);
    world.state().write_record(1);
    let start = world.state().wall(Instant::now());
    sleep(Duration::from_secs(100)).await;
    world.state().write_record(1);
    world.state().trim(Duration::from_secs(50));
    let settings = Settings { start: Start::At(start), ..Settings::default() };
    run_until(&world, "s", settings, drained(&world)).await;
    let state = world.state();
    assert_eq!((state.gaps.len(), state.gaps[0].cause), (1, GapCause::Trimmed));
    assert_eq!(state.gaps[0].after, Checkpoint::AtTimestamp(start));
}

#[tokio::test(start_paused = true)]
async fn a_start_after_the_trimmed_records_is_no_gap() {
    let world = world();
    world.state().retention = Some(Duration::from_secs(50));
    world.state().open_shard(None, vec![1]);
    world.state().write_record(1);
    sleep(Duration::from_secs(100)).await;
    world.state().trim(Duration::from_secs(50));
    let start = world.state().wall(Instant::now());
    world.state().start = Some(start);
    let event = async {
        sleep(Duration::from_secs(600)).await;
        world.state().write_record(1);
        drained(&world).await;
    };
    run_until(&world, "s", Settings { start: Start::At(start), ..Settings::default() }, event).await;
    assert_eq!(handled_and_gaps(&world), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_row_without_answers_delays_no_other_shard() {
    let world = world();
    for key in 0..20 {
        world.state().open_shard(None, vec![key]);
        world.state().write_record(key);
    }
    let first = world.state().shards.keys().next().unwrap().clone();
    world.state().silent = Some(LeaseKeys::new("simulation", "s").shard(&first));
    let settings = Settings { request_timeout: HOUR, failover: 4 * HOUR, ..Settings::default() };
    let event = async {
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.state().finished.len(), 19);
    };
    run_until(&world, "s", settings, event).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_deleted_by_hand_hides_no_gap() {
    let world = world();
    world.state().open_shard(None, vec![1]);
    let start = LeaseKeys::new("simulation", "s").start();
    let event = async {
        drained(&world).await;
        assert_eq!(world.state().rows.remove(&start).map(|row| row.counter), Some(1));
        sleep(2 * FAILOVER).await;
    };
    run_until(&world, "s", Settings::default(), event).await;
    assert_eq!(world.state().rows[&start].counter, 1);
}

#[tokio::test(start_paused = true)]
async fn records_above_the_expected_size_do_not_exceed_the_memory_budget() {
    let world = world_with(|faults| faults.handler_fails = 0.5);
    for key in 0..2 {
        world.state().open_shard(None, vec![key]);
        (0..100).for_each(|_| world.state().write_large_record(key, 5000));
    }
    let settings = Settings { max_bytes: 20_000, page_bytes: 200, page_records: 4, ..Settings::default() };
    run_until(&world, "s", settings, drained(&world)).await;
    let (_, most) = world.live().most();
    assert!((20_000..=20_000 + 2 * 4 * 5000).contains(&most), "{most} bytes in memory");
}

#[tokio::test(start_paused = true)]
async fn an_idle_shard_reports_that_it_is_caught_up() {
    let world = world();
    world.state().open_shard(None, vec![1]);
    run_until(&world, "s", Settings::default(), sleep(Duration::from_secs(120))).await;
    assert!(count(&world, "reports of progress, caught up") > 5, "{:?}", world.state().counts);
}
