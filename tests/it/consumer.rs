//! `mini-scan consumer` as a process: its input, its output and its exit.

use std::collections::BTreeMap;

use google_cloud_pubsub::model::Message;
use serde_json::json;

use crate::support::dynamo::{Item, item, number, text};
use crate::support::http_proxy::{HttpProxy, Reject};
use crate::support::messages::CONSUMING;
use crate::support::pipeline::{Pipeline, ip, scan, valid_scans};
use crate::support::program::{Program, Signal};
use crate::support::servers::PubsubServer;

/// Google's emulator delivers them to the killed process again.
const REDELIVERED_AFTER_KILL: &str = "messages of a killed process are redelivered when their leases end";

/// Many scans of few keys, not in the order of their timestamps.
struct Shuffled {
    messages: u64,
    keys: u64,
}

impl Shuffled {
    fn scans(&self) -> impl Iterator<Item = (String, u64)> {
        // The stride is prime, so that every timestamp occurs once.
        let Shuffled { messages, keys } = *self;
        (0..messages).map(move |n| (ip((n % keys) as usize), 1 + n * 7919 % messages))
    }

    fn payloads(&self) -> impl Iterator<Item = String> {
        self.scans().map(|(ip, timestamp)| scan(&ip, timestamp, "good"))
    }

    /// Returns the newest timestamp of each key.
    fn newest(&self) -> BTreeMap<String, u64> {
        self.scans().fold(BTreeMap::new(), |mut newest, (ip, timestamp)| {
            let seen = newest.entry(format!("{ip}#80#HTTP")).or_default();
            *seen = timestamp.max(*seen);
            newest
        })
    }
}

fn timestamps(rows: &BTreeMap<String, Item>) -> BTreeMap<String, u64> {
    let timestamp = |row: &Item| row["timestamp"].as_n().expect("a number").parse().expect("a whole number");
    rows.iter().map(|(pk, row)| (pk.clone(), timestamp(row))).collect()
}

#[tokio::test]
async fn a_scan_of_either_version_becomes_a_row_with_exactly_the_documented_attributes() {
    let pipeline = Pipeline::new().await;
    let data = json!({"response_bytes_utf8": "aGVsbG8gd29ybGQ="});
    let first =
        json!({"ip": "1.1.1.2", "port": 80, "service": "HTTP", "timestamp": 7, "data_version": 1, "data": data});
    pipeline.publish([first.to_string(), scan("1.1.1.1", 7, "hello world")]).await;

    let _consumer = pipeline.consumer().start();

    let rows = pipeline.rows(2).await;
    for (ip, version) in [("1.1.1.1", 2), ("1.1.1.2", 1)] {
        let expected = item([
            ("pk", text(format!("{ip}#80#HTTP"))),
            ("ip", text(ip)),
            ("port", number(80)),
            ("service", text("HTTP")),
            ("timestamp", number(7)),
            ("response", text("hello world")),
            ("data_version", number(version)),
        ]);
        assert_eq!(rows.get(&format!("{ip}#80#HTTP")), Some(&expected));
    }
    pipeline.drained().await;
}

#[tokio::test]
async fn a_poison_message_becomes_a_dead_letter_byte_for_byte() {
    let pipeline = Pipeline::new().await;
    let poison = Message::new().set_data([0xff, 0x00, b'{'].as_slice()).set_attributes([("source", "probe ü")]);
    let published = pipeline.pubsub.try_publish(&pipeline.topic, [poison.clone()]).await.remove(0);
    let id = published.expect("the message is accepted");

    let _consumer = pipeline.consumer().start();

    let dead_letter = pipeline.dead_letters(1).await.remove(0);
    let attribute = |name: &str| dead_letter.attributes.get(name).map(String::as_str);
    assert_eq!(dead_letter.data, poison.data);
    assert_eq!(attribute("source"), Some("probe ü"));
    assert_eq!(attribute("rejection_reason"), Some("malformed_json"));
    assert_eq!(attribute("source_message_id"), Some(id.as_str()));
    assert!(attribute("source_publish_time").is_some() && attribute("rejection_detail").is_some(), "{dead_letter:?}");
    pipeline.drained().await;
    assert!(pipeline.rows(0).await.is_empty());
}

#[tokio::test]
async fn exits_with_0_and_the_closing_line_at_sigterm_and_sigint() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let pipeline = Pipeline::new().await;
        pipeline.publish([scan("1.1.1.1", 7, "good"), scan("1.1.1.1", 6, "stale"), "poison".to_owned()]).await;
        let consumer = pipeline.consumer().start();
        pipeline.dead_letters(1).await;
        pipeline.drained().await;

        consumer.signal(signal).await;

        let exit = consumer.exit().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        let closing = exit.output.stdout.last().map(String::as_str);
        assert_eq!(closing, Some("Consumer stopped. Final stats - Processed: 3, Failed: 0"), "{exit:#?}");
    }
}

