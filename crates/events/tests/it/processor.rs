//! `event-pipeline processor` through the program, against embedded servers.

mod outages;
mod traces;
mod types;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::program::{Signal, event_pipeline};
use crate::support::servers::Servers;
use world::{World, attribute, text};

const TIME: &str = "2026-11-22T10:00:00.000Z";

fn event(id: &str) -> String {
    json!({ "client_id": "acme", "event_type": "order", "data": { "n": 1.5 }, "event_id": id, "event_time": TIME })
        .to_string()
}

#[tokio::test]
async fn valid_events_are_stored_once_with_their_own_keys() {
    let world = World::start().await;
    let processor = world.processor(&[]).start();
    let plain = r#"{ "client_id": "acme","event_type":"order", "data":{"n": 1.50, "big":12345678901234567890123}, "x":[1, 2] }"#;
    world.send(plain, &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]).await;
    for _ in 0..2 {
        world.send(&event("own"), &[]).await;
        // A redrive gives a message another id, and keeps those of the event.
        world.send(plain, &[("event_id", "moved"), ("event_time", TIME)]).await;
    }
    world.until_empty().await;
    processor.signal(Signal::Terminate).await;
    let exit = processor.exit().await;

    let items = world.items().await;
    let keys: BTreeSet<_> = items.iter().map(|item| text(item, "event_key").to_owned()).collect();
    let (own, moved) = (format!("{TIME}#own"), format!("{TIME}#moved"));
    assert!(items.len() == 3 && keys.contains(&own) && keys.contains(&moved), "{keys:?}");
    let of_sqs = items.iter().find(|item| ![&own, &moved].contains(&&text(item, "event_key").to_owned())).expect("one");
    assert_eq!(text(of_sqs, "client_id"), "acme");
    assert!(text(of_sqs, "event_key").ends_with(&format!("#{}", text(of_sqs, "message_id"))));
    assert_eq!(text(of_sqs, "data"), r#"{"n": 1.50, "big":12345678901234567890123}"#);
    assert_eq!(text(of_sqs, "others"), r#"{"x":[1, 2]}"#);
    assert_eq!(text(of_sqs, "trace"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert!(!of_sqs.contains_key("dispatch") && !of_sqs.contains_key("expires_at"));
    let summary = "Processor stopped. Stored: 3, duplicates: 2, dead letters: 0, returned: 0";
    assert_eq!((exit.code, exit.output.stdout.as_slice()), (Some(0), [summary.to_owned()].as_slice()), "{exit:#?}");
    assert!(world.dead_letters().await.is_empty());
}

#[tokio::test]
async fn each_invalid_message_is_a_dead_letter_with_its_reason() {
    let world = World::start().await;
    let schemas = tempfile::tempdir().expect("a directory");
    let schema = r#"{"properties":{"data":{"required":["total"]}}}"#;
    std::fs::write(schemas.path().join("invoice.json"), schema).expect("the file is written");
    std::fs::write(schemas.path().join("refund@1.json"), "{}").expect("the file is written");
    let directory = schemas.path().to_str().expect("UTF-8");
    let _processor = world.processor(&["--schema-dir", directory]).start();
    let (first, other) = (event("one"), event("one").replace("1.5", "1.6"));
    world.send(&first, &[]).await;
    world.until_empty().await;

    let deep = format!(r#"{{"client_id":"c","event_type":"t","data":{{"a":{}{}}}}}"#, "[".repeat(500), "]".repeat(500));
    let large = format!(r#"{{"client_id":"c","event_type":"t","data":{{"a":"{}"}}}}"#, "x".repeat(500_000));
    // `setup` leaves room for the attributes of a dead letter in the largest message.
    let junk = "\u{1f980}".repeat((1_040_384 - 512) / 4);
    let expected: [(&str, &str, Option<&str>); 12] = [
        (&other, "conflict", None),
        ("{", "malformed_json", None),
        (&junk, "malformed_json", None),
        (&deep, "malformed_json", None),
        ("[]", "schema_violation", None),
        (r#"{"event_type":"t","data":{}}"#, "schema_violation", None),
        (r#"{"client_id":"c","event_type":"t","data":"text"}"#, "schema_violation", Some("/data")),
        (r#"{"client_id":"c","event_type":"invoice","data":{}}"#, "schema_violation", Some("/data")),
        (
            r#"{"client_id":"c","event_type":"refund","event_version":2,"data":{}}"#,
            "unknown_version",
            Some("/event_version"),
        ),
        (r#"{"client_id":"c","event_type":"t","data":{},"data":{}}"#, "duplicate_member", Some("/data")),
        (r#"{"client_id":"c","event_type":"t","data":{},"event_time":"today"}"#, "invalid_time", Some("/event_time")),
        (&large, "item_too_large", None),
    ];
    for (body, ..) in &expected {
        world.send(body, &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]).await;
    }
    world.until_empty().await;

    let dead = world.dead_letters().await;
    let by_body: BTreeMap<&str, _> = dead.iter().map(|dead| (dead.body().expect("a body"), dead)).collect();
    assert_eq!((dead.len(), by_body.len()), (expected.len(), expected.len()));
    for (body, reason, pointer) in expected {
        let dead = by_body.get(body).expect("the body is unchanged, byte for byte");
        let shown: String = body.chars().take(80).collect();
        assert_eq!((attribute(dead, "reason"), attribute(dead, "pointer")), (Some(reason), pointer), "{shown}");
        assert_eq!(attribute(dead, "receives"), Some("1"), "{shown}");
        assert_eq!(attribute(dead, "event_id").is_some(), reason != "invalid_time", "{shown}");
        assert!(attribute(dead, "traceparent").is_some() && attribute(dead, "detail").is_some(), "{shown}");
    }
    assert_eq!(attribute(by_body[other.as_str()], "event_id"), Some("one"));
    assert_eq!(world.items().await.len(), 1);
}

#[tokio::test]
async fn a_processor_does_not_start_without_its_queues_tables_and_schemas() {
    let servers = Servers::start().await;
    let exit = event_pipeline(["processor"]).against(&servers).run().await;
    let error = exit.output.stderr.join("\n");
    assert_eq!(exit.code, Some(1), "{error}");
    assert!(error.contains("the queue events: it does not exist") && error.contains("event-pipeline setup"), "{error}");

    let servers = Servers::set_up().await;
    let exit = event_pipeline(["processor", "--events-table", "other"]).against(&servers).run().await;
    let error = exit.output.stderr.join("\n");
    assert!(exit.code == Some(1) && error.contains("the table other: it does not exist"), "{error}");

    let schemas = tempfile::tempdir().expect("a directory");
    std::fs::write(schemas.path().join("order.json"), "{").expect("the file is written");
    let directory = schemas.path().to_str().expect("UTF-8");
    let exit = event_pipeline(["processor", "--schema-dir", directory]).against(&servers).run().await;
    let error = exit.output.stderr.join("\n");
    assert!(exit.code == Some(1) && error.contains("order.json is no JSON"), "{error}");
}
