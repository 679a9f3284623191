//! `mini-scan changes backfill` as a process: it makes the summaries that are missing, and repairs what a gap left out.

mod behind;
mod interrupted;

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, BillingMode, KeyType, ScalarAttributeType};
use tempfile::TempDir;

use crate::support::dynamo::{Dynamo, Item, attribute, item, key, number, text};
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::unique;

/// The table of scans, its history, and the leases of a reader.
struct Tables {
    dynamo: Dynamo,
    scans: String,
    history: String,
    leases: String,
    folder: TempDir,
}

fn record(ip: &str, timestamp: u64, response: &str) -> Item {
    item([
        ("pk", text(format!("{ip}#80#HTTP"))),
        ("ip", text(ip)),
        ("port", number(80)),
        ("service", text("HTTP")),
        ("timestamp", number(timestamp)),
        ("response", text(response)),
        ("data_version", number(2)),
    ])
}

impl Tables {
    /// Creates the tables. A reader has begun to read the stream.
    async fn new(records: impl IntoIterator<Item = Item>) -> Tables {
        let dynamo = Dynamo::connect();
        let [scans, history, leases] = ["scans", "history", "leases"].map(unique);
        // Without a stream, in which the embedded server would look for the last number at every write.
        dynamo.create(&scans).set_stream_specification(None).send().await.expect("the table is created");
        create(&dynamo, &history, &["ip", "entry"]).await;
        create(&dynamo, &leases, &["leaseKey"]).await;
        let start = item([
            ("leaseKey", text(format!("changes/{scans}/2026/"))),
            ("leaseCounter", number(0)),
            ("ownerSwitchesSinceCheckpoint", number(0)),
            ("checkpoint", text("TRIM_HORIZON")),
            ("checkpointSubSequenceNumber", number(0)),
        ]);
        dynamo.put(&leases, start).await;
        dynamo.put_all(&scans, records).await;
        Tables { dynamo, scans, history, leases, folder: tempfile::tempdir().expect("a temporary directory") }
    }

    fn backfill(&self, arguments: &[&str]) -> Launch {
        let tables = ["--table", &self.scans, "--history-table", &self.history, "--lease-table", &self.leases];
        let launch = mini_scan(["changes", "backfill"]).arguments(tables).arguments(arguments.iter().copied());
        launch.env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint)
    }

    /// Runs a backfill to its end. Returns what it reports.
    async fn filled(&self, arguments: &[&str]) -> String {
        ended(&self.backfill(arguments).run().await, 0)
    }

    /// Returns every item of the history by its key, except the one that names its table.
    async fn items(&self) -> BTreeMap<String, Item> {
        let scan = self.dynamo.client.scan().table_name(&self.history).consistent_read(true);
        let items = scan.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let key = |item: &Item| format!("{} {}", of(item, "ip"), of(item, "entry"));
        let mut items: BTreeMap<_, _> =
            items.expect("the history is read").into_iter().map(|item| (key(&item), item)).collect();
        items.remove("meta table");
        items
    }

    async fn summary(&self, ip: &str) -> Item {
        self.items().await.remove(&format!("{ip} summary#00080#HTTP")).expect("a summary")
    }

    /// Returns the entries of an address, without its summary.
    async fn entries(&self, ip: &str) -> Vec<Item> {
        let items = self.items().await.into_iter();
        let is_entry = |key: &str| key.starts_with(&format!("{ip} ")) && !key.contains("summary");
        items.filter(|(key, _)| is_entry(key)).map(|(_, item)| item).collect()
    }

    /// Sets attributes of a summary, as the reader of the stream does.
    async fn set(&self, ip: &str, attributes: Item) {
        let mut summary = self.summary(ip).await;
        summary.extend(attributes);
        self.dynamo.put(&self.history, summary).await;
    }

    async fn delete(&self, ip: &str) {
        let delete = self.dynamo.client.delete_item().table_name(&self.scans);
        delete.key("pk", text(format!("{ip}#80#HTTP"))).send().await.expect("the record is deleted");
    }
}

async fn create(dynamo: &Dynamo, table: &str, keys: &[&str]) {
    let mut create = dynamo.client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
        create = create.key_schema(key(name, kind)).attribute_definitions(attribute(name, ScalarAttributeType::S));
    }
    create.send().await.expect("the table is created");
}

/// Returns an attribute as text, or an empty text.
fn of<'a>(item: &'a Item, name: &str) -> &'a str {
    let value = item.get(name);
    let text = value.and_then(|value| value.as_s().ok()).or_else(|| value.and_then(|value| value.as_n().ok()));
    text.map_or("", String::as_str)
}

