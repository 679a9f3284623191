//! A backfill beside a reader that has the same changes still before it.

use super::{Tables, of, record};
use crate::support::dynamo::{Dynamo, Item};
use crate::support::program::{Launch, Signal, mini_scan};
use crate::support::{unique, with_progress};

/// Creates the tables with `mini-scan setup`, with a stream.
async fn with_stream() -> Tables {
    let dynamo = Dynamo::connect();
    let scans = dynamo.table().await;
    let [history, leases] = ["history", "leases"].map(unique);
    let names = ["--table", &scans, "--history-table", &history, "--lease-table", &leases];
    let setup = mini_scan(["setup", "changes"]).arguments(names);
    let exit = setup.env("AWS_ENDPOINT_URL_DYNAMODB", &dynamo.endpoint).run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    Tables { dynamo, scans, history, leases, folder: tempfile::tempdir().expect("a temporary directory") }
}

fn reader(tables: &Tables) -> Launch {
    let names = ["--table", &tables.scans, "--history-table", &tables.history, "--lease-table", &tables.leases];
    mini_scan(["changes"]).arguments(names).env("AWS_ENDPOINT_URL_DYNAMODB", &tables.dynamo.endpoint)
}

/// Reads the stream until each address has these events in its entries, and no others.
async fn read_until(tables: &Tables, expected: [(&str, &[&str]); 2]) {
    let program = reader(tables).start();
    with_progress("the entries of both addresses", async || {
        for (ip, events) in expected {
            let entries = tables.entries(ip).await;
            let found: Vec<_> = entries.iter().map(|entry| of(entry, "event")).collect();
            if found != events || entries.iter().any(|entry| of(entry, "number").is_empty()) {
                return Err(entries.len());
            }
        }
        Ok(())
    })
    .await;
    program.signal(Signal::Terminate).await;
    let exit = program.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
}

#[tokio::test]
async fn a_change_of_the_stream_replaces_its_repair() {
    let tables = with_stream().await;
    for ip in ["1.1.1.1", "1.1.1.2"] {
        tables.dynamo.put(&tables.scans, record(ip, 100, "a")).await;
    }
    read_until(&tables, [("1.1.1.1", &["opened"]), ("1.1.1.2", &["opened"])]).await;
    tables.dynamo.put(&tables.scans, record("1.1.1.1", 200, "b")).await;
    tables.dynamo.put(&tables.scans, record("1.1.1.1", 300, "c")).await;
    tables.delete("1.1.1.2").await;

    let notes = tables.filled(&[]).await;

    assert!(notes.contains("Repaired changes: 0 opened, 1 changed, 1 closed."), "{notes}");
    let is_repair = |entry: &Item| entry.contains_key("at_or_before");
    for ip in ["1.1.1.1", "1.1.1.2"] {
        assert_eq!(tables.entries(ip).await.iter().filter(|entry| is_repair(entry)).count(), 1);
    }

    // The repair of the close has the time of its read, which is later than that of the change.
    read_until(&tables, [("1.1.1.1", &["opened", "changed", "changed"]), ("1.1.1.2", &["opened", "closed"])]).await;

    for (ip, state, numbers) in [("1.1.1.1", "open", vec!["1", "2", "3"]), ("1.1.1.2", "closed", vec!["1", "2"])] {
        let entries = tables.entries(ip).await;
        assert!(!entries.iter().any(is_repair), "{entries:#?}");
        assert_eq!(entries.iter().map(|entry| of(entry, "number")).collect::<Vec<_>>(), numbers);
        let summary = tables.summary(ip).await;
        assert_eq!((of(&summary, "state"), of(&summary, "changes")), (state, *numbers.last().expect("not empty")));
    }
    let items = tables.items().await;
    assert!(tables.filled(&[]).await.contains("Repaired changes: 0 opened, 0 changed, 0 closed. Up to date: 1."));
    assert_eq!(tables.items().await, items);
}
