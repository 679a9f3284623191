//! `event-pipeline deliver` through the program, against embedded servers.

mod direct;
mod flood;
mod killed_dispatch;
mod receiver;
mod repeats;
mod routes_away;
mod stop;
mod traces;
mod world;

use std::io::Write;
use std::time::{Duration, SystemTime};

use event_pipeline::key::{body, endpoint, webhook_id};
use event_pipeline::routes::{MAIN, Target};
use serde_json::json;
use sqs_local::{Fault, Operation};
use tokio::time::sleep;
use webhooks::{Delivery, Origin, SIGNATURE, Secret, SecretKeys, StoredDelivery, Token};

use crate::support::with_timeout;
use receiver::Receiver;
use world::{TIME, World, attribute};

#[tokio::test]
async fn a_stored_event_arrives_signed_if_its_target_has_a_secret() {
    let world = World::start(200).await;
    let mut key = tempfile::NamedTempFile::new().expect("a file");
    writeln!(key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").expect("the file is written");
    let keys = SecretKeys::read(key.path()).expect("a key");
    let secret = Secret::generate();
    let sealed = keys.seal(&secret, &endpoint("signed", MAIN).expect("an endpoint"));
    let target = Target { secret: Some(sealed), ..Target::new(world.receiver.url("/signed")) };
    world.routes().set("signed", MAIN, &target).await.expect("the table answers");
    world.route("plain", "/plain").await;
    let deliverer = world.deliverer().env("EVENT_PIPELINE_ALLOW_TARGET", &world.receiver.host());
    let _deliverer = deliverer.env("EVENT_PIPELINE_SECRET_KEY_FILE", key.path().to_str().expect("UTF-8")).start();
    world.put("plain", "1", &[]).await;
    // The first bucket of a large client has another partition key.
    world.put("signed\u{1f}3", "2", &[]).await;

    let plain = world.receiver.wait_for("/plain", 1).await;
    assert_eq!(plain[0].body, json!({ "client_id": "plain", "event_type": "order", "data": { "n": 1.5 } }));
    assert_eq!(plain[0].header(SIGNATURE), None);
    let id = webhook_id("plain", &format!("{TIME}#1"), &endpoint("plain", MAIN).expect("an endpoint"));
    assert_eq!(plain[0].id(), id.as_str());
    let signed = world.receiver.wait_for("/signed", 1).await;
    assert_eq!(signed[0].body["client_id"], "signed");
    assert!(signed[0].is_signed_by(&secret));
    assert_eq!(world.count_waiting().await, 0, "a success writes nothing");
}

#[tokio::test]
async fn an_event_without_a_route_is_a_dead_letter_and_a_new_route_gets_the_next_event() {
    let world = World::start(200).await;
    let _deliverer = world.deliver();
    world.put("acme", "1", &[]).await;
    let dead = world.dead_letter().await;
    for (name, expected) in [
        ("reason", "no_route"),
        ("client_id", "acme"),
        ("event_id", "1"),
        ("event_time", TIME),
        ("event_type", "order"),
        ("attempts", "0"),
    ] {
        assert_eq!(attribute(&dead, name), Some(expected), "{name}");
    }
    let expected = body("acme", "order", r#"{"n":1.50}"#);
    assert_eq!(dead.body.as_deref().map(str::as_bytes), Some(&expected[..]));

    world.route("acme", "/acme").await;
    world.put("acme", "2", &[]).await;
    world.receiver.wait_for("/acme", 1).await;
}

#[tokio::test]
async fn each_target_gets_the_types_that_it_wants_and_no_direct_event() {
    let world = World::start(200).await;
    let only = |types: &[&str]| Some(types.iter().map(|name| (*name).to_owned()).collect());
    let orders = Target { event_types: only(&["order"]), ..Target::new(world.receiver.url("/orders")) };
    let refunds = Target { event_types: only(&["refund"]), ..Target::new(world.receiver.url("/refunds")) };
    world.routes().set("acme", "orders", &orders).await.expect("the table answers");
    world.routes().set("acme", "refunds", &refunds).await.expect("the table answers");
    let _deliverer = world.deliver();
    world.put("acme", "0", &[("dispatch", "direct")]).await;
    world.put("acme", "1", &[("event_type", "unwanted")]).await;
    world.put("acme", "2", &[]).await;
    world.receiver.wait_for("/orders", 1).await;
    world.put("acme", "3", &[("event_type", "refund")]).await;
    world.receiver.wait_for("/refunds", 1).await;
    assert_eq!(world.receiver.received("/orders").len(), 1);
    assert!(world.servers.sqs.receive_all("deliver-dlq").await.is_empty());
}

#[tokio::test]
async fn an_event_that_one_target_does_not_take_waits_for_it_alone_and_arrives_later_with_the_same_id() {
    let (world, healthy) = (World::start(500).await, Receiver::start(200).await);
    world.route("acme", "/acme").await;
    let other = Target::new(healthy.url("/acme"));
    world.routes().set("acme", "other", &other).await.expect("the table answers");
    let allowed = format!("{},{}", world.receiver.host(), healthy.host());
    let _deliverer = world.deliverer().env("EVENT_PIPELINE_ALLOW_TARGET", &allowed).start();
    world.put("acme", "1", &[]).await;
    world.wait_until_waiting(1).await;
    world.receiver.answer(200);
    world.wait_until_waiting(0).await;
    let received = world.receiver.received("/acme");
    assert!(received.len() >= 2, "{received:?}");
    assert!(received.iter().all(|request| request.id() == received[0].id()));
    let of_other = healthy.received("/acme");
    assert_eq!(of_other.len(), 1);
    assert_ne!(of_other[0].id(), received[0].id());
}

#[tokio::test]
async fn a_delivery_that_is_given_up_is_a_dead_letter_with_its_last_attempt() {
    let world = World::start(410).await;
    world.route("gone", "/gone").await;
    let _deliverer = world.deliver();
    world.put("gone", "1", &[]).await;
    let dead = world.dead_letter().await;
    let of = |name| attribute(&dead, name);
    assert_eq!((of("reason"), of("status"), of("attempts")), (Some("gone"), Some("410"), Some("1")));
    assert_eq!((of("client_id"), of("target")), (Some("gone"), Some(MAIN)));

    // The last attempt of the schedule.
    world.receiver.answer(503);
    world.route("exhausted", "/exhausted").await;
    let waiting = world.waiting();
    let endpoint = endpoint("exhausted", MAIN).expect("an endpoint");
    let id = webhook_id("exhausted", &format!("{TIME}#2"), &endpoint);
    let delivery = Delivery { id, endpoint, body: body("exhausted", "order", "{}"), origin: Origin::default() };
    let item = StoredDelivery {
        delivery,
        created: SystemTime::UNIX_EPOCH,
        attempts: 9,
        due: SystemTime::UNIX_EPOCH,
        token: Token(0),
        last: None,
    };
    waiting.insert(&waiting.due_now(item)).await.expect("the table answers");
    let dead = world.dead_letter().await;
    let of = |name| attribute(&dead, name);
    assert_eq!((of("reason"), of("status"), of("attempts")), (Some("exhausted"), Some("503"), Some("10")));
    world.wait_until_waiting(0).await;
}

#[tokio::test]
async fn a_target_that_is_gone_gets_nothing_until_it_has_another_url() {
    let world = World::start(410).await;
    world.route("acme", "/old").await;
    let _deliverer = world.deliver();
    world.put("acme", "1", &[]).await;
    assert_eq!(attribute(&world.dead_letter().await, "reason"), Some("gone"));
    let is_disabled = async || {
        let route = world.routes().read("acme").await.expect("the table answers").expect("a row").expect("a route");
        route.targets[MAIN].state.disabled.as_deref() == Some("gone")
    };
    with_timeout("the target is disabled", async {
        while !is_disabled().await {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    world.put("acme", "2", &[]).await;
    assert_eq!(attribute(&world.dead_letter().await, "reason"), Some("disabled"));
    assert_eq!(world.receiver.received("/old").len(), 1);

    // A script that changes only the URL knows nothing of the state.
    world.receiver.answer(200);
    let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
    let update =
        world.servers.dynamo.client.update_item().table_name("routes").key("client_id", text("acme".to_owned()));
    let update = update.update_expression("SET target_url = :url");
    let update = update.expression_attribute_values(":url", text(world.receiver.url("/new")));
    update.send().await.expect("the table answers");
    // The route may be cached for 2 s.
    with_timeout("an event at the new URL", async {
        let mut ids = 3..;
        while world.receiver.received("/new").is_empty() {
            world.put("acme", &ids.next().expect("a number").to_string(), &[]).await;
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_waits_in_the_table_while_its_queue_is_away() {
    let world = World::start(200).await;
    world.servers.sqs.faults.plan(Operation::SendMessage, 1_000_000, Fault::Refuse);
    let _deliverer = world.deliver();
    world.put("acme", "1", &[]).await;
    world.wait_until_waiting(1).await;
    world.servers.sqs.faults.clear();
    let dead = world.dead_letter().await;
    let of = |name| attribute(&dead, name);
    assert_eq!((of("reason"), of("client_id"), of("target")), (Some("no_route"), Some("acme"), None));
    assert_eq!(of("event_type"), Some("order"), "a redrive needs it");
    world.wait_until_waiting(0).await;
}

#[tokio::test]
async fn a_private_target_gets_nothing_until_it_is_allowed_by_the_deliverer_that_goes_on() {
    let world = World::start(200).await;
    world.route("acme", "/acme").await;
    let refusing = world.deliverer().start();
    world.put("acme", "1", &[]).await;
    world.wait_until_waiting(1).await;
    assert!(world.receiver.received("/acme").is_empty());
    // This kills it, so its leases and claims end by themselves.
    drop(refusing);
    world.put("acme", "2", &[]).await;
    let _deliverer = world.deliver();
    let received = world.receiver.wait_for("/acme", 2).await;
    assert_ne!(received[0].id(), received[1].id());
    world.wait_until_waiting(0).await;
}

#[tokio::test]
async fn an_item_that_is_no_event_and_a_row_that_is_no_route_are_dead_letters() {
    let world = World::start(200).await;
    let client = &world.servers.dynamo.client;
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let row = client.put_item().table_name("routes").item("client_id", text("acme")).item("target", text("typo"));
    row.send().await.expect("the table answers");
    let _deliverer = world.deliver();
    world.put("acme", "1", &[]).await;
    assert_eq!(attribute(&world.dead_letter().await, "reason"), Some("invalid_route"));
    world.put("acme", "2", &[("data", "{")]).await;
    let dead = world.dead_letter().await;
    assert_eq!(attribute(&dead, "reason"), Some("unreadable_record"));
    assert_eq!(dead.body, Some(json!({ "client_id": "acme", "event_key": format!("{TIME}#2") }).to_string()));
}
