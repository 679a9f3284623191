//! The corpus through the real consumer: what is in the table and what is among the dead letters in the end.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::engine::{Engine, general_purpose::STANDARD};
use google_cloud_pubsub::model::Message;

use super::{Case, Expected, cases, shortened};
use crate::support::dynamo::{Item, number, text};
use crate::support::pipeline::Pipeline;

#[tokio::test]
async fn every_case_of_the_corpus_ends_in_the_table_or_among_the_dead_letters() {
    ends_in_its_place("put").await;
}

#[tokio::test]
async fn every_case_of_the_corpus_ends_in_the_same_place_when_written_in_batches() {
    ends_in_its_place("batch").await;
}

async fn ends_in_its_place(write_mode: &str) {
    let cases = cases();
    let pipeline = Pipeline::new().await;
    let published = pipeline.pubsub.try_publish(&pipeline.topic, cases.iter().map(message)).await;
    assert!(published.iter().all(Result::is_ok), "{published:?}");
    let _consumer = pipeline.consumer().arguments(["--write-mode", write_mode]).start();

    let rejected: Vec<_> = cases.iter().filter(|case| matches!(case.expect, Expected::Rejected { .. })).collect();
    let letters = pipeline.dead_letters(rejected.len()).await;
    pipeline.drained().await;
    let letters: BTreeMap<_, _> = letters.iter().map(|letter| (letter.attributes["case"].as_str(), letter)).collect();
    for Case { name, payload_b64, expect } in rejected {
        let letter = letters.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no dead letter"));
        let Expected::Rejected { reason } = expect else { continue };
        assert_eq!(STANDARD.encode(&letter.data), *payload_b64, "{name}");
        assert!(reason.contains(&letter.attributes["rejection_reason"]), "{name}: {:?}", letter.attributes);
    }

    let rows = pipeline.rows(0).await;
    let newest = newest(&cases);
    assert_eq!(rows.keys().collect::<Vec<_>>(), newest.keys().copied().collect::<Vec<_>>());
    for (pk, candidates) in newest {
        let row = &rows[pk];
        // Equal timestamps keep the first to be written, whichever that was.
        let names: Vec<_> = candidates.iter().map(|case| &case.name).collect();
        assert!(candidates.iter().any(|case| item(&case.expect) == *row), "{names:?}: {}", shortened(row));
    }
}

/// The payload, and the name of the case to know its dead letter by.
fn message(case: &Case) -> Message {
    let payload = STANDARD.decode(&case.payload_b64).expect("the corpus is base64");
    Message::new().set_data(payload).set_attributes([("case", case.name.as_str())])
}

/// The cases with the newest timestamp of each key.
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

/// The whole row of a stored case.
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
