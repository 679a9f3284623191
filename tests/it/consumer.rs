//! `mini-scan consumer` as a process: what goes in, what comes out, how it ends.

use std::collections::BTreeMap;

use google_cloud_pubsub::model::Message;
use serde_json::json;

use crate::support::dynamo::{item, number, text};
use crate::support::pipeline::Pipeline;
use crate::support::program::{Signal, mini_scan};

/// A payload of version 2 as the scanner sends it.
fn scan(ip: &str, timestamp: u64, response: &str) -> String {
    let data = json!({"response_str": response});
    json!({"ip": ip, "port": 80, "service": "HTTP", "timestamp": timestamp, "data_version": 2, "data": data})
        .to_string()
}

#[tokio::test]
async fn a_scan_of_either_version_becomes_a_row_with_exactly_the_attributes_of_the_design() {
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
    let id = pipeline.pubsub.try_publish(&pipeline.topic, [poison.clone()]).await.remove(0).expect("it is accepted");

    let _consumer = pipeline.consumer().start();

    let letter = pipeline.dead_letters(1).await.remove(0);
    let attribute = |name: &str| letter.attributes.get(name).map(String::as_str);
    assert_eq!(letter.data, poison.data);
    assert_eq!(attribute("source"), Some("probe ü"));
    assert_eq!(attribute("rejection_reason"), Some("malformed_json"));
    assert_eq!(attribute("source_message_id"), Some(id.as_str()));
    assert!(attribute("source_publish_time").is_some() && attribute("rejection_detail").is_some(), "{letter:?}");
    pipeline.drained().await;
    assert!(pipeline.rows(0).await.is_empty());
}

#[tokio::test]
async fn sigterm_and_sigint_end_it_with_the_closing_line_and_0() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let pipeline = Pipeline::new().await;
        pipeline.publish([scan("1.1.1.1", 7, "good"), scan("1.1.1.1", 6, "stale"), "poison".to_owned()]).await;
        let consumer = pipeline.consumer().start();
        pipeline.drained().await;

        consumer.signal(signal).await;

        let exit = consumer.exit().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        let closing = exit.said.stdout.last().map(String::as_str);
        assert_eq!(closing, Some("Consumer stopped. Final stats - Processed: 3, Failed: 0"), "{exit:#?}");
    }
}

#[tokio::test]
async fn after_a_kill_another_finishes_the_work() {
    let pipeline = Pipeline::new().await;
    pipeline.publish((0..2_000).map(|n| scan(&format!("10.0.{}.{}", n / 256, n % 256), 7, "good"))).await;
    // Leases end within 10 s, so that the rest of the killed one's messages come to the other.
    let killed = pipeline.consumer().arguments(["--max-lease-extension", "10s"]).start();
    pipeline.rows(1).await;
    killed.signal(Signal::Kill).await;

    let _other = pipeline.consumer().start();

    assert_eq!(pipeline.rows(2_000).await.len(), 2_000);
    pipeline.drained().await;
}

#[tokio::test]
async fn duplicates_disorder_and_lost_acks_leave_every_key_at_its_newest() {
    let (pipeline, faults) = Pipeline::with_faults().await;
    faults.deliver_twice(0.3);
    faults.reorder(0.5);
    faults.lose_acks(0.1);
    let ip = |key: u64| format!("10.0.0.{key}");
    let scans = (0..1_000_u64).map(|n| scan(&ip(n % 50), 1 + n * 7919 % 1_000, "good"));
    pipeline.publish(scans).await;

    let _consumer = pipeline.consumer().start();

    pipeline.rows(50).await;
    faults.clear();
    pipeline.drained().await;
    let newest = (0..1_000_u64).fold(BTreeMap::new(), |mut newest, n| {
        let seen: &mut u64 = newest.entry(format!("{}#80#HTTP", ip(n % 50))).or_default();
        *seen = (*seen).max(1 + n * 7919 % 1_000);
        newest
    });
    let rows = pipeline.rows(50).await;
    let stored: BTreeMap<_, _> = rows.iter().map(|(pk, row)| (pk.clone(), row["timestamp"].clone())).collect();
    assert_eq!(stored, newest.into_iter().map(|(pk, timestamp)| (pk, number(timestamp))).collect());
}

#[tokio::test]
async fn a_wrong_setting_is_named_within_a_few_lines_and_exits_with_1() {
    for flag in ["--subscription", "--table", "--dead-letter-topic"] {
        let mut pipeline = Pipeline::new().await;
        let missing = match flag {
            "--subscription" => &mut pipeline.subscription,
            "--table" => &mut pipeline.table,
            _ => &mut pipeline.dead_letter_topic,
        };
        missing.push_str("-missing");
        let missing = missing.clone();

        let exit = pipeline.consumer().run().await;

        assert_eq!(exit.code, Some(1), "{flag}: {exit:#?}");
        let said = exit.said.stderr.join("\n");
        assert!([&missing, flag, "mini-scan setup"].iter().all(|part| said.contains(part)), "{flag}: {exit:#?}");
    }
}

#[tokio::test]
async fn without_a_dead_letter_topic_a_warning_says_how_to_set_one() {
    let pipeline = Pipeline::new().await;
    let arguments = ["consumer", "--subscription", &pipeline.subscription, "--table", &pipeline.table];

    let mut consumer = mini_scan(arguments).against(&pipeline.pubsub, &pipeline.dynamo).start();

    consumer.line("--dead-letter-topic").await;
}

#[tokio::test]
async fn flags_that_cannot_be_are_named_and_exit_with_2() {
    let pipeline = Pipeline::new().await;

    for arguments in [["--max-outstanding", "0"], ["--consumers", "none"], ["--max-retry-time", "soon"]] {
        let exit = pipeline.consumer().arguments(arguments).run().await;
        assert_eq!(exit.code, Some(2), "{exit:#?}");
        assert!(exit.said.stderr.join("\n").contains(arguments[0]), "{exit:#?}");
    }
}
