//! A deliverer is stopped while the first attempt of a delivery hangs.

use std::future::{pending, ready};
use std::sync::Arc;

use event_pipeline::deliver::{Dispatcher, Watch};
use event_pipeline::observe::DeliverMetrics;
use event_pipeline::ports::{Dispatch, Failure};
use event_pipeline::service::deliverer::Delivery;
use tokio::time::timeout;

use super::direct::{config, event};
use super::world::World;
use crate::support::program::{Launch, Program, Signal};
use crate::support::{TIMEOUT, with_timeout};

fn with_grace(world: &World, grace: &str) -> Launch {
    let deliverer = world.deliverer().env("EVENT_PIPELINE_ALLOW_TARGET", &world.receiver.host());
    deliverer.env("EVENT_PIPELINE_SHUTDOWN_GRACE", grace).env("EVENT_PIPELINE_CHECKPOINT_INTERVAL", "100ms")
}

/// Delivers an event of another client, so that there is a checkpoint, and then lets the attempt of an event hang.
async fn hang(world: &World, grace: &str) -> (Program, String) {
    world.route("other", "/other").await;
    world.route("acme", "/acme").await;
    let deliverer = with_grace(world, grace).start();
    world.put("other", "1", &[]).await;
    world.receiver.wait_for("/other", 1).await;
    let checkpoint = world.first_checkpoint().await;
    world.receiver.hang("/acme");
    world.put("acme", "2", &[]).await;
    world.receiver.wait_for("/acme", 1).await;
    (deliverer, checkpoint)
}

#[tokio::test]
async fn a_hanging_attempt_does_not_delay_a_stop_and_its_event_is_delivered_after_the_restart() {
    let world = World::start(200).await;
    let (deliverer, checkpoint) = hang(&world, "1s").await;
    world.put("other", "3", &[]).await;
    world.receiver.wait_for("/other", 2).await;
    deliverer.signal(Signal::Terminate).await;
    // The endpoint still hangs.
    let exit = deliverer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    // On a slow machine the record may have been read for more than 5 s. Then its delivery waits in the table.
    if world.count_waiting().await == 0 {
        assert_eq!(world.checkpoint().await, Some(checkpoint), "the checkpoint did not pass the event");
    }
    world.receiver.resume();
    let _deliverer = with_grace(&world, "1s").start();
    // A delivery that waits is claimed for a minute.
    let received = timeout(4 * TIMEOUT, world.receiver.until("/acme", 2)).await.expect("the event arrives");
    assert_eq!(received[0].id(), received[1].id());
    world.wait_until_waiting(0).await;
    assert!(world.servers.sqs.receive_all("deliver-dlq").await.is_empty());
}

#[tokio::test]
async fn an_attempt_that_ends_within_the_grace_period_is_not_repeated_after_the_restart() {
    let world = World::start(200).await;
    let (mut deliverer, checkpoint) = hang(&world, "60s").await;
    deliverer.signal(Signal::Terminate).await;
    deliverer.wait_for_line("stopping").await;
    world.receiver.resume();
    let exit = deliverer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_ne!(world.checkpoint().await, Some(checkpoint), "the checkpoint passed the event");
    let _deliverer = with_grace(&world, "1s").start();
    world.put("acme", "3", &[]).await;
    let received = world.receiver.wait_for("/acme", 2).await;
    assert_ne!(received[0].id(), received[1].id(), "the second one is the new event");
    world.wait_until_waiting(0).await;
}

#[tokio::test]
async fn an_event_that_comes_after_the_engine_stopped_is_left_to_the_next_instance() {
    let world = World::start(200).await;
    world.route("acme", "/acme").await;
    let (metrics, watch) = (Arc::<DeliverMetrics>::default(), Arc::<Watch>::default());
    let delivery = Delivery::connect(&config(&world), metrics, watch).await.expect("the pipeline is set up");
    delivery.run(ready(()), pending()).await;
    let dispatcher = Dispatcher::new(delivery.deliverer.clone());
    let dispatched = with_timeout("an answer", dispatcher.dispatch(&event("acme"))).await;
    assert_eq!(dispatched, Err(Failure::Unavailable("this instance stops".to_owned())));
    assert!(world.receiver.received("/acme").is_empty());
    assert_eq!(world.count_waiting().await, 0);
}
