//! What can be seen of a running consumer: `/metrics`, `/livez` and `/readyz`, and its traces.

mod capacity;
mod collector;
mod exposition;
mod traces;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use exposition::{Exposition, parse};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::pipeline::{Pipeline, good, ip, scan};
use crate::support::program::{Launch, Program, Signal};
use crate::support::wire::Wire;
use crate::support::{LOOKING, within_patience};

/// A running consumer that is watched.
struct Watched {
    program: Program,
    address: String,
}

impl Watched {
    async fn start(launch: Launch) -> Watched {
        let mut program = launch.arguments(["--http-listen", "127.0.0.1:0"]).start();
        let line = program.line("serving http://").await;
        let (_, rest) = line.split_once("http://").expect("it is in the line");
        let (address, _) = rest.split_once("/metrics").expect("it is in the line");
        Watched { address: address.to_owned(), program }
    }

    /// Status and body.
    async fn get(&self, path: &str) -> (u16, String) {
        let answer = within_patience(path, reqwest::get(format!("http://{}{path}", self.address))).await;
        let answer = answer.expect("it answers");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    async fn metrics(&self) -> Exposition {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200);
        parse(&text)
    }

    /// Waits until the metrics are so.
    async fn until(&self, what: &str, are_so: impl Fn(&Exposition) -> bool) {
        let looking = async {
            while !are_so(&self.metrics().await) {
                tokio::time::sleep(LOOKING).await;
            }
        };
        within_patience(what, looking).await;
    }

    /// The conditions on `/readyz`, which agrees with itself and with the metric.
    async fn conditions(&self) -> Vec<String> {
        let (status, body) = self.get("/readyz").await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let reasons = body["reasons"].as_array().expect("a list");
        assert_eq!(
            (status, &body["ready"]),
            if reasons.is_empty() { (200, &json!(true)) } else { (503, &json!(false)) }
        );
        assert!(reasons.iter().all(|reason| reason["detail"].as_str().is_some_and(|detail| !detail.is_empty())));
        reasons.iter().map(|reason| reason["condition"].as_str().expect("a text").to_owned()).collect()
    }

    /// Waits until `/readyz` says just these conditions; all the time `/livez` says that it is alive.
    async fn says(&self, expected: &[&str]) {
        let said = async {
            loop {
                assert_eq!(self.get("/livez").await.0, 200);
                if self.conditions().await == expected {
                    return;
                }
                tokio::time::sleep(LOOKING).await;
            }
        };
        within_patience(&format!("/readyz says {expected:?}"), said).await;
    }
}

