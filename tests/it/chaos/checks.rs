//! The checks at the end of a run. Each prints its result.

use std::collections::BTreeSet;
use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use google_cloud_pubsub::model;
use serde_json::{Map, Value, json};

use super::observer::Observed;
use super::publisher::Publisher;
use crate::support::dynamo::Item;

/// The number of differences that a failed check prints.
const SHOWN: usize = 5;

/// Prints the result of each check and counts the failed ones.
#[derive(Default)]
pub(super) struct Checks {
    failed: usize,
}

impl Checks {
    /// Checks that `differences`, which contradict `statement`, is empty.
    pub(super) fn no_differences(&mut self, statement: impl Display, differences: &[impl Display]) {
        match differences.len() {
            0 => println!("  ✓ {statement}"),
            count => {
                self.failed += 1;
                println!("  ✗ {statement}: {count} differences");
                differences.iter().take(SHOWN).for_each(|difference| println!("      {difference}"));
            }
        }
    }

    /// Checks that `statement` is true.
    pub(super) fn that(&mut self, is_true: bool, statement: impl Display) {
        self.no_differences(statement, if is_true { &[] } else { &["false"] });
    }

    pub(super) fn passed(&self) -> bool {
        self.failed == 0
    }
}

/// Checks that every key has its newest scan, and that the table's stream ends with the same rows.
pub(super) fn check_table(checks: &mut Checks, publisher: &Publisher, rows: &[Item], observed: &Observed) {
    let rows: Vec<Value> = rows.iter().map(json_of).collect();
    let check = publisher.truth.check_table(&rows);
    checks.no_differences(
        format_args!("{} of {} keys have their newest scan", check.right, check.expected),
        &check.differences,
    );
    checks.no_differences(
        format_args!("no timestamp went backwards in {} writes", observed.records),
        &observed.violations,
    );
    let differs = |row: &&Value| {
        let last = row["pk"]["S"].as_str().and_then(|key| observed.timestamps.get(key));
        last.map(u64::to_string).as_deref() != row["timestamp"]["N"].as_str()
    };
    let differences: Vec<_> = rows.iter().filter(differs).collect();
    checks.no_differences(format_args!("the table's stream ends with its {} rows", rows.len()), &differences);
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

/// Checks that every broken message has a dead letter with its exact payload and reason, and no other message has one.
pub(super) fn check_dead_letters(checks: &mut Checks, publisher: &Publisher, dead_letters: &[model::Message]) {
    let mut missing: BTreeSet<&str> = publisher.broken.keys().map(String::as_str).collect();
    let mut differences = Vec::new();
    for dead_letter in dead_letters {
        let attribute = |name: &str| dead_letter.attributes.get(name).map_or("nothing", String::as_str);
        let (id, reason) = (attribute("source_message_id"), attribute("rejection_reason"));
        match publisher.broken.get(id) {
            Some((expected, payload)) if expected.as_str() == reason && *payload == dead_letter.data => {
                missing.remove(id);
            }
            Some((expected, _)) => {
                differences.push(format!("{id}: {reason} instead of {expected}, or another payload"));
            }
            None => differences.push(format!("{id}: {reason}, but that message is not broken")),
        }
    }
    differences.extend(missing.iter().map(|id| format!("{id}: no dead letter")));
    let (expected, right) = (publisher.broken.len(), publisher.broken.len() - missing.len());
    let count = dead_letters.len();
    let statement = format!("{right} of {expected} broken messages have a dead letter, {count} dead letters in total");
    checks.no_differences(statement, &differences);
}
