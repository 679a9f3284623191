//! `event-pipeline dlq` with the dead-letter queue of events.

use std::time::Duration;

use aws_sdk_sqs::types::MessageSystemAttributeName;
use sqs_local::{Fault, Operation};

use crate::support::program::event_pipeline;
use crate::support::servers::Servers;
use crate::support::with_timeout;

const REASON: (&str, &str) = ("reason", "schema_violation");

#[tokio::test]
async fn a_list_shows_reasons_and_leaves_the_dead_letters() {
    let servers = Servers::set_up().await;
    let attributes = [REASON, ("event_id", "e-1"), ("pointer", "#/data"), ("detail", "a\u{9b}b is no object")];
    servers.sqs.send("events-dlq", "{}", &attributes).await;
    servers.sqs.send("events-dlq", "moved", &[]).await;
    let list = event_pipeline(["dlq", "list", "events"]).against(&servers).succeed().await;
    assert_eq!(list.stdout.len(), 3, "{list:#?}");
    let text = list.stdout.join("\n");
    assert!(text.contains("schema_violation") && text.contains("received_too_often"), "{text}");
    assert!(text.contains(r"a\u{9b}b is no object"), "{text}");
    let selected = ["dlq", "list", "events", "--reason", "received_too_often", "--json"];
    let json = event_pipeline(selected).against(&servers).succeed().await;
    let line: serde_json::Value = serde_json::from_str(&json.stdout[0]).unwrap();
    assert_eq!((json.stdout.len(), line["body"].as_str()), (1, Some("moved")));
    assert_eq!(servers.sqs.receive_all("events-dlq").await.len(), 2);
}

#[tokio::test]
async fn a_redrive_sends_the_selected_events_again_with_their_ids() {
    let servers = Servers::set_up().await;
    let identity = [REASON, ("event_id", "e-1"), ("event_time", "2026-11-22T10:00:00.000Z"), ("traceparent", "t")];
    servers.sqs.send("events-dlq", "{\"n\":1.50}", &identity).await;
    servers.sqs.send("events-dlq", "left", &[("reason", "malformed_json")]).await;
    let flags = ["dlq", "redrive", "events", "--reason", "schema_violation"];
    let redriven = event_pipeline(flags).against(&servers).succeed().await;
    assert_eq!(redriven.stdout, ["Redriven: 1. Left: 1. Failed: 0."]);

    let events = servers.sqs.receive_all("events").await;
    assert_eq!((events.len(), events[0].body.as_deref()), (1, Some("{\"n\":1.50}")));
    let attributes = events[0].message_attributes.as_ref().unwrap();
    let text = |name: &str| attributes.get(name).and_then(|value| value.string_value.as_deref());
    assert_eq!(text("event_id"), Some("e-1"));
    assert_eq!(text("event_time"), Some("2026-11-22T10:00:00.000Z"));
    assert_eq!((text("traceparent"), text("reason")), (Some("t"), None));
    let left = servers.sqs.receive_all("events-dlq").await;
    assert_eq!((left.len(), left[0].body.as_deref()), (1, Some("left")));
}

#[tokio::test]
async fn a_redrive_reports_what_is_rejected_again_meanwhile_and_leaves_it() {
    let servers = Servers::set_up().await;
    let identity = [REASON, ("event_id", "e-1"), ("event_time", "2026-11-22T10:00:00.000Z")];
    servers.sqs.send("events-dlq", "{}", &identity).await;
    // The command reads on after the event was sent again and rejected.
    servers.sqs.faults.plan(Operation::DeleteMessageBatch, 1, Fault::Delay(Duration::from_secs(3)));
    let reject = async {
        while servers.sqs.receive_all("events").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        servers.sqs.send("events-dlq", "{}", &identity).await;
    };
    let redrive = event_pipeline(["dlq", "redrive", "events", "--json"]).against(&servers).run();
    let (exit, ()) = tokio::join!(redrive, with_timeout("the event", reject));
    assert_eq!(exit.code, Some(3), "{exit:#?}");
    let report: serde_json::Value = serde_json::from_str(&exit.output.stdout[0]).unwrap();
    let count = |name: &str| report[name].as_u64();
    assert_eq!((count("redriven"), count("came_back"), count("failed")), (Some(1), Some(1), Some(0)), "{report}");
    assert_eq!(servers.sqs.receive_all("events-dlq").await.len(), 1);
}

#[tokio::test]
async fn an_event_that_sqs_moved_is_redriven_with_the_id_and_the_time_of_its_message() {
    let servers = Servers::set_up().await;
    servers.sqs.send("events-dlq", "{}", &[]).await;
    let dead = servers.sqs.receive_all("events-dlq").await.remove(0);
    let url = servers.sqs.url("events-dlq").await;
    let release = servers.sqs.client.change_message_visibility().queue_url(url).visibility_timeout(0);
    release.receipt_handle(dead.receipt_handle.unwrap()).send().await.unwrap();
    event_pipeline(["dlq", "redrive", "events", "--json"]).against(&servers).succeed().await;
    let event = servers.sqs.receive_all("events").await.remove(0);
    let attributes = event.message_attributes.unwrap();
    assert_eq!(attributes["event_id"].string_value, dead.message_id);
    let sent = &dead.attributes.unwrap()[&MessageSystemAttributeName::SentTimestamp];
    let sent = event_pipeline::moment::Moment::from_unix_millis(sent.parse().unwrap()).unwrap();
    assert_eq!(attributes["event_time"].string_value.as_deref(), Some(sent.to_string().as_str()));
}

#[tokio::test]
async fn a_redrive_without_a_queue_of_events_deletes_nothing() {
    let servers = Servers::set_up().await;
    servers.sqs.send("events-dlq", "{}", &[]).await;
    let exit = event_pipeline(["dlq", "redrive", "events", "--queue", "missing"]).against(&servers).run().await;
    assert_eq!(exit.code, Some(1));
    assert_eq!(servers.sqs.receive_all("events-dlq").await.len(), 1);
}

#[tokio::test]
async fn a_purge_deletes_the_selected_dead_letters_up_to_its_limit() {
    let servers = Servers::set_up().await;
    for number in 0..12 {
        servers.sqs.send("deliver-dlq", &number.to_string(), &[("reason", "no_route")]).await;
    }
    servers.sqs.send("deliver-dlq", "other", &[("reason", "gone")]).await;
    let flags = ["dlq", "purge", "deliver", "--reason", "no_route", "--limit", "11", "--yes", "--json"];
    let purged = event_pipeline(flags).against(&servers).succeed().await;
    let report: serde_json::Value = serde_json::from_str(&purged.stdout[0]).unwrap();
    assert_eq!((report["purged"].as_u64(), report["failed"].as_u64()), (Some(11), Some(0)));
    assert_eq!(servers.sqs.receive_all("deliver-dlq").await.len(), 2);
}

#[tokio::test]
async fn a_purge_needs_a_selection_and_an_answer() {
    for flags in [
        &["dlq", "purge", "events", "--yes"][..],
        &["dlq", "purge", "events", "--all"],
        &["dlq", "purge", "events", "--all", "--reason", "conflict", "--yes"],
        &["dlq", "list", "others"],
        &["dlq", "list", "events", "--limit", "10001"],
    ] {
        assert_eq!(event_pipeline(flags.iter().copied()).run().await.code, Some(2), "{flags:?}");
    }
}