/// Starts a consumer behind a proxy of the store. Its leases end within 10 s, and then others get its unsettled messages.
async fn consumer_behind_proxy(pipeline: &Pipeline) -> (Program, HttpProxy) {
    let proxy = HttpProxy::before(pipeline.dynamo.endpoint.trim_start_matches("http://"), Reject::Nothing).await;
    let launch = pipeline.consumer().arguments(["--max-lease-extension", "10s"]);
    (launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start(), proxy)
}

#[tokio::test]
async fn another_consumer_writes_the_messages_of_a_killed_one() {
    let pipeline = Pipeline::new().await;
    if pipeline.pubsub.skips(PubsubServer::GoogleEmulator, REDELIVERED_AFTER_KILL) {
        return;
    }
    pipeline.publish(valid_scans(0..200)).await;
    let (killed, proxy) = consumer_behind_proxy(&pipeline).await;
    pipeline.rows(1).await;
    proxy.freeze();
    pipeline.publish(valid_scans(200..400)).await;
    proxy.wait_for_stalled(1).await;
    killed.signal(Signal::Kill).await;

    let _other = pipeline.consumer().start();

    assert_eq!(pipeline.rows(400).await.len(), 400);
    pipeline.drained().await;
}

#[tokio::test]
async fn every_key_has_its_newest_scan_after_duplicates_reordering_and_lost_acks() {
    let (pipeline, faults) = Pipeline::with_faults().await;
    faults.deliver_twice(0.3);
    faults.reorder(0.5);
    faults.lose_acks(0.1);
    let scans = Shuffled { messages: 1_000, keys: 50 };
    pipeline.publish(scans.payloads()).await;

    // A message whose ack is lost is redelivered when its lease ends.
    let _consumer = pipeline.consumer().arguments(["--max-lease-extension", "10s"]).start();

    pipeline.rows(50).await;
    faults.clear();
    pipeline.drained().await;
    assert_eq!(timestamps(&pipeline.rows(50).await), scans.newest());
}

#[tokio::test]
async fn warns_how_to_set_a_dead_letter_topic_if_there_is_none() {
    let pipeline = Pipeline::new().await;

    let mut consumer = pipeline.consumer_without_dead_letter_topic().start();

    consumer.wait_for_line("--dead-letter-topic").await;
}

#[tokio::test]
async fn ten_workers_on_two_threads_write_all_messages_one_at_a_time() {
    let pipeline = Pipeline::new().await;
    pipeline.publish(valid_scans(0..200)).await;

    let _consumer = pipeline.consumer().arguments(["-m", "1", "-c", "10", "--threads", "2"]).start();

    assert_eq!(pipeline.rows(200).await.len(), 200);
    pipeline.drained().await;
}

#[tokio::test]
async fn every_key_has_its_newest_scan_after_one_of_three_consumers_is_killed_and_restarted() {
    let pipeline = Pipeline::new().await;
    if pipeline.pubsub.skips(PubsubServer::GoogleEmulator, REDELIVERED_AFTER_KILL) {
        return;
    }
    let scans = Shuffled { messages: 4_000, keys: 800 };
    let payloads: Vec<_> = scans.payloads().collect();
    let (first, second) = payloads.split_at(payloads.len() / 2);
    let (mut killed, proxy) = consumer_behind_proxy(&pipeline).await;
    pipeline.publish(first.iter().cloned()).await;
    killed.wait_for_line(CONSUMING).await;
    // The consumer is killed while it has unsettled messages.
    proxy.freeze();
    proxy.wait_for_stalled(1).await;
    let start = || pipeline.consumer().start();
    let mut others = [start(), start()];
    for other in &mut others {
        other.wait_for_line(CONSUMING).await;
    }
    pipeline.publish(second.iter().cloned()).await;

    killed.signal(Signal::Kill).await;
    let _restarted = start();

    pipeline.drained().await;
    assert_eq!(timestamps(&pipeline.rows(800).await), scans.newest());
}

#[tokio::test]
async fn with_a_ttl_expired_scans_are_not_written_and_other_rows_have_an_expiry_time() {
    const THIRTY_YEARS: u64 = 30 * 31_557_600;
    let pipeline = Pipeline::new().await;
    pipeline.publish([scan("1.1.1.1", 7, "expired"), scan("1.1.1.2", 1_740_298_125, "good")]).await;

    let consumer = pipeline.consumer().arguments(["--ttl", "30years"]).start();

    pipeline.rows(1).await;
    pipeline.drained().await;
    let rows = pipeline.rows(1).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows["1.1.1.2#80#HTTP"]["expires_at"], number(1_740_298_125 + THIRTY_YEARS));
    consumer.signal(Signal::Terminate).await;
    let exit = consumer.exit().await;
    let closing = exit.output.stdout.last().map(String::as_str);
    assert_eq!(closing, Some("Consumer stopped. Final stats - Processed: 2, Failed: 0"), "{exit:#?}");
}
