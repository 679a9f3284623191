//! The checks at the end of a run. Each prints its result.

use std::collections::BTreeSet;
use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use google_cloud_pubsub::model;
use serde_json::{Map, Value, json};

use super::log::Log;
use super::publisher::Publisher;
use super::stream::Observed;
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

    /// Checks that a fault had an effect at least half as often as planned. It has none while its instance is down, while
    /// there is nothing to receive, or during another fault.
    pub(super) fn happened(&mut self, fault: impl Display, happened: u64, planned: impl TryInto<u64>) {
        let planned = planned.try_into().unwrap_or(u64::MAX);
        let is_enough = happened.saturating_mul(2) >= planned;
        self.failed += usize::from(!is_enough);
        let mark = if is_enough { '✓' } else { '✗' };
        println!("  {mark} {happened:>7} of {planned:>5} planned  {fault}");
    }

    pub(super) fn passed(&self) -> bool {
        self.failed == 0
    }
}

/// Checks every acknowledgement of the log, and the log by the table's stream.
pub(super) fn check_acknowledgements(checks: &mut Checks, log: &Log, observed: &Observed) {
    let audit = log.audit();
    let statement = format!("the table or a dead letter had what each of {} acks needs", audit.acknowledgements());
    checks.no_differences(statement, audit.violations());
    checks.no_differences("every message was acknowledged", &audit.never_acknowledged());
    checks
        .no_differences("the responses of the store agree with the table's stream", &observed.compare(&log.entries()));
}

/// Checks that every key has its newest scan.
pub(super) fn check_newest(checks: &mut Checks, publisher: &Publisher, rows: &[Item]) {
    let rows: Vec<Value> = rows.iter().map(json_of).collect();
    let check = publisher.truth.check_table(&rows);
    checks.no_differences(
        format_args!("{} of {} keys have their newest scan", check.right, check.expected),
        &check.differences,
    );
}

/// Checks that timestamps only increase, and that the table's stream ends with the same rows.
pub(super) fn check_stream(checks: &mut Checks, rows: &[Item], observed: &Observed) {
    let rows: Vec<Value> = rows.iter().map(json_of).collect();
    checks.no_differences(
        format_args!("no timestamp went backwards in {} writes", observed.records),
        &observed.violations,
    );
    let differs = |row: &&Value| {
        let last = row["pk"]["S"].as_str().and_then(|key| observed.timestamp(key));
        last.map(|last| last.to_string()).as_deref() != row["timestamp"]["N"].as_str()
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

/// Checks that every broken or refused message has a dead letter with its exact payload and reason, and no other message
/// has one.
pub(super) fn check_dead_letters(checks: &mut Checks, publisher: &Publisher, dead_letters: &[model::Message]) {
    let mut missing: BTreeSet<&str> = publisher.rejected.keys().map(String::as_str).collect();
    let mut differences = Vec::new();
    for dead_letter in dead_letters {
        let attribute = |name: &str| dead_letter.attributes.get(name).map_or("nothing", String::as_str);
        let (id, reason) = (attribute("source_message_id"), attribute("rejection_reason"));
        match publisher.rejected.get(id) {
            Some((expected, payload)) if expected.as_str() == reason && *payload == dead_letter.data => {
                missing.remove(id);
            }
            Some((expected, _)) => {
                differences.push(format!("{id}: {reason} instead of {expected}, or another payload"));
            }
            None => differences.push(format!("{id}: {reason}, but that message is a valid scan")),
        }
    }
    differences.extend(missing.iter().map(|id| format!("{id}: no dead letter")));
    let (expected, right) = (publisher.rejected.len(), publisher.rejected.len() - missing.len());
    let count = dead_letters.len();
    let statement =
        format!("{right} of {expected} broken or refused messages have a dead letter, {count} dead letters in total");
    checks.no_differences(statement, &differences);
}