fn ended(exit: &Exit, code: i32) -> String {
    assert_eq!(exit.code, Some(code), "{exit:#?}");
    exit.output.stderr.join("\n")
}

/// The numbers that the reader of the stream sets.
fn position(sequence: u64) -> Item {
    item([("stream", text("2026")), ("last_sequence", text(format!("{sequence:040}"))), ("changes", number(1))])
}

#[tokio::test]
async fn records_from_before_the_history_get_summaries_at_or_before_their_scan() {
    let tables = Tables::new([record("1.1.1.1", 100, "a"), record("1.1.1.2", 200, "b")]).await;
    tables.dynamo.put(&tables.scans, item([("pk", text("no record"))])).await;

    let notes = tables.filled(&[]).await;

    assert!(notes.contains("New summaries: 2. Repaired changes: 0 opened, 0 changed, 0 closed."), "{notes}");
    let summary = tables.summary("1.1.1.2").await;
    let expected = [("state", "open"), ("seen_by", "200"), ("changes", "0"), ("first_seen", ""), ("stream", "")];
    assert_eq!(expected.map(|(name, _)| of(&summary, name)), expected.map(|(_, value)| value));
    let items = tables.items().await;
    assert_eq!(items.len(), 2, "{items:#?}");

    let notes = tables.filled(&[]).await;

    assert!(notes.contains("New summaries: 0.") && notes.contains("Up to date: 2."), "{notes}");
    assert_eq!(tables.items().await, items);
}

#[tokio::test]
async fn what_a_gap_left_out_is_repaired_once() {
    let all = ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"];
    let tables = Tables::new(all.map(|ip| record(ip, 100, "a"))).await;
    tables.filled(&[]).await;
    for ip in all {
        tables.set(ip, position(7)).await;
    }
    tables.set("1.1.1.4", item([("state", text("closed")), ("closed_at", number(150))])).await;
    for gap in ["1000", "99999999999999"] {
        let gap = item([("ip", text("gaps")), ("entry", text(format!("{gap:0>20}#shard")))]);
        tables.dynamo.put(&tables.history, gap).await;
    }
    tables.dynamo.put(&tables.scans, record("1.1.1.1", 300, "b")).await;
    tables.dynamo.put(&tables.scans, record("1.1.1.2", 300, "a")).await;
    tables.delete("1.1.1.3").await;

    let notes = tables.filled(&[]).await;

    assert!(notes.contains("Repaired changes: 1 opened, 1 changed, 1 closed. Up to date: 1."), "{notes}");
    assert!(notes.contains("Repaired gaps: 1."), "{notes}");
    for (ip, event, time, state, response) in [
        ("1.1.1.1", "changed", "300", "open", "b"),
        ("1.1.1.3", "closed", "", "closed", ""),
        ("1.1.1.4", "opened", "100", "open", "a"),
    ] {
        let [entry] = tables.entries(ip).await.try_into().expect("one entry");
        let (at, sequence) = of(&entry, "entry").split_once("#00080#").expect("the key of an entry");
        assert!(sequence.starts_with(&"0".repeat(40)), "{sequence}");
        assert_eq!((of(&entry, "event"), of(&entry, "number"), of(&entry, "response")), (event, "", response));
        assert_eq!(entry["at_or_before"].as_bool(), Ok(&true));
        let summary = tables.summary(ip).await;
        assert_eq!((of(&summary, "state"), of(&summary, "repaired_event")), (state, event));
        assert_eq!((of(&summary, "changes"), of(&summary, "last_sequence")), ("1", of(&summary, "repaired_after")));
        assert_eq!(at.trim_start_matches('0'), of(&summary, "repaired_time"));
        assert!(time.is_empty() || of(&summary, "repaired_time") == time, "{summary:?}");
    }
    assert_eq!(tables.entries("1.1.1.2").await, []);
    let items = tables.items().await;
    let repaired = |gap: &str| items[&format!("gaps {gap:0>20}#shard")].contains_key("repaired_at");
    assert!(repaired("1000") && !repaired("99999999999999"));

    let notes = tables.filled(&[]).await;

    assert!(notes.contains("Repaired changes: 0 opened, 0 changed, 0 closed."), "{notes}");
    assert_eq!(tables.items().await, items);
}

