//! Observability of a running consumer: `/metrics`, `/livez`, `/readyz`, the last summary and traces.

mod capacity;
mod exposition;
mod traces;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use exposition::{Exposition, parse};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::pipeline::{Pipeline, ip, scan, valid_scans};
use crate::support::program::{Launch, Program, Signal};
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{POLL_INTERVAL, with_timeout};

/// A running consumer with an HTTP server.
struct Monitored {
    program: Program,
    address: String,
}

impl Monitored {
    async fn start(launch: Launch) -> Monitored {
        let mut program = launch.arguments(["--http-listen", "127.0.0.1:0"]).start();
        let line = program.wait_for_line("serving http://").await;
        let (_, rest) = line.split_once("http://").expect("the line has a URL");
        let (address, _) = rest.split_once("/metrics").expect("the line has the URL of the metrics");
        Monitored { address: address.to_owned(), program }
    }

    /// Returns the status and the body of a response.
    async fn get(&self, path: &str) -> (u16, String) {
        let response = with_timeout(path, reqwest::get(format!("http://{}{path}", self.address))).await;
        let response = response.expect("the server responds");
        (response.status().as_u16(), response.text().await.expect("the body is text"))
    }

    async fn metrics(&self) -> Exposition {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200);
        parse(&text)
    }

    /// Waits until the metrics fulfil a condition.
    async fn wait_for_metrics(&self, what: &str, condition: impl Fn(&Exposition) -> bool) {
        let polling = async {
            while !condition(&self.metrics().await) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(what, polling).await;
    }

    /// Returns the conditions of `/readyz`, and checks that its status and fields agree.
    async fn conditions(&self) -> Vec<String> {
        let (status, body) = self.get("/readyz").await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let reasons = body["reasons"].as_array().expect("a list");
        assert_eq!(
            (status, &body["ready"]),
            if reasons.is_empty() { (200, &json!(true)) } else { (503, &json!(false)) }
        );
        assert!(reasons.iter().all(|reason| reason["detail"].as_str().is_some_and(|detail| !detail.is_empty())));
        reasons.iter().map(|reason| reason["condition"].as_str().expect("a string").to_owned()).collect()
    }

    /// Waits until `/readyz` has exactly these conditions. `/livez` must succeed all the time.
    async fn wait_for_conditions(&self, expected: &[&str]) {
        let polling = async {
            loop {
                assert_eq!(self.get("/livez").await.0, 200);
                if self.conditions().await == expected {
                    return;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(&format!("the conditions {expected:?} of /readyz"), polling).await;
    }
}

/// Returns the labels of a subscription, `projects/PROJECT/subscriptions/ID`.
fn labels_of(subscription: &str) -> [(&'static str, &str); 3] {
    let parts: Vec<_> = subscription.split('/').collect();
    [("messaging_system", "gcp_pubsub"), ("gcp_project_id", parts[1]), ("messaging_destination_name", parts[3])]
}

#[tokio::test]
async fn the_metrics_count_the_consumed_messages() {
    let pipeline = Pipeline::new().await;
    let monitored = Monitored::start(pipeline.consumer().arguments(["--cache-entries", "0"])).await;
    // All workers run.
    monitored.wait_for_conditions(&[]).await;
    pipeline.publish(valid_scans(0..3)).await;
    // The first writes have ended, so they do not settle the late scan.
    pipeline.drained().await;
    pipeline.publish([scan(&ip(0), 6, "late"), "poison".to_owned()]).await;
    pipeline.dead_letters(1).await;
    pipeline.drained().await;

    let metrics = monitored.metrics().await;

    let messages = labels_of(&pipeline.subscription);
    let value =
        |name: &str, label: (&'static str, &'static str)| metrics.value(name, &[&messages[..], &[label]].concat());
    assert_eq!(metrics.value("messaging_client_consumed_messages_total", &messages), 5.0);
    let outcomes = ["stored", "stale", "expired", "rejected", "dead_letter_failed", "given_up", "released"];
    let counts = outcomes.map(|outcome| value("mini_scan_outcomes_total", ("outcome", outcome)));
    assert_eq!(counts, [3.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(metrics.value("messaging_process_duration_seconds_count", &messages), 4.0);
    assert_eq!(value("messaging_process_duration_seconds_count", ("error_type", "malformed_json")), 1.0);
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
    // A slow server lets an attempt time out, which is then repeated.
    let attempts = 4.0 + metrics.value("mini_scan_retries_total", &[("error_type", "Unavailable")]);
    assert!(bytes[1] > 50.0 && (bytes[0] / bytes[1] - attempts).abs() < 0.1, "{bytes:?} in {attempts} attempts");
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
    assert_eq!(monitored.conditions().await, Vec::<String>::new());
}

/// The message is as large as a publish request may be, so no attribute fits beside its payload.
#[tokio::test]
async fn a_dead_letter_that_the_topic_refuses_as_invalid_is_not_counted_as_published() {
    const LARGEST: usize = 10 * 1024 * 1024 - 5;
    let pipeline = Pipeline::new().await;
    let monitored = Monitored::start(pipeline.consumer()).await;

    pipeline.publish([vec![b'x'; LARGEST]]).await;

    let messages = labels_of(&pipeline.subscription);
    let settled = |metrics: &Exposition, outcome: &'static str| {
        metrics.value("mini_scan_outcomes_total", &[&messages[..], &[("outcome", outcome)]].concat())
    };
    monitored
        .wait_for_metrics("a settled message", |metrics| {
            settled(metrics, "dead_letter_failed") + settled(metrics, "rejected") > 0.0
        })
        .await;
    let metrics = monitored.metrics().await;
    assert_eq!(settled(&metrics, "rejected"), 0.0);
    assert_eq!(metrics.value("mini_scan_dead_letters_total", &[("reason", "malformed_json")]), 0.0);
    assert_eq!(monitored.conditions().await, ["the dead-letter topic"]);
}

#[tokio::test]
async fn the_last_summary_has_every_count() {
    let pipeline = Pipeline::new().await;
    let consumer = pipeline.consumer().start();
    pipeline.publish(valid_scans(0..2)).await;
    pipeline.drained().await;
    // The cache has the key now, so this scan is not written.
    pipeline.publish([scan(&ip(0), 6, "late"), "poison".to_owned()]).await;
    pipeline.dead_letters(1).await;
    pipeline.drained().await;

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    let line = exit.output.stderr.iter().find(|line| line.contains("final summary")).expect("a last summary");
    let summary: BTreeMap<String, Value> = serde_json::from_str(line).expect("JSON");
    let mut counts: BTreeMap<_, _> =
        summary.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_u64()?))).collect();
    // A slow write is retried.
    counts.remove("retries");
    let nonzero = [("received", 4), ("stored", 2), ("stale", 1), ("known", 1), ("rejected", 1), ("dead_lettered", 1)];
    let zero = ["redelivered", "superseded", "expired", "dead_letter_failed", "given_up", "released"];
    let zero = zero.into_iter().chain(["throttled", "stream_restarts", "unflushed", "unsettled"]).map(|name| (name, 0));
    assert_eq!(counts, nonzero.into_iter().chain(zero).collect());
}

#[tokio::test]
async fn the_metrics_count_the_write_units_saved_by_deduplication() {
    let pipeline = Pipeline::new().await;
    let monitored = Monitored::start(pipeline.consumer()).await;
    pipeline.publish([scan(&ip(0), 7, &"x".repeat(1500))]).await;
    pipeline.drained().await;
    pipeline.publish([scan(&ip(0), 7, &"x".repeat(1500)), scan(&ip(0), 6, "old")]).await;
    pipeline.drained().await;

    let metrics = monitored.metrics().await;

    let saved = ["coalescing", "cache"].map(|by| metrics.value("mini_scan_write_units_saved_total", &[("by", by)]));
    assert_eq!(saved.iter().sum::<f64>(), 3.0, "{saved:?}");
    assert_eq!(metrics.value("mini_scan_write_units_total", &[("outcome", "stored")]), 2.0);
}

#[tokio::test]
async fn the_exported_metrics_and_labels_match_their_documentation() {
    let pipeline = Pipeline::new().await;
    let monitored = Monitored::start(pipeline.consumer()).await;
    // Some labels appear only after a failure.
    pipeline.publish(["poison"]).await;
    pipeline.dead_letters(1).await;
    pipeline.drained().await;

    let metrics = monitored.metrics().await;

    let page = include_str!("../../docs/metrics.md").split("## From elsewhere").next().expect("a section");
    let mut documented = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `mini_scan_") || line.starts_with("| `process_")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let subscription = "messaging_system`, `gcp_project_id`, `messaging_destination_name";
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
async fn readyz_names_dynamodb_during_its_outage_and_recovers_by_itself() {
    let pipeline = Pipeline::new().await;
    let proxy = TcpProxy::before(pipeline.dynamo.endpoint.trim_start_matches("http://"));
    let monitored = Monitored::start(pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url())).await;
    monitored.wait_for_conditions(&[]).await;
    proxy.refuse().await;
    proxy.close_open();
    pipeline.publish(valid_scans(0..20)).await;

    monitored.wait_for_conditions(&["DynamoDB"]).await;

    let is_received = |metrics: &Exposition| metrics.value("mini_scan_unsettled", &[]) == 20.0;
    monitored.wait_for_metrics("20 unsettled messages", is_received).await;
    let metrics = monitored.metrics().await;
    let names = ["mini_scan_circuit_breaker_open", "mini_scan_ready", "mini_scan_outstanding"];
    assert_eq!(names.map(|name| metrics.value(name, &[])), [1.0, 0.0, 20.0]);
    proxy.accept().await;
    monitored.wait_for_conditions(&[]).await;
    pipeline.rows(20).await;
    let metrics = monitored.metrics().await;
    assert!(metrics.value("mini_scan_retries_total", &[("error_type", "Unavailable")]) >= 8.0);
}

#[tokio::test]
async fn livez_succeeds_and_readyz_shows_the_state_from_the_start_checks_to_the_end_of_the_drain() {
    let pipeline = Pipeline::new().await;
    let proxy = TcpProxy::before(pipeline.dynamo.endpoint.trim_start_matches("http://"));
    proxy.freeze();
    let monitored = Monitored::start(pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url())).await;
    monitored.wait_for_conditions(&["starting"]).await;
    proxy.thaw();
    monitored.wait_for_conditions(&[]).await;
    proxy.freeze();
    pipeline.publish(valid_scans(0..1)).await;
    let is_writing = |metrics: &Exposition| metrics.value("mini_scan_writes_in_flight", &[]) == 1.0;
    monitored.wait_for_metrics("a write in flight", is_writing).await;

    monitored.program.signal(Signal::Terminate).await;

    monitored.wait_for_conditions(&["stopping"]).await;
    proxy.thaw();
    let exit = monitored.program.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    pipeline.rows(1).await;
}

#[tokio::test]
async fn constant_requests_and_idle_connections_do_not_stop_the_workers() {
    let pipeline = Pipeline::new().await;
    let monitored = Monitored::start(pipeline.consumer()).await;
    let idle = join_all((0..20).map(|_| TcpStream::connect(&monitored.address))).await;
    assert!(idle.iter().all(Result::is_ok), "{idle:?}");
    let is_consumed = Cell::new(false);
    let requesting = async {
        let mut requests = 0;
        while requests < 10 || !is_consumed.get() {
            monitored.metrics().await;
            requests += 1;
        }
    };
    let consuming = async {
        pipeline.publish(valid_scans(0..300)).await;
        pipeline.rows(300).await;
        pipeline.drained().await;
        is_consumed.set(true);
    };

    tokio::join!(requesting, consuming);

    assert_eq!(monitored.get("/livez").await.0, 200);
}

#[tokio::test]
async fn logs_one_warning_if_the_default_port_is_in_use() {
    let pipeline = Pipeline::new().await;
    // Other runs of this test may hold the port as well. If this fails, another program uses it, which is as good.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("a socket that shares its port");
    let _in_use = socket.bind("127.0.0.1:9464".parse().expect("an address")).and_then(|()| socket.listen(1));
    let mut consumer = pipeline.consumer().without_env("MINI_SCAN_HTTP_LISTEN").start();

    let line = consumer.wait_for_line("--http-listen").await;

    assert!(line.contains("WARNING") && line.contains("127.0.0.1:9464"), "{line}");
    pipeline.publish(valid_scans(0..1)).await;
    pipeline.rows(1).await;
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(exit.output.stderr.iter().filter(|line| line.contains("9464")).count(), 1, "{exit:#?}");
}

#[tokio::test]
async fn exits_with_an_error_if_an_explicit_port_is_in_use() {
    let pipeline = Pipeline::new().await;
    let in_use = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = in_use.local_addr().expect("a bound listener").to_string();

    let exit = pipeline.consumer().arguments(["--http-listen", &address]).run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let last = exit.output.stderr.last().map(String::as_str).unwrap_or_default();
    assert!(["--http-listen", &address, "in use"].iter().all(|text| last.contains(text)), "{last}");
}

#[tokio::test]
async fn the_metrics_count_each_write_of_a_batch_and_time_each_call() {
    let pipeline = Pipeline::new().await;
    let monitored =
        Monitored::start(pipeline.consumer().arguments(["--write-mode", "batch", "--cache-entries", "0"])).await;
    pipeline.publish(valid_scans(0..50)).await;
    pipeline.drained().await;
    pipeline.publish([scan(&ip(0), 6, "late")]).await;
    pipeline.drained().await;

    let metrics = monitored.metrics().await;

    let units =
        ["stored", "stale"].map(|outcome| metrics.value("mini_scan_write_units_total", &[("outcome", outcome)]));
    assert_eq!(units, [50.0, 1.0]);
    let calls = [("db_system_name", "aws.dynamodb"), ("db_collection_name", pipeline.table.as_str())];
    let calls = [&calls[..], &[("db_operation_name", "BatchExecuteStatement")]].concat();
    assert!(metrics.value("db_client_operation_duration_seconds_count", &calls) >= 2.0);
}
