//! Webhooks through the program: who is told of a change, and what happens when an endpoint or a table fails.

mod setup;

use mini_scan::dynamo::{SideTable, create_table};
use mini_scan::subscriptions::Filter;

use crate::support::program::Signal;
use crate::support::webhook_receiver::{Behaviour, OK, Receiver, Request};
use crate::support::with_timeout;
use setup::{Setup, scan};

/// The instance has the lease of the shard.
const READING: &str = "took a lease";

fn of_port(port: u16) -> Filter {
    Filter { ports: vec![port], ..Filter::default() }
}

fn data(request: &Request) -> serde_json::Value {
    serde_json::from_slice::<serde_json::Value>(&request.body).expect("JSON")["data"].take()
}

#[tokio::test]
async fn a_change_reaches_the_matching_endpoint_signed_and_no_other() {
    let (setup, receiver) = (Setup::new().await, Receiver::start(OK).await);
    let secret = setup.subscribe(&receiver.url("/a"), of_port(80)).await;
    setup.subscribe(&receiver.url("/b"), of_port(443)).await;
    let _changes = setup.start(&receiver).await;
    setup.put(scan(80, 100, "hello")).await;

    receiver.wait_for("/a", 1).await;
    setup.put(scan(443, 101, "hello")).await;
    receiver.wait_for("/b", 1).await;

    let [a, b] = <[Request; 2]>::try_from(receiver.received()).expect("two webhooks");
    assert_eq!((a.path.as_str(), b.path.as_str()), ("/a", "/b"));
    assert!(a.is_signed_by(&secret));
    let body: serde_json::Value = serde_json::from_slice(&a.body).expect("JSON");
    assert_eq!(body["type"], "scan.opened");
    assert_eq!((data(&a)["port"].as_u64(), data(&a)["response"].as_str()), (Some(80), Some("hello")));
    assert_eq!(data(&b)["port"], 443);
}

#[tokio::test]
async fn a_webhook_that_failed_is_delivered_from_the_table_with_the_same_id() {
    let (setup, receiver) = (Setup::new().await, Receiver::start(OK).await);
    setup.subscribe(&receiver.url("/hook-of-somebody"), Filter::default()).await;
    receiver.behave(Behaviour::Answer(500, ""));
    let mut changes = setup.start(&receiver).await;
    setup.put(scan(80, 100, "hello")).await;
    receiver.wait_for("/hook-of-somebody", 1).await;
    receiver.behave(OK);

    receiver.wait_for("/hook-of-somebody", 2).await;

    let received = receiver.received();
    assert_eq!((&received[0].id, &received[0].body), (&received[1].id, &received[1].body));
    with_timeout("an empty table", setup.wait_for_no_deliveries()).await;
    changes.signal(Signal::Terminate).await;
    changes.wait_for_line("Changes stopped").await;
    let log = changes.log().join("\n");
    assert!(log.contains("a webhook failed") && !log.contains("hook-of-somebody"), "{log}");
}

#[tokio::test]
async fn a_webhook_of_a_killed_instance_is_delivered_by_the_next_one() {
    let (setup, receiver) = (Setup::new().await, Receiver::start(OK).await);
    setup.subscribe(&receiver.url("/a"), Filter::default()).await;
    receiver.behave(Behaviour::Hang);
    let changes = setup.start(&receiver).await;
    setup.put(scan(80, 100, "hello")).await;
    receiver.wait_for("/a", 1).await;
    changes.signal(Signal::Kill).await;
    receiver.behave(OK);

    let _next = setup.start(&receiver).await;

    receiver.wait_for("/a", 2).await;
    let received = receiver.received();
    assert_eq!((&received[0].id, &received[0].body), (&received[1].id, &received[1].body));
}

#[tokio::test]
async fn an_outage_of_the_deliveries_holds_the_record_and_loses_nothing() {
    let (setup, receiver) = (Setup::new().await, Receiver::start(OK).await);
    setup.subscribe(&receiver.url("/a"), Filter::default()).await;
    receiver.behave(Behaviour::Answer(500, ""));
    let mut changes = setup.start(&receiver).await;
    let delete = setup.dynamo.client.delete_table().table_name(&setup.deliveries);
    delete.send().await.expect("the table is deleted");
    setup.put(scan(80, 100, "hello")).await;
    receiver.wait_for("/a", 1).await;
    changes.wait_for_line("unhealthy: deliveries table").await;
    changes.signal(Signal::Kill).await;
    receiver.behave(OK);
    let create = create_table(&setup.dynamo.client, SideTable::Deliveries.spec(), &setup.deliveries);
    with_timeout("a table of deliveries", create).await.expect("the table is created");

    let _next = setup.start(&receiver).await;

    receiver.wait_for("/a", 2).await;
}
