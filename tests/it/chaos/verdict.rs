//! What must be so at the end: each thing is looked at, and said.

use std::collections::BTreeSet;
use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use google_cloud_pubsub::model;
use serde_json::{Map, Value, json};

use super::publisher::Publisher;
use super::witness::Witnessed;
use crate::support::dynamo::Item;

/// Differences that are shown of each check.
const SHOWN: usize = 5;

/// What was looked at, and whether all of it was right.
#[derive(Default)]
pub(super) struct Decision {
    wrong: usize,
}

impl Decision {
    /// Says whether `statement` is true; if `differences` has any, it is not.
    pub(super) fn holds(&mut self, statement: impl Display, differences: &[impl Display]) {
        match differences.len() {
            0 => println!("  ✓ {statement}"),
            count => {
                self.wrong += 1;
                println!("  ✗ {statement}: {count} differences");
                differences.iter().take(SHOWN).for_each(|difference| println!("      {difference}"));
            }
        }
    }

    /// Says whether `statement` is true.
    pub(super) fn is_so(&mut self, is_so: bool, statement: impl Display) {
        self.holds(statement, if is_so { &[] } else { &["it is not so"] });
    }

    pub(super) fn passed(&self) -> bool {
        self.wrong == 0
    }
}

/// Every key holds its newest, and the stream of the table ends with the same.
pub(super) fn table(verdict: &mut Decision, publisher: &Publisher, rows: &[Item], witnessed: &Witnessed) {
    let rows: Vec<Value> = rows.iter().map(json_of).collect();
    let check = publisher.truth.check_table(&rows);
    verdict
        .holds(format_args!("{} of {} keys hold their newest scan", check.right, check.expected), &check.differences);
    verdict.holds(format_args!("no timestamp went backwards in {} writes", witnessed.records), &witnessed.wrong);
    let differs = |row: &&Value| {
        let seen = row["pk"]["S"].as_str().and_then(|key| witnessed.timestamps.get(key));
        seen.map(u64::to_string).as_deref() != row["timestamp"]["N"].as_str()
    };
    let differences: Vec<_> = rows.iter().filter(differs).collect();
    verdict.holds(format_args!("the stream of the table ends with the {} rows of it", rows.len()), &differences);
}

fn json_of(row: &Item) -> Value {
    let attributes = row.iter().map(|(name, value)| {
        let value = match value {
            AttributeValue::S(text) => json!({ "S": text }),
            AttributeValue::N(number) => json!({ "N": number }),
            other => json!(format!("{other:?}")),
        };
        (name.clone(), value)
    });
    Value::Object(attributes.collect::<Map<_, _>>())
}

/// Every broken message has its letter, byte for byte and with its reason, and nothing else has one.
pub(super) fn letters(verdict: &mut Decision, publisher: &Publisher, letters: &[model::Message]) {
    let mut missing: BTreeSet<&str> = publisher.broken.keys().map(String::as_str).collect();
    let mut differences = Vec::new();
    for letter in letters {
        let attribute = |name: &str| letter.attributes.get(name).map_or("nothing", String::as_str);
        let (id, reason) = (attribute("source_message_id"), attribute("rejection_reason"));
        match publisher.broken.get(id) {
            Some((expected, payload)) if expected.as_str() == reason && *payload == letter.data => {
                missing.remove(id);
            }
            Some((expected, _)) => differences.push(format!("{id}: {reason} in place of {expected}, or other bytes")),
            None => differences.push(format!("{id}: {reason}, but that message is not broken")),
        }
    }
    differences.extend(missing.iter().map(|id| format!("{id}: no letter")));
    let (expected, right) = (publisher.broken.len(), publisher.broken.len() - missing.len());
    let statement = format!("{right} of {expected} broken messages have their letter, in {} letters", letters.len());
    verdict.holds(statement, &differences);
}