#[tokio::test]
async fn a_changed_binary_response_is_repaired_although_its_text_is_the_same() {
    let binary = |timestamp, bytes: [u8; 2]| {
        let mut record = record("1.1.1.1", timestamp, "\u{fffd}\u{fffd}");
        record.insert("response_bytes".to_owned(), AttributeValue::B(Blob::new(bytes)));
        record
    };
    let tables = Tables::new([binary(100, [0xff, 0xfe])]).await;
    tables.filled(&[]).await;
    tables.dynamo.put(&tables.scans, binary(200, [0xfd, 0xff])).await;

    let notes = tables.filled(&[]).await;

    assert!(notes.contains("Repaired changes: 0 opened, 1 changed, 0 closed."), "{notes}");
}

#[tokio::test]
async fn a_repair_of_a_reopened_service_keeps_the_entry_of_its_close() {
    let tables = Tables::new([record("1.1.1.1", 100, "a")]).await;
    tables.filled(&[]).await;
    tables.dynamo.put(&tables.scans, record("1.1.1.1", 200, "b")).await;
    tables.filled(&[]).await;
    // A day later.
    tables.set("1.1.1.1", item([("repaired_at", number(200))])).await;
    tables.delete("1.1.1.1").await;
    tables.filled(&[]).await;
    let closed = tables.summary("1.1.1.1").await;
    assert_eq!((of(&closed, "repaired_event"), closed.get("repaired_hash")), ("closed", None));
    tables.set("1.1.1.1", item([("repaired_at", number(300))])).await;
    tables.dynamo.put(&tables.scans, record("1.1.1.1", 9_999_999_999, "b")).await;

    let notes = tables.filled(&[]).await;

    assert!(notes.contains("Repaired changes: 1 opened, 0 changed, 0 closed."), "{notes}");
    let entries = tables.entries("1.1.1.1").await;
    let events: Vec<_> = entries.iter().map(|entry| of(entry, "event")).collect();
    assert_eq!(events, ["changed", "closed", "opened"]);
}

#[tokio::test]
async fn a_service_whose_record_is_unreadable_stays_open_and_so_do_gaps() {
    let tables = Tables::new([record("1.1.1.1", 100, "a")]).await;
    tables.filled(&[]).await;
    let gap = item([("ip", text("gaps")), ("entry", text(format!("{:020}#shard", 1000)))]);
    tables.dynamo.put(&tables.history, gap).await;
    let mut newer = record("1.1.1.1", 200, "b");
    newer.remove("response");
    tables.dynamo.put(&tables.scans, newer).await;
    let before = tables.items().await;

    let notes = tables.filled(&[]).await;

    assert!(notes.contains("Repaired changes: 0 opened, 0 changed, 0 closed. Up to date: 0."), "{notes}");
    assert!(
        notes.contains("warning: 1 service not compared, because this version cannot read the records."),
        "{notes}"
    );
    assert_eq!(tables.items().await, before);
}

#[tokio::test]
async fn services_behind_other_masks_are_left_out_unless_their_hashes_are_replaced() {
    let tables = Tables::new([record("1.1.1.1", 100, "a 1"), record("1.1.1.2", 100, "b 1")]).await;
    tables.filled(&["--mask", "own=[0-9]+"]).await;
    let gap = item([("ip", text("gaps")), ("entry", text(format!("{:020}#shard", 1000)))]);
    tables.dynamo.put(&tables.history, gap).await;
    tables.dynamo.put(&tables.scans, record("1.1.1.1", 200, "a 2")).await;
    let before = tables.items().await;

    let notes = tables.filled(&[]).await;

    assert!(notes.contains("warning: 1 service not compared, because other masks made the hashes."), "{notes}");
    assert_eq!(tables.items().await, before);

    let notes = tables.filled(&["--rebase"]).await;

    assert!(notes.contains("Summaries that took the hashes of these masks: 2."), "{notes}");
    assert!(notes.contains("Repaired gaps: 1."), "{notes}");
    assert_eq!(tables.entries("1.1.1.1").await, []);
    assert_ne!(tables.summary("1.1.1.1").await["masks"], before["1.1.1.1 summary#00080#HTTP"]["masks"]);
    let notes = tables.filled(&[]).await;
    assert!(notes.contains("Up to date: 2."), "{notes}");
}

#[tokio::test]
async fn a_backfill_before_the_first_reader_is_refused() {
    let tables = Tables::new([record("1.1.1.1", 100, "a")]).await;
    let other = Tables { leases: unique("leases"), ..tables };
    create(&other.dynamo, &other.leases, &["leaseKey"]).await;

    let notes = ended(&other.backfill(&[]).run().await, 1);

    assert!(notes.contains("Start `mini-scan changes` first"), "{notes}");
    assert!(other.items().await.is_empty());
}