#[tokio::test]
async fn what_was_consumed_is_what_the_metrics_say() {
    let pipeline = Pipeline::new().await;
    let watched = Watched::start(pipeline.consumer().arguments(["--cache-entries", "0"])).await;
    pipeline.publish(good(0..3)).await;
    pipeline.rows(3).await;
    pipeline.publish([scan(&ip(0), 6, "late"), "poison".to_owned()]).await;
    pipeline.dead_letters(1).await;
    pipeline.drained().await;

    let metrics = watched.metrics().await;

    let subscription = pipeline.subscription.rsplit('/').next().expect("a name");
    let messages = [("messaging_system", "gcp_pubsub"), ("messaging_destination_name", subscription)];
    let of = |name: &str, label: (&'static str, &'static str)| metrics.value(name, &[&messages[..], &[label]].concat());
    assert_eq!(metrics.value("messaging_client_consumed_messages_total", &messages), 5.0);
    let outcomes = ["stored", "stale", "expired", "rejected", "dead_letter_failed", "given_up", "released"];
    let counts = outcomes.map(|outcome| of("mini_scan_outcomes_total", ("outcome", outcome)));
    assert_eq!(counts, [3.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(metrics.value("messaging_process_duration_seconds_count", &messages), 4.0);
    assert_eq!(of("messaging_process_duration_seconds_count", ("error_type", "malformed_json")), 1.0);
    assert_eq!(metrics.value("mini_scan_publish_to_durable_seconds_count", &messages), 4.0);
    let table = [("db_system_name", "aws.dynamodb"), ("db_operation_name", "PutItem")];
    let table = [&table[..], &[("db_collection_name", pipeline.table.as_str())]].concat();
    assert_eq!(metrics.value("db_client_operation_duration_seconds_count", &table), 4.0);
    for (name, label, value) in [
        ("mini_scan_rejections_total", ("reason", "malformed_json"), 1.0),
        ("mini_scan_dead_letters_total", ("reason", "malformed_json"), 1.0),
        ("mini_scan_dead_letters_total", ("reason", "invalid_ip"), 0.0),
        ("mini_scan_write_units_total", ("outcome", "stored"), 3.0),
        ("mini_scan_write_units_total", ("outcome", "stale"), 1.0),
        ("mini_scan_throttles_total", ("reason", "table"), 0.0),
    ] {
        assert_eq!(metrics.value(name, &[label]), value, "{name} {label:?}");
    }
    let bytes =
        ["sent", "received"].map(|direction| metrics.value("mini_scan_store_bytes_total", &[("direction", direction)]));
    assert!(bytes[1] > 50.0 && (bytes[0] / bytes[1] - 4.0).abs() < 0.1, "{bytes:?}");
    for (name, value) in [
        ("mini_scan_unsettled", 0.0),
        ("mini_scan_outstanding", 0.0),
        ("mini_scan_outstanding_limit", 1000.0),
        ("mini_scan_writes_in_flight", 0.0),
        ("mini_scan_circuit_breaker_open", 0.0),
        ("mini_scan_streams", 10.0),
        ("mini_scan_ready", 1.0),
    ] {
        assert_eq!(metrics.value(name, &[]), value, "{name}");
    }
    assert_eq!(watched.conditions().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_last_summary_has_every_count() {
    let pipeline = Pipeline::new().await;
    let consumer = pipeline.consumer().start();
    pipeline.publish(good(0..2)).await;
    pipeline.rows(2).await;
    // Known by now.
    pipeline.publish([scan(&ip(0), 6, "late"), "poison".to_owned()]).await;
    pipeline.dead_letters(1).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    let line = exit.said.stderr.iter().find(|line| line.contains("final summary")).expect("a last summary");
    let summary: BTreeMap<String, Value> = serde_json::from_str(line).expect("JSON");
    let counts: BTreeMap<_, _> =
        summary.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_u64()?))).collect();
    let some = [("received", 4), ("stored", 2), ("stale", 1), ("known", 1), ("rejected", 1), ("dead_lettered", 1)];
    let none = ["redelivered", "superseded", "expired", "dead_letter_failed", "given_up", "released", "retries"];
    let none = none.into_iter().chain(["throttled", "stream_restarts", "unflushed", "unsettled"]).map(|name| (name, 0));
    assert_eq!(counts, some.into_iter().chain(none).collect());
}

#[tokio::test]
async fn the_writes_that_duplicates_did_not_need_are_counted() {
    let pipeline = Pipeline::new().await;
    let watched = Watched::start(pipeline.consumer()).await;
    pipeline.publish([scan(&ip(0), 7, &"x".repeat(1500))]).await;
    pipeline.rows(1).await;
    pipeline.publish([scan(&ip(0), 7, &"x".repeat(1500)), scan(&ip(0), 6, "old")]).await;
    pipeline.drained().await;

    let metrics = watched.metrics().await;

    let saved = ["coalescing", "cache"].map(|by| metrics.value("mini_scan_write_units_saved_total", &[("by", by)]));
    assert_eq!(saved.iter().sum::<f64>(), 3.0, "{saved:?}");
    assert_eq!(metrics.value("mini_scan_write_units_total", &[("outcome", "stored")]), 2.0);
}

#[tokio::test]
async fn every_metric_of_the_page_is_there_with_its_labels_and_no_other() {
    let pipeline = Pipeline::new().await;
    let watched = Watched::start(pipeline.consumer()).await;
    // Brings about the labels that only a failure has.
    pipeline.publish(["poison"]).await;
    pipeline.dead_letters(1).await;
    pipeline.drained().await;

    let metrics = watched.metrics().await;

    let page = include_str!("../../docs/metrics.md").split("## From elsewhere").next().expect("a part");
    let mut documented = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `mini_scan_") || line.starts_with("| `process_")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let subscription = "messaging_system`, `messaging_destination_name";
        let labels = cells[3].replace("*subscription*", &format!("`{subscription}`"));
        let labels: BTreeSet<_> = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        documented.insert(cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels));
    }
    let exported =
        metrics.families.iter().filter(|(name, _)| !name.starts_with("messaging_") && !name.starts_with("db_"));
    let exported: BTreeMap<_, _> =
        exported.map(|(name, family)| (name.clone(), (family.kind.clone(), family.labels.clone()))).collect();
    assert_eq!(exported, documented);
}

