//! Dead deliveries and replays.

use std::time::Duration;

use bytes::Bytes;
use mini_scan::changes::ports::History;
use mini_scan::changes::{Entry, EntryKey, Event, Sequence};
use mini_scan::dynamo::{DeliveryTable, HistoryTable, connect};
use mini_scan::scan::Key;
use mini_scan::subscriptions::event::webhook_id;
use serde_json::{Value, json};
use webhooks::{
    Answer, Clock, DeadReason, Delivery, DeliveryStore, EndpointId, LastAttempt, Origin, StoredDelivery, SystemClock,
    Token, WebhookId,
};

use super::{Tables, all, id};
use crate::support::program::mini_scan;
use crate::support::unique;

const URL: [&str; 2] = ["--url", "https://hooks.example.com/"];

/// Stores a dead delivery as an instance does.
pub(crate) async fn bury(store: &DeliveryTable, endpoint: &EndpointId, event: &str, reason: DeadReason) -> WebhookId {
    let webhook = WebhookId::of(&[event.as_bytes()], endpoint);
    let answer = Answer { status: 500, retry_after: None, body: Bytes::from_static(b"sorry\x1b[2J") };
    let (id, body) = (webhook.clone(), Bytes::from_static(b"{}"));
    let item = StoredDelivery {
        delivery: Delivery { id, endpoint: endpoint.clone(), body, origin: Origin::default() },
        created: SystemClock.now(),
        attempts: 10,
        due: SystemClock.now(),
        token: Token(7),
        last: Some(LastAttempt { at: SystemClock.now(), result: Ok(answer) }),
    };
    store.store_dead(&item, reason).await.expect("the delivery is stored");
    webhook
}

#[tokio::test]
async fn dead_deliveries_are_listed_redriven_and_purged() {
    let tables = Tables::new().await;
    let (one, other) = (tables.add(URL).await, tables.add(URL).await);
    let (one, other) = (id(&one), id(&other));
    let store = tables.store().await;
    let endpoint = EndpointId::parse(one).expect("an id");
    let exhausted = bury(&store, &endpoint, "1", DeadReason::Exhausted).await;
    let gone = bury(&store, &endpoint, "2", DeadReason::Gone).await;
    bury(&store, &EndpointId::parse(other).expect("an id"), "3", DeadReason::Gone).await;

    let list = tables.run(["dead", "list", one]).await;
    assert!(
        list.contains(exhausted.as_str()) && list.contains("status 500") && list.contains("sorry\\u{1b}"),
        "{list}"
    );
    assert_eq!(tables.json(["dead", "list"]).await.len(), 3);
    assert_eq!(tables.json(["dead", "list", "--limit", "1"]).await.len(), 1);
    let selected = tables.json(["dead", "list", one, "--reason", "gone"]).await;
    assert_eq!(selected.iter().map(|dead| &dead["delivery"]).collect::<Vec<_>>(), [gone.as_str()]);

    let settled = tables.json(["dead", "redrive", one, "--delivery", exhausted.as_str()]).await;
    assert_eq!((&settled[0]["redriven"], &settled[0]["skipped"]), (&json!(1), &json!(0)));
    let shown = tables.json(["show", one, "--delivery", exhausted.as_str()]).await.remove(0);
    assert_eq!((&shown["waiting"]["attempts"], &shown["dead"]), (&json!(0), &Value::Null));
    let now = SystemClock.now() + Duration::from_secs(5);
    assert_eq!(store.due(&endpoint, now, 10).await.expect("the table answers")[0].id, exhausted);

    let exit = tables.webhooks(["dead", "purge", "--all"]).run().await;
    assert!(exit.code == Some(2) && all(&exit).contains("--yes"), "{exit:#?}");
    let exit = tables.webhooks(["dead", "purge", "--yes"]).run().await;
    assert_eq!(exit.code, Some(2), "{exit:#?}");
    assert!(tables.run(["dead", "purge", one, "--yes"]).await.starts_with("Purged: 1."));
    assert!(tables.run(["dead", "purge", "--all", "--yes"]).await.starts_with("Purged: 1."));
    assert_eq!(tables.json(["dead", "list"]).await, Vec::<Value>::new());
}

