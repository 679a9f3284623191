//! Runs whole processors on a paused clock against a queue and a table that fail: outages, lost answers, kills and stops.

mod random;
mod world;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::world::{Fate, Outage, Side, World};
use super::flow::Limits;
use super::{Ports, Processor, Settings};
use crate::schema::Schemas;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        limits: Limits {
            messages: 60,
            bytes: 1 << 20,
            running: 16,
            running_per_client: 4,
            visibility: 30 * SECOND,
            max_invisible: 12 * 3600 * SECOND,
        },
        is_direct: false,
        pollers: 2,
        delete_delay: Duration::from_millis(20),
        max_retry_delay: SECOND,
        call_timeout: 3 * SECOND,
        shutdown_grace: 10 * SECOND,
    }
}

fn start(world: &Arc<World>, is_direct: bool, tasks: &mut JoinSet<()>) -> (CancellationToken, AbortHandle) {
    start_with_seed(world, is_direct, 0, tasks)
}

fn start_with_seed(
    world: &Arc<World>,
    is_direct: bool,
    seed: u64,
    tasks: &mut JoinSet<()>,
) -> (CancellationToken, AbortHandle) {
    let stop = CancellationToken::new();
    let side = || Side(Arc::clone(world));
    let ports = Ports { queue: side(), events: side(), dead_letters: side(), dispatch: side() };
    let settings = Settings { is_direct, ..settings() };
    let processor = Processor::new(ports, Schemas::default(), Arc::new(()), settings).with_seed(seed);
    let stopped = stop.clone();
    let task = tasks.spawn(async move { processor.run(&stopped).await });
    (stop, task)
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_costs_no_message_another_receipt() {
    for outage in [Outage::Table, Outage::Dispatch] {
        let world = Arc::new(World::reliable(300));
        let mut tasks = JoinSet::new();
        world.set_outage(outage, true);
        let _running = start(&world, true, &mut tasks);
        sleep(3600 * SECOND).await;
        world.end_outages();
        // The rest takes a second, because the permits wait no longer between two attempts.
        timeout(5 * SECOND, world.until_empty()).await.expect("the queue becomes empty");
        world.check();
        assert_eq!(world.most_receives(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_queue_that_is_shorter_than_the_visibility_costs_no_receipt() {
    let world = Arc::new(World::reliable(60));
    let mut tasks = JoinSet::new();
    world.set_outage(Outage::Table, true);
    let _running = start(&world, false, &mut tasks);
    sleep(15 * SECOND).await;
    world.set_outage(Outage::Queue, true);
    sleep(10 * SECOND).await;
    world.end_outages();
    timeout(60 * SECOND, world.until_empty()).await.expect("the queue becomes empty");
    assert_eq!(world.most_receives(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_returns_what_is_not_stored() {
    let world = Arc::new(World::reliable(300));
    let mut tasks = JoinSet::new();
    world.set_outage(Outage::Table, true);
    let (stop, _) = start(&world, false, &mut tasks);
    sleep(5 * SECOND).await;
    assert_eq!(world.visible(), 240, "the memory has room for 60");
    stop.cancel();
    tasks.join_next().await.expect("a processor").expect("it ends");
    assert_eq!(world.visible(), 300);
}

#[tokio::test(start_paused = true)]
async fn no_extension_hides_a_message_after_it_was_returned() {
    // The extensions begin 20 s after the receipts, and the messages are returned 10 s after the stop.
    for millis in (9_900..10_200).step_by(5) {
        let world = Arc::new(World::reliable(60));
        let mut tasks = JoinSet::new();
        world.set_outage(Outage::Table, true);
        let (stop, _) = start(&world, false, &mut tasks);
        sleep(Duration::from_millis(millis)).await;
        stop.cancel();
        tasks.join_next().await.expect("a processor").expect("it ends");
        assert_eq!(world.visible(), 60, "after {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_stores_what_was_received() {
    let world = Arc::new(World::reliable(60));
    let mut tasks = JoinSet::new();
    let (stop, _) = start(&world, false, &mut tasks);
    world.until_received(40).await;
    stop.cancel();
    tasks.join_next().await.expect("a processor").expect("it ends");
    assert_eq!((world.visible(), world.invisible()), (60 - world.stored(), 0));
    assert!(world.stored() >= 40);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_instance_ended_before_its_dispatch_is_dispatched_by_another_one() {
    let world = Arc::new(World::reliable(20));
    let mut tasks = JoinSet::new();
    world.set_outage(Outage::Dispatch, true);
    let (_, direct) = start(&world, true, &mut tasks);
    timeout(60 * SECOND, world.until(|inner| inner.stored_count() >= 10)).await.expect("events are stored");
    direct.abort();
    assert_eq!(world.dispatched(), 0);
    world.end_outages();
    let _other = start(&world, false, &mut tasks);
    timeout(3600 * SECOND, world.until_empty()).await.expect("the queue becomes empty");
    world.check();
    let dispatched = world.dispatched();
    assert!((10..=20).contains(&dispatched), "{dispatched}");
}

/// The flood is received first, and stored slowly.
async fn flood(messages: usize) -> (Arc<World>, JoinSet<()>, usize) {
    let world = Arc::new(World::reliable(0));
    for _ in 0..messages {
        world.send("flood", Fate::Valid);
    }
    let small = world.send("small", Fate::Valid);
    world.slow_down("flood", 2 * SECOND);
    let mut tasks = JoinSet::new();
    let _running = start(&world, false, &mut tasks);
    (world, tasks, small)
}

#[tokio::test(start_paused = true)]
async fn a_client_does_not_wait_for_the_flood_of_another_that_was_received_before() {
    let (world, _tasks, small) = flood(40).await;
    timeout(2 * SECOND, world.until_stored(small)).await.expect("it is stored before any of the flood");
    assert_eq!(world.stored(), 1);
    timeout(60 * SECOND, world.until_empty()).await.expect("the queue becomes empty");
}

/// What is received is never released, so a flood that fills the memory delays others until enough of it is stored.
#[tokio::test(start_paused = true)]
async fn a_flood_that_fills_the_memory_costs_no_receipt() {
    let (world, _tasks, small) = flood(200).await;
    timeout(100 * SECOND, world.until_stored(small)).await.expect("it is stored before the end of the flood");
    assert!(world.stored() < 180, "{}", world.stored());
    timeout(60 * SECOND, world.until_empty()).await.expect("the queue becomes empty");
    assert_eq!(world.most_receives(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_refused_is_left_to_the_queue() {
    let world = Arc::new(World::reliable(0));
    world.send("client", Fate::Invalid);
    let valid = world.send("client", Fate::Valid);
    world.refuse_dead_letters();
    let mut tasks = JoinSet::new();
    let _running = start(&world, false, &mut tasks);
    timeout(5 * SECOND, world.until_stored(valid)).await.expect("it is stored");
    sleep(100 * SECOND).await;
    assert!(world.most_receives() >= 3, "it comes again after its visibility");
}