#[tokio::test]
async fn while_dynamodb_is_away_it_says_why_it_is_not_ready_and_is_ready_again_by_itself() {
    let pipeline = Pipeline::new().await;
    let wire = Wire::before(pipeline.dynamo.endpoint.trim_start_matches("http://"));
    let watched = Watched::start(pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &wire.url())).await;
    watched.says(&[]).await;
    wire.refuse().await;
    wire.cut();
    pipeline.publish(good(0..20)).await;

    watched.says(&["DynamoDB"]).await;

    let metrics = watched.metrics().await;
    let value = |name: &str, labels: &[(&str, &str)]| metrics.value(name, labels);
    assert_eq!((value("mini_scan_circuit_breaker_open", &[]), value("mini_scan_ready", &[])), (1.0, 0.0));
    assert_eq!((value("mini_scan_unsettled", &[]), value("mini_scan_outstanding", &[])), (20.0, 20.0));
    wire.accept().await;
    watched.says(&[]).await;
    pipeline.rows(20).await;
    let metrics = watched.metrics().await;
    assert!(metrics.value("mini_scan_retries_total", &[("error_type", "Unavailable")]) >= 8.0);
}

#[tokio::test]
async fn from_the_start_checks_to_the_end_of_a_drain_it_is_alive_and_says_what_it_does() {
    let pipeline = Pipeline::new().await;
    let wire = Wire::before(pipeline.dynamo.endpoint.trim_start_matches("http://"));
    wire.freeze();
    let watched = Watched::start(pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &wire.url())).await;
    watched.says(&["starting"]).await;
    wire.thaw();
    watched.says(&[]).await;
    wire.freeze();
    pipeline.publish(good(0..1)).await;
    watched.until("a write is in flight", |metrics| metrics.value("mini_scan_writes_in_flight", &[]) == 1.0).await;

    watched.program.signal(Signal::Terminate).await;

    watched.says(&["stopping"]).await;
    wire.thaw();
    let exit = watched.program.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    pipeline.rows(1).await;
}

#[tokio::test]
async fn neither_who_asks_all_the_time_nor_who_connects_and_asks_nothing_stops_the_workers() {
    let pipeline = Pipeline::new().await;
    let watched = Watched::start(pipeline.consumer()).await;
    let silent = join_all((0..20).map(|_| TcpStream::connect(&watched.address))).await;
    assert!(silent.iter().all(Result::is_ok), "{silent:?}");
    let mut asked = 0;
    let asking = async {
        loop {
            watched.metrics().await;
            asked += 1;
        }
    };
    let consumed = async {
        pipeline.publish(good(0..1_000)).await;
        pipeline.rows(1_000).await;
        pipeline.drained().await;
    };

    tokio::select! {
        () = asking => {}
        () = consumed => {}
    }

    assert!(asked > 10, "asked {asked} times only");
    assert_eq!(watched.get("/livez").await.0, 200);
}

#[tokio::test]
async fn where_the_usual_port_is_taken_one_warning_is_said_and_it_runs() {
    let pipeline = Pipeline::new().await;
    // Whoever has it, it is taken.
    let _taken = TcpListener::bind("127.0.0.1:9464");
    let mut consumer = pipeline.consumer().without_env("MINI_SCAN_HTTP_LISTEN").start();

    let line = consumer.line("--http-listen").await;

    assert!(line.contains("WARNING") && line.contains("127.0.0.1:9464"), "{line}");
    pipeline.publish(good(0..1)).await;
    pipeline.rows(1).await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(exit.said.stderr.iter().filter(|line| line.contains("9464")).count(), 1, "{exit:#?}");
}

#[tokio::test]
async fn a_chosen_port_that_is_taken_ends_it() {
    let pipeline = Pipeline::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound listener").to_string();

    let exit = pipeline.consumer().arguments(["--http-listen", &address]).run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let last = exit.said.stderr.last().map(String::as_str).unwrap_or_default();
    assert!(["--http-listen", &address, "in use"].iter().all(|text| last.contains(text)), "{last}");
}

#[tokio::test]
async fn writes_in_batches_are_counted_each_and_timed_by_the_call() {
    let pipeline = Pipeline::new().await;
    let watched =
        Watched::start(pipeline.consumer().arguments(["--write-mode", "batch", "--cache-entries", "0"])).await;
    pipeline.publish(good(0..50)).await;
    pipeline.rows(50).await;
    pipeline.publish([scan(&ip(0), 6, "late")]).await;
    pipeline.drained().await;

    let metrics = watched.metrics().await;

    let units =
        ["stored", "stale"].map(|outcome| metrics.value("mini_scan_write_units_total", &[("outcome", outcome)]));
    assert_eq!(units, [50.0, 1.0]);
    let calls = [("db_system_name", "aws.dynamodb"), ("db_collection_name", pipeline.table.as_str())];
    let calls = [&calls[..], &[("db_operation_name", "BatchExecuteStatement")]].concat();
    assert!(metrics.value("db_client_operation_duration_seconds_count", &calls) >= 2.0);
}
