//! Direct dispatch: the processor is killed between put and delivery, or a dispatch gets no result for a minute.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_sqs::types::QueueAttributeName;
use event_pipeline::deliver::{Dispatcher, Watch};
use event_pipeline::event::Event;
use event_pipeline::observe::DeliverMetrics;
use event_pipeline::ports::{Dispatch, Failure};
use event_pipeline::routes::{MAIN, Target};
use event_pipeline::service::deliverer::{Delivery, storing_deliverer};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::direct::{config, event};
use super::world::{POLL_INTERVAL, TIME, World};
use crate::support::program::{Launch, Signal, event_pipeline};
use crate::support::refusals::{Refusal, Refusals};
use crate::support::with_timeout;

fn processor(world: &World, table: &Refusals) -> Launch {
    let processor = event_pipeline(["processor", "--visibility", "10s", "--allow-http"]).against(&world.servers);
    processor
        .env("AWS_ENDPOINT_URL_DYNAMODB", &table.endpoint)
        .env("EVENT_PIPELINE_ALLOW_TARGET", &world.receiver.host())
}

/// Sends the event of [`event`] to the queue.
async fn send(world: &World) {
    let event = json!({ "client_id": "acme", "event_type": "order", "data": {}, "event_id": "1", "event_time": TIME });
    world.servers.sqs.send("events", &event.to_string(), &[]).await;
}

/// Waits until the queue has no message any more.
async fn until_queue_is_empty(world: &World) {
    let count = |attributes: &HashMap<QueueAttributeName, String>, name: QueueAttributeName| {
        attributes[&name].parse::<usize>().expect("a number")
    };
    let empty = async {
        loop {
            let attributes = world.servers.sqs.attributes("events").await;
            let visible = count(&attributes, QueueAttributeName::ApproximateNumberOfMessages);
            if visible + count(&attributes, QueueAttributeName::ApproximateNumberOfMessagesNotVisible) == 0 {
                return;
            }
            sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout("an empty queue", empty).await;
}

#[tokio::test]
async fn an_event_whose_processor_was_killed_after_the_put_arrives_once_although_the_next_one_has_no_direct_dispatch() {
    let world = World::start(200).await;
    world.route("acme", "/acme").await;
    let table = Refusals::start(&world.servers.dynamo.endpoint).await;
    let direct = processor(&world, &table).env("DIRECT_DISPATCH", "true").start();
    // Without the route, the dispatch cannot begin.
    table.refuse(|call| {
        (call.resource == "routes" && call.body["Key"]["client_id"]["S"] == "acme").then_some(Refusal::Unavailable)
    });
    send(&world).await;
    table.until_refused(1).await;
    direct.signal(Signal::Kill).await;
    assert_eq!(direct.exit().await.code, None);
    let stored = world.stored().await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0]["dispatch"].as_s().map(String::as_str), Ok("direct"));
    assert!(world.receiver.received("/acme").is_empty());
    table.refuse_nothing();

    // The deliverer alone does not deliver it.
    let _deliverer = world.deliver();
    let _other = processor(&world, &table).start();
    let first = world.receiver.wait_for("/acme", 1).await;
    until_queue_is_empty(&world).await;
    world.wait_until_waiting(0).await;
    // The stream has nothing left to deliver after this one.
    world.put("acme", "2", &[]).await;
    let received = world.receiver.wait_for("/acme", 2).await;
    assert_eq!(received.len(), 2);
    assert_ne!(received[1].id(), first[0].id());
}

#[tokio::test]
async fn a_dispatch_without_a_result_for_a_minute_fails_and_its_repeat_is_the_same_delivery() {
    let world = World::start(500).await;
    let only = Some(["order".to_owned()].into());
    let target = Target { event_types: only, ..Target::new(world.receiver.url("/acme")) };
    world.routes().set("acme", MAIN, &target).await.expect("the table answers");
    let table = Refusals::start(&world.servers.dynamo.endpoint).await;
    let mut config = config(&world);
    config.endpoints.dynamo = Some(table.endpoint.clone());
    let connected = || (Arc::<DeliverMetrics>::default(), Arc::<Watch>::default());
    let (metrics, watch) = connected();
    let storing = storing_deliverer(&config, metrics, watch).await.expect("the pipeline is set up");
    let (metrics, watch) = connected();
    let delivery = Delivery::connect(&config, metrics, watch).await.expect("the pipeline is set up");

    let event = event("acme");
    let unwanted = Event { event_type: "unwanted".to_owned(), ..event.clone() };
    let late = Err(Failure::Unavailable("no result within 60 s".to_owned()));
    for (stored, deliverer) in [storing, delivery.deliverer].into_iter().enumerate() {
        table.refuse_all_of("deliveries", Refusal::Unavailable);
        let dispatcher = Dispatcher::new(deliverer);
        // This reads the route.
        assert_eq!(dispatcher.dispatch(&unwanted).await, Ok(()));
        // The minute passes as soon as nothing is left to do. The servers have threads of their own.
        tokio::time::pause();
        let began = Instant::now();
        assert_eq!(dispatcher.dispatch(&event).await, late);
        assert_eq!(began.elapsed().as_secs(), 60);
        tokio::time::resume();
        assert_eq!(world.count_waiting().await, stored);
        table.refuse_nothing();
        assert_eq!(dispatcher.dispatch(&event).await, Ok(()));
        // Both deliverers store the same delivery.
        assert_eq!(world.count_waiting().await, 1);
    }
    let received = world.receiver.received("/acme");
    assert!(received.iter().all(|request| request.id() == received[0].id()), "{received:?}");
}
