//! `event-pipeline events`, and the redrive of deliveries.

use std::num::NonZeroU16;

use aws_sdk_dynamodb::types::AttributeValue;
use event_pipeline::key;
use event_pipeline::table::item::partition_of;
use serde_json::Value;

use crate::support::program::event_pipeline;
use crate::support::servers::Servers;

const TIMES: [&str; 3] = ["2026-11-22T10:00:00.000Z", "2026-11-22T11:00:00.000Z", "2026-11-22T12:00:00.000Z"];

/// Stores an event as the processor does, as far as tools read it.
async fn store(servers: &Servers, client_id: &str, time: &str, id: &str, buckets: u16) {
    let text = |text: String| AttributeValue::S(text);
    let partition = partition_of(client_id, id, NonZeroU16::new(buckets).unwrap());
    let put = servers.dynamo.client.put_item().table_name("Events").item("client_id", text(partition));
    put.item("event_key", text(format!("{time}#{id}")))
        .item("event_type", text("order.paid".to_owned()))
        .item("data", text(r#"{"n": 1.50}"#.to_owned()))
        .item("stored_at", AttributeValue::N("1700000000000".to_owned()))
        .send()
        .await
        .unwrap();
}

async fn count(servers: &Servers, table: &str) -> i32 {
    servers.dynamo.client.scan().table_name(table).consistent_read(true).send().await.unwrap().count
}

/// Returns the ids of the deliveries that wait, with their bodies.
async fn waiting(servers: &Servers) -> Vec<(String, String)> {
    let items = servers.dynamo.client.scan().table_name("deliveries").consistent_read(true).send().await.unwrap();
    let mut found: Vec<_> = items
        .items()
        .iter()
        .filter_map(|item| {
            let body = String::from_utf8(item.get("body")?.as_b().ok()?.as_ref().to_vec()).unwrap();
            Some((item["id"].as_s().unwrap().clone(), body))
        })
        .collect();
    found.sort();
    found
}

async fn add_route(servers: &Servers, arguments: &[&str]) {
    let flags = ["routes", "add", "acme", "https://hooks.example.com/"].into_iter().chain(arguments.iter().copied());
    event_pipeline(flags).against(servers).succeed().await;
}

fn id(event_key: &str, target: &str) -> String {
    key::webhook_id("acme", event_key, &key::endpoint("acme", target).unwrap()).to_string()
}

const BODY: &str = r#"{"client_id":"acme","event_type":"order.paid","data":{"n": 1.50}}"#;

#[tokio::test]
async fn get_merges_all_buckets_in_the_order_of_time() {
    let servers = Servers::set_up().await;
    event_pipeline(["setup", "--client-buckets", "5"]).against(&servers).succeed().await;
    for number in 0..20 {
        store(&servers, "acme", TIMES[number % 3], &format!("e-{number:02}"), 5).await;
    }
    store(&servers, "other", TIMES[0], "e-1", 5).await;
    let json = event_pipeline(["events", "get", "acme", "--json"]).against(&servers).succeed().await;
    let keys: Vec<_> = json
        .stdout
        .iter()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["client_id"], "acme");
            format!("{}#{}", event["event_time"].as_str().unwrap(), event["event_id"].as_str().unwrap())
        })
        .collect();
    assert_eq!(keys.len(), 20);
    assert!(keys.is_sorted(), "{keys:?}");
    assert!(json.stdout[0].contains(r#""data":{"n": 1.50}"#), "{json:#?}");

    let some = ["events", "get", "acme", "--since", TIMES[1], "--until", TIMES[2], "--limit", "3"];
    let some = event_pipeline(some).against(&servers).succeed().await;
    assert_eq!(some.stdout.len(), 4);
    assert!(some.stdout[1..].iter().all(|line| line.starts_with(TIMES[1])), "{some:#?}");
}

#[tokio::test]
async fn a_replay_makes_deliveries_due_with_the_same_ids() {
    let servers = Servers::set_up().await;
    store(&servers, "acme", TIMES[0], "e-1", 1).await;
    store(&servers, "acme", TIMES[2], "e-2", 1).await;
    store(&servers, "nobody", TIMES[0], "e-1", 1).await;
    add_route(&servers, &[]).await;
    add_route(&servers, &["--name", "audit", "--event-type", "order.paid"]).await;
    add_route(&servers, &["--name", "shipping", "--event-type", "order.shipped"]).await;
    let replay = ["events", "replay", "acme", "--since", TIMES[0], "--until", TIMES[1], "--rate", "1000"];
    let replayed = event_pipeline(replay).against(&servers).succeed().await;
    assert_eq!(replayed.stdout, ["Events: 1. Deliveries stored: 2. Events without a target: 0."]);
    let first = format!("{}#e-1", TIMES[0]);
    let mut expected = vec![(id(&first, "main"), BODY.to_owned()), (id(&first, "audit"), BODY.to_owned())];
    expected.sort();
    assert_eq!(waiting(&servers).await, expected);

    let all = ["events", "replay", "--all", "--stored-since", "2023-11-14T00:00:00Z", "--stored-until", "1s"];
    let all = event_pipeline(all.into_iter().chain(["--rate", "1000"])).against(&servers).succeed().await;
    assert_eq!(all.stdout, ["Events: 3. Deliveries stored: 4. Events without a target: 1."]);
    assert!(all.stderr.join("\n").contains("client \"nobody\" has no route"), "{all:#?}");
    assert_eq!(waiting(&servers).await.len(), 4);
}

#[tokio::test]
async fn erase_deletes_the_events_of_one_client_and_its_waiting_deliveries() {
    let servers = Servers::set_up().await;
    event_pipeline(["setup", "--client-buckets", "3"]).against(&servers).succeed().await;
    for number in 0..30 {
        store(&servers, "acme", TIMES[0], &format!("e-{number}"), 3).await;
    }
    store(&servers, "other", TIMES[0], "e-1", 3).await;
    add_route(&servers, &[]).await;
    let replay = ["events", "replay", "acme", "--since", TIMES[0], "--until", TIMES[1], "--rate", "1000"];
    event_pipeline(replay).against(&servers).succeed().await;
    assert_eq!(waiting(&servers).await.len(), 30);
    let erased = event_pipeline(["events", "erase", "acme", "--yes", "--rate", "1000"]).against(&servers);
    let erased = erased.succeed().await;
    assert_eq!(erased.stdout, ["Events erased: 30. Waiting deliveries erased: 30."]);
    assert!(erased.stderr.join("\n").contains("does not reach"), "{erased:#?}");
    assert_eq!((count(&servers, "Events").await, waiting(&servers).await.len()), (1, 0));
}

#[tokio::test]
async fn a_redrive_makes_dead_deliveries_due_and_leaves_those_without_a_route() {
    let servers = Servers::set_up().await;
    let key = format!("{}#e-1", TIMES[0]);
    let main = id(&key, "main");
    let no_route = [
        ("reason", "no_route"),
        ("client_id", "acme"),
        ("webhook_id", main.as_str()),
        ("event_id", "e-1"),
        ("event_time", TIMES[0]),
        ("event_type", "order.paid"),
    ];
    servers.sqs.send("deliver-dlq", BODY, &no_route).await;
    let redrive = ["dlq", "redrive", "deliver"];
    let early = event_pipeline(redrive).against(&servers).run().await;
    assert_eq!((early.code, early.output.stdout), (Some(3), vec!["Redriven: 0. Left: 0. Failed: 1.".to_owned()]));
    assert!(early.output.stderr.join("\n").contains("client \"acme\" has no route"), "{:#?}", early.output.stderr);

    add_route(&servers, &[]).await;
    let other = id("2026-11-22T10:00:00.000Z#e-2", "main");
    let given_up = [("reason", "exhausted"), ("client_id", "acme"), ("webhook_id", other.as_str()), ("target", "main")];
    servers.sqs.send("deliver-dlq", BODY, &given_up).await;
    let redriven = event_pipeline(redrive).against(&servers).succeed().await;
    assert_eq!(redriven.stdout, ["Redriven: 2. Left: 0. Failed: 0."]);
    let mut expected = [main, other].map(|id| (id, BODY.to_owned()));
    expected.sort();
    assert_eq!(waiting(&servers).await, expected);
    assert!(servers.sqs.receive_all("deliver-dlq").await.is_empty());
}

#[tokio::test]
async fn a_missing_table_and_wrong_flags_say_what_to_do() {
    let servers = Servers::start().await;
    let exit = event_pipeline(["events", "get", "acme"]).against(&servers).run().await;
    assert_eq!(exit.code, Some(1));
    assert!(exit.output.stderr.join("\n").contains("event-pipeline setup --events-table Events"), "{exit:#?}");
    for flags in [
        &["events", "get"][..],
        &["events", "replay", "acme", "--since", "1h"],
        &["events", "replay", "--all"],
        &["events", "get", "acme", "--since", "yesterday"],
        &["events", "erase", "acme"],
    ] {
        assert_eq!(event_pipeline(flags.iter().copied()).run().await.code, Some(2), "{flags:?}");
    }
}
