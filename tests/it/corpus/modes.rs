//! The corpus and a backlog of many keys through both write modes. The tables must be equal, also in the AWS CLI.

use std::collections::HashSet;
use std::process::Command;

use base64::engine::{Engine, general_purpose::STANDARD};
use bytes::Bytes;
use mini_scan::local::generator::{Generator, Kind, Shares};
use serde_json::Value;

use super::{Case, Expected, cases};
use crate::support::pipeline::Pipeline;
use crate::support::test_name;

/// Generated messages and their keys.
const GENERATED: usize = 1_000;
const KEYS: u64 = 300;
/// The first timestamp of a generated message. No case of the corpus has one near it.
const NOW: u64 = 1_741_000_000;

#[tokio::test]
async fn both_write_modes_leave_the_same_table() {
    let payloads = payloads();
    let mut tables = Vec::new();
    for write_mode in ["put", "batch"] {
        let pipeline = Pipeline::new().await;
        pipeline.publish(payloads.iter().cloned()).await;
        let _consumer = pipeline.consumer().arguments(["--write-mode", write_mode]).start();
        pipeline.drained().await;
        tables.push((pipeline.rows(0).await, scan_with_cli(&pipeline)));
    }

    let [(put, put_in_cli), (batch, batch_in_cli)] = &tables[..] else { panic!("two modes") };
    assert!(put.len() > 200, "only {} rows", put.len());
    assert!(put == batch, "the tables differ");
    assert!(put_in_cli == batch_in_cli, "the tables differ in the AWS CLI");
    if let Some(items) = put_in_cli {
        assert_eq!(items.len(), put.len());
    }
}

/// Returns the payloads of the test. No two of them have the same key and timestamp but different content, because the
/// order of the writes would decide which of them stays.
fn payloads() -> Vec<Bytes> {
    let mut seen = HashSet::new();
    let mut is_first = |Case { expect, .. }: &Case| match expect {
        Expected::Stored { pk, timestamp, .. } => seen.insert((pk.clone(), *timestamp)),
        Expected::Rejected { .. } => true,
    };
    let corpus = cases().into_iter().filter(|case| is_first(case));
    let corpus = corpus.map(|case| STANDARD.decode(case.payload_b64).expect("the corpus is base64").into());
    // Pub/Sub rejects an empty message.
    let corpus = corpus.filter(|payload: &Bytes| !payload.is_empty());
    let mut generator = Generator::new(3, Shares { duplicates: 0.2, late: 0.2, broken: 0.0 }, KEYS);
    let generated = (0..GENERATED).map(|n| {
        let message = generator.next_at(NOW + n as u64);
        assert!(!matches!(message.kind, Kind::Broken(_)));
        message.payload
    });
    corpus.chain(generated).collect()
}

/// Returns the items that `aws dynamodb scan` prints, in the order of their keys, if the AWS CLI is installed.
fn scan_with_cli(pipeline: &Pipeline) -> Option<Vec<Value>> {
    let mut command = Command::new("aws");
    command
        .args(["dynamodb", "scan", "--output", "json", "--consistent-read", "--table-name", &pipeline.table])
        .args(["--endpoint-url", &pipeline.dynamo.endpoint])
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local");
    let Ok(output) = command.output() else {
        println!("{}: NOT RUN: the AWS CLI is not installed", test_name());
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut json: Value = serde_json::from_slice(&output.stdout).expect("the AWS CLI prints JSON");
    let Value::Array(mut items) = json["Items"].take() else { panic!("no items: {json}") };
    items.sort_by_key(|item| item["pk"]["S"].to_string());
    Some(items)
}
