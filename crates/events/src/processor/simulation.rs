//! Runs whole processors on a paused clock against a queue and a table that fail: outages, lost answers, kills and stops.

mod world;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::world::{Fate, Side, World};
use super::flow::Limits;
use super::{Processor, Settings};
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
        pollers: 2,
        delete_delay: Duration::from_millis(20),
        max_retry_delay: SECOND,
        call_timeout: 3 * SECOND,
        shutdown_grace: 10 * SECOND,
    }
}

fn start(world: &Arc<World>, tasks: &mut JoinSet<()>) -> (CancellationToken, tokio::task::AbortHandle) {
    let stop = CancellationToken::new();
    let sides = (Side(Arc::clone(world)), Side(Arc::clone(world)), Side(Arc::clone(world)));
    let processor = Processor::new(sides, Schemas::default(), Arc::new(()), settings());
    let stopped = stop.clone();
    let task = tasks.spawn(async move { processor.run(&stopped).await });
    (stop, task)
}

async fn simulate(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let world = Arc::new(World::new(random.random(), 300));
    let mut tasks = JoinSet::new();
    let mut running = vec![start(&world, &mut tasks), start(&world, &mut tasks)];
    for _ in 0..random.random_range(0..6) {
        sleep(SECOND.mul_f64(random.random_range(0.0..20.0))).await;
        let index = random.random_range(0..running.len());
        match random.random_range(0..4) {
            0 => running.swap_remove(index).1.abort(),
            1 => running.swap_remove(index).0.cancel(),
            2 => world.set_outage(true),
            _ => world.set_outage(false),
        }
        while running.len() < 2 {
            running.push(start(&world, &mut tasks));
        }
    }
    world.set_outage(false);
    let ended = timeout(3600 * SECOND, world.until_empty()).await;
    assert!(ended.is_ok(), "seed {seed}: the queue is not empty: {world:?}");
    world.check(seed);
}

#[tokio::test(start_paused = true)]
async fn every_event_is_stored_and_every_other_message_is_a_dead_letter() {
    for seed in 0..100 {
        simulate(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_an_hour_costs_no_message_another_receipt() {
    let world = Arc::new(World::reliable(300));
    let mut tasks = JoinSet::new();
    world.set_outage(true);
    let _running = start(&world, &mut tasks);
    sleep(3600 * SECOND).await;
    world.set_outage(false);
    timeout(60 * SECOND, world.until_empty()).await.expect("the queue becomes empty");
    world.check(0);
    assert_eq!(world.most_receives(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_back_what_is_not_stored() {
    let world = Arc::new(World::reliable(300));
    let mut tasks = JoinSet::new();
    world.set_outage(true);
    let (stop, _) = start(&world, &mut tasks);
    sleep(5 * SECOND).await;
    stop.cancel();
    tasks.join_next().await.expect("a processor").expect("it ends");
    assert_eq!(world.visible(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_client_does_not_delay_another() {
    let world = Arc::new(World::reliable(0));
    for _ in 0..200 {
        world.send("flood", Fate::Valid);
    }
    let small = world.send("small", Fate::Valid);
    world.slow_down("flood", 5 * SECOND);
    let mut tasks = JoinSet::new();
    let _running = start(&world, &mut tasks);
    // It is the last one of the queue, and the flood fills the memory before.
    timeout(3600 * SECOND, world.until_stored(small)).await.expect("it is stored");
    world.set_outage(false);
}