fn entry(ip: &str, port: u16, event: Event, created: u64) -> Entry {
    let service = Key::new(ip.parse().expect("an address"), port, "HTTP");
    // In 2100, because DynamoDB Local deletes expired entries.
    let key = EntryKey { service, time: created - 100, sequence: Sequence::parse("7").expect("a number") };
    Entry::new(key, event, created, 4_102_444_800)
}

#[tokio::test]
async fn a_replay_stores_the_changes_of_a_time_that_the_subscription_selects() {
    let tables = Tables::new().await;
    let (history, table) = (unique("history"), unique("table"));
    let names = ["--table", &table, "--history-table", &history, "--lease-table", &unique("leases")].map(str::to_owned);
    let setup = |part| tables.point(mini_scan(["setup", part]).arguments(["--table", &table]));
    let exit = setup("table").run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let exit = tables.point(mini_scan(["setup", "changes"]).arguments(names.iter().map(String::as_str))).run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let client = connect(Some(&tables.dynamo.endpoint)).await.expect("a client");
    let entries = HistoryTable::new(client, history.clone());
    const START: u64 = 1_740_298_125;
    let selected = [entry("1.1.1.7", 80, Event::Opened, START), entry("1.1.1.8", 80, Event::Closed, START + 9)];
    let others = [
        entry("1.1.1.7", 80, Event::Closed, START - 1),
        entry("1.1.1.7", 80, Event::Closed, START + 10),
        entry("1.1.1.7", 81, Event::Opened, START),
        entry("1.1.2.7", 80, Event::Opened, START),
        entry("1.1.1.7", 80, Event::Changed, START),
    ];
    for entry in selected.iter().chain(&others) {
        // Entries of one second differ by their number.
        let mut entry = entry.clone();
        if entry.event == Event::Changed {
            entry.key.sequence = Sequence::parse("8").expect("a number");
        }
        entries.put(&entry).await.expect("the entry is stored");
    }
    let filter = ["--network", "1.1.1.0/24", "--port", "80", "--event", "opened,closed"];
    let added = tables.add(URL.into_iter().chain(filter)).await;
    let id = id(&added);
    let (since, until) = (START.to_string(), (START + 10).to_string());
    let replay = ["replay", id, "--since", &since, "--until", &until, "--history-table", &history];

    let endpoint = EndpointId::parse(id).expect("an id");
    let replayed = tables.json(replay).await.remove(0);
    assert_eq!((&replayed["stored"], &replayed["were_waiting"]), (&json!(2), &json!(0)));
    let store = tables.store().await;
    for entry in &selected {
        let found = store.find(&endpoint, &webhook_id(&entry.key, &endpoint)).await.expect("the table answers");
        let waiting = found.waiting.expect("it waits");
        assert!(waiting.due <= SystemClock.now() && waiting.delivery.body.starts_with(b"{\"type\":\"scan."));
    }
    // Repeated, and for one address only.
    let replayed = tables.json(replay.into_iter().chain(["--ip", "1.1.1.8"])).await.remove(0);
    assert_eq!((&replayed["stored"], &replayed["were_waiting"]), (&json!(0), &json!(1)));
    let replayed = tables.json(replay.into_iter().chain(["--network", "1.1.1.7/32", "--max-units", "1000"])).await;
    assert_eq!((&replayed[0]["stored"], &replayed[0]["were_waiting"]), (&json!(0), &json!(1)));

    let exit = tables.webhooks(["replay", id, "--since", &until, "--until", &since]).run().await;
    assert!(exit.code == Some(2) && all(&exit).contains("must be later"), "{exit:#?}");
    let exit = tables.webhooks(["replay", id, "--since", &since, "--history-table", "missing"]).run().await;
    assert!(exit.code == Some(1) && all(&exit).contains("mini-scan setup changes"), "{exit:#?}");
}
