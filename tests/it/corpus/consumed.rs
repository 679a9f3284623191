//! The corpus through the real consumer: every case ends in the table or as a dead letter.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::engine::{Engine, general_purpose::STANDARD};
use google_cloud_pubsub::model::Message;

use super::{Case, Expected, cases, shortened};
use crate::support::dynamo::{Item, number, text};
use crate::support::pipeline::Pipeline;

#[tokio::test]
async fn every_case_of_the_corpus_is_stored_or_dead_lettered() {
    every_case_is_stored_or_dead_lettered("put").await;
}

#[tokio::test]
async fn every_case_of_the_corpus_is_stored_or_dead_lettered_when_written_in_batches() {
    every_case_is_stored_or_dead_lettered("batch").await;
}

async fn every_case_is_stored_or_dead_lettered(write_mode: &str) {
    let cases = cases();
    let pipeline = Pipeline::new().await;
    let published = pipeline.pubsub.try_publish(&pipeline.topic, cases.iter().map(message)).await;
    assert!(published.iter().all(Result::is_ok), "{published:?}");
    let _consumer = pipeline.consumer().arguments(["--write-mode", write_mode]).start();

    let rejected: Vec<_> = cases.iter().filter(|case| matches!(case.expect, Expected::Rejected { .. })).collect();
    let dead_letters = pipeline.dead_letters(rejected.len()).await;
    pipeline.drained().await;
    let by_case = |message: &Message| message.attributes["case"].clone();
    let dead_letters: BTreeMap<_, _> = dead_letters.into_iter().map(|message| (by_case(&message), message)).collect();
    for Case { name, payload_b64, expect } in rejected {
        let dead_letter = dead_letters.get(name).unwrap_or_else(|| panic!("{name} has no dead letter"));
        let Expected::Rejected { reason } = expect else { continue };
        assert_eq!(STANDARD.encode(&dead_letter.data), *payload_b64, "{name}");
        assert!(reason.contains(&dead_letter.attributes["rejection_reason"]), "{name}: {:?}", dead_letter.attributes);
    }

    let newest = newest(&cases);
    let rows = pipeline.rows(newest.len()).await;
    assert_eq!(rows.keys().collect::<Vec<_>>(), newest.keys().copied().collect::<Vec<_>>());
    for (pk, candidates) in newest {
        let row = &rows[pk];
        // Of equal timestamps the first to be written stays, and the order of the writes is not known.
        let names: Vec<_> = candidates.iter().map(|case| &case.name).collect();
        assert!(candidates.iter().any(|case| item(&case.expect) == *row), "{names:?}: {}", shortened(row));
    }
}

/// Returns the message of a case. An attribute has the name of the case, to identify its dead letter.
fn message(case: &Case) -> Message {
    let payload = STANDARD.decode(&case.payload_b64).expect("the corpus is base64");
    Message::new().set_data(payload).set_attributes([("case", case.name.as_str())])
}

/// Returns the cases with the newest timestamp of each key.
fn newest(cases: &[Case]) -> BTreeMap<&str, Vec<&Case>> {
    let mut newest: BTreeMap<&str, (u64, Vec<&Case>)> = BTreeMap::new();
    for case in cases {
        let Expected::Stored { pk, timestamp, .. } = &case.expect else { continue };
        let (seen, candidates) = newest.entry(pk).or_default();
        if timestamp > seen {
            (*seen, *candidates) = (*timestamp, Vec::new());
        }
        if timestamp == seen {
            candidates.push(case);
        }
    }
    newest.into_iter().map(|(pk, (_, candidates))| (pk, candidates)).collect()
}

/// Returns the row of a stored case.
fn item(expected: &Expected) -> Item {
    let Expected::Stored { pk, response, timestamp, data_version, response_bytes_b64 } = expected else {
        return Item::new();
    };
    let mut parts = pk.splitn(3, '#');
    let mut part = || parts.next().expect("a key has three parts");
    let (ip, port, service) = (part(), part(), part());
    let mut item = Item::from([
        ("pk".to_owned(), text(pk)),
        ("ip".to_owned(), text(ip)),
        ("port".to_owned(), number(port)),
        ("service".to_owned(), text(service)),
        ("timestamp".to_owned(), number(timestamp)),
        ("response".to_owned(), text(response)),
        ("data_version".to_owned(), number(data_version)),
    ]);
    if let Some(bytes) = response_bytes_b64 {
        let bytes = STANDARD.decode(bytes).expect("the corpus is base64");
        item.insert("response_bytes".to_owned(), AttributeValue::B(Blob::new(bytes)));
    }
    item
}
