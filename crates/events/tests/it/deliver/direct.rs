//! Direct dispatch: what is durable when it succeeds.

use std::sync::Arc;

use event_pipeline::deliver::{Dispatcher, Watch};
use event_pipeline::event::Event;
use event_pipeline::moment::Moment;
use event_pipeline::names::{Endpoints, Tables};
use event_pipeline::observe::DeliverMetrics;
use event_pipeline::ports::Dispatch;
use event_pipeline::service::deliverer::{Delivery, DeliveryConfig, storing_deliverer};
use webhooks::Policy;

use super::world::{TIME, World, attribute};

pub(super) fn config(world: &World) -> DeliveryConfig {
    let tables = Tables {
        events: "Events".to_owned(),
        routes: "routes".to_owned(),
        deliveries: "deliveries".to_owned(),
        leases: "event-leases".to_owned(),
    };
    let (sqs, dynamo) = (world.servers.sqs.endpoint.clone(), world.servers.dynamo.endpoint.clone());
    let allowed = world.receiver.host().parse().expect("a target");
    DeliveryConfig {
        endpoints: Endpoints { sqs: Some(sqs), dynamo: Some(dynamo) },
        tables,
        dead_letters: "deliver-dlq".to_owned(),
        keys: None,
        policy: Policy { allow_http: true, allow_targets: vec![allowed], ..Policy::default() },
    }
}

pub(super) fn event(client: &str) -> Event {
    Event {
        client_id: client.to_owned(),
        event_type: "order".to_owned(),
        id: "1".to_owned(),
        time: Moment::parse(TIME).expect("a time"),
        data: "{}".to_owned(),
        others: None,
        body_hash: [0; 32],
        message_id: "m".to_owned(),
        sent: 0,
        trace: None,
    }
}

#[tokio::test]
async fn a_dispatch_succeeds_after_a_receipt_or_when_the_delivery_or_its_dead_letter_is_durable() {
    let world = World::start(200).await;
    world.route("acme", "/acme").await;
    let (metrics, watch) = (Arc::<DeliverMetrics>::default(), Arc::<Watch>::default());
    let delivery = Delivery::connect(&config(&world), metrics, watch).await.expect("the pipeline is set up");
    let dispatcher = Dispatcher::new(delivery.deliverer.clone());
    dispatcher.dispatch(&event("acme")).await.expect("the target accepts it");
    assert_eq!(world.receiver.received("/acme").len(), 1);
    assert_eq!(world.count_waiting().await, 0);

    world.receiver.answer(500);
    dispatcher.dispatch(&event("acme")).await.expect("the delivery is stored");
    assert_eq!(world.count_waiting().await, 1);

    dispatcher.dispatch(&event("nobody")).await.expect("the dead letter is sent");
    assert_eq!(attribute(&world.dead_letter().await, "reason"), Some("no_route"));
}

#[tokio::test]
async fn a_processor_without_an_engine_stores_what_a_deliverer_then_sends() {
    let world = World::start(200).await;
    world.route("acme", "/acme").await;
    let (metrics, watch) = (Arc::<DeliverMetrics>::default(), Arc::<Watch>::default());
    let storing = storing_deliverer(&config(&world), metrics, watch).await.expect("the pipeline is set up");
    Dispatcher::new(storing).dispatch(&event("acme")).await.expect("the delivery is stored");
    assert_eq!(world.count_waiting().await, 1);
    assert!(world.receiver.received("/acme").is_empty());
    let _deliverer = world.deliver();
    world.receiver.wait_for("/acme", 1).await;
    world.wait_until_waiting(0).await;
}
