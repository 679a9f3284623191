//! The flood of one client beside nine others, through a processor and a deliverer.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::world::{POLL_INTERVAL, World};
use crate::support::program::event_pipeline;
use crate::support::refusals::{Refusal, Refusals};
use crate::support::with_timeout;

const FLOOD: &str = "flood";
/// What the client sends that floods the queue.
const MANY: usize = 2_000;
/// How many of these events the table takes until it throttles the partition of this client.
const TAKEN: usize = 200;
const OTHERS: usize = 9;
/// How many events each of the others sends.
const FEW: usize = 5;
/// The longest time without progress.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends events of a client to the queue.
async fn send(world: &World, client: &str, count: usize) {
    let url = world.servers.sqs.url("events").await;
    let numbers: Vec<usize> = (0..count).collect();
    for batch in numbers.chunks(10) {
        let entries = batch.iter().map(|number| {
            let body = json!({ "client_id": client, "event_type": "order", "data": { "number": number } });
            let entry = SendMessageBatchRequestEntry::builder().id(number.to_string()).message_body(body.to_string());
            entry.build().expect("a complete entry")
        });
        let send = world.servers.sqs.client.send_message_batch().queue_url(&url).set_entries(Some(entries.collect()));
        let sent = send.send().await.expect("SQS answers");
        assert!(sent.failed.is_empty(), "{:?}", sent.failed);
    }
}

fn path(client: &str) -> String {
    format!("/{client}")
}

fn others() -> impl Iterator<Item = String> {
    (0..OTHERS).map(|number| format!("client-{number}"))
}

/// Waits until `count` returns `expected`, for as long as it changes.
async fn until(what: &str, expected: usize, count: impl AsyncFn() -> usize) {
    let (mut last, mut since) = (count().await, Instant::now());
    while last != expected {
        assert!(since.elapsed() < PATIENCE, "{what}: {last} of {expected}");
        sleep(POLL_INTERVAL).await;
        let now = count().await;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

#[tokio::test]
async fn the_events_of_nine_clients_are_delivered_while_most_of_a_flood_is_not_even_stored() {
    let world = World::start(200).await;
    let table = Refusals::start(&world.servers.dynamo.endpoint).await;
    for client in others().chain([FLOOD.to_owned()]) {
        world.route(&client, &path(&client)).await;
    }
    // The endpoint of the flood is slow as well.
    world.receiver.hang(&path(FLOOD));
    let taken = Mutex::new(BTreeSet::new());
    table.refuse(move |call| {
        let item = &call.body["Item"];
        if item["client_id"]["S"] != FLOOD {
            return None;
        }
        let mut taken = taken.lock().expect("no panic");
        let key = item["event_key"]["S"].as_str().expect("an event has a key");
        let is_taken = taken.contains(key) || (taken.len() < TAKEN && taken.insert(key.to_owned()));
        (!is_taken).then_some(Refusal::Throttled)
    });
    let processor = event_pipeline(["processor"]).against(&world.servers);
    let _processor = processor.env("AWS_ENDPOINT_URL_DYNAMODB", &table.endpoint).start();
    let _deliverer = world.deliver();
    send(&world, FLOOD, MANY).await;
    until("events of the flood", TAKEN, async || world.stored().await.len()).await;
    with_timeout("a webhook of the flood", world.receiver.wait_for(&path(FLOOD), 1)).await;

    for client in others() {
        send(&world, &client, FEW).await;
    }
    for client in others() {
        world.receiver.wait_for(&path(&client), FEW).await;
    }

    let stored = world.stored().await;
    let of_flood = stored.iter().filter(|item| item["client_id"].as_s().is_ok_and(|client| client == FLOOD)).count();
    assert_eq!((of_flood, stored.len() - of_flood), (TAKEN, OTHERS * FEW));
    assert!(world.receiver.received(&path(FLOOD)).len() < TAKEN, "its webhooks wait, too");

    table.refuse_nothing();
    world.receiver.resume();
    until("events", MANY + OTHERS * FEW, async || world.stored().await.len()).await;
    let distinct = async || {
        let received = world.receiver.received(&path(FLOOD));
        received.iter().map(|request| request.id().to_owned()).collect::<BTreeSet<_>>().len()
    };
    until("webhooks of the flood", MANY, distinct).await;
    for client in others() {
        assert_eq!(world.receiver.received(&path(&client)).len(), FEW, "{client}: each arrives once");
    }
    for queue in ["events-dlq", "deliver-dlq"] {
        assert!(world.servers.sqs.receive_all(queue).await.is_empty(), "{queue}");
    }
}
