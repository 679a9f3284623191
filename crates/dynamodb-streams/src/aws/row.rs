//! Rows of the lease table as items of DynamoDB, and the expressions that change them. Pure.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::types::AttributeValue;

use crate::lease::{Checkpoint, Lease, Owner};
use crate::ports::{Expected, LeaseUpdate};
use crate::sequence_number::SequenceNumber;
use crate::shard::ShardId;

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) const KEY: &str = "leaseKey";
const OWNER: &str = "leaseOwner";
const COUNTER: &str = "leaseCounter";
const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
const CHECKPOINT: &str = "checkpoint";
/// KCL reads this attribute. It is always 0, because records of DynamoDB have no parts.
const SUB_SEQUENCE_NUMBER: &str = "checkpointSubSequenceNumber";
const PARENT: &str = "parentShardId";
const CHILDREN: &str = "childShardIds";
const STARTING_SEQUENCE_NUMBER: &str = "startingSequenceNumber";
/// In milliseconds since 1970.
const START_TIMESTAMP: &str = "startTimestamp";
const HANDOVER_TO: &str = "handoverTo";

const TRIM_HORIZON: &str = "TRIM_HORIZON";
const AT_TIMESTAMP: &str = "AT_TIMESTAMP";
const SHARD_END: &str = "SHARD_END";

/// A row that this crate did not write.
#[derive(Debug, thiserror::Error)]
#[error("the row {key} of the lease table is not valid, because {attribute} is missing or wrong; correct or delete it")]
pub(super) struct InvalidRow {
    key: String,
    attribute: &'static str,
}

/// A change of a row: an update expression or a condition, with its names and values.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Expression {
    pub(super) names: HashMap<String, String>,
    pub(super) values: Item,
    set: Vec<String>,
    removed: Vec<String>,
    conditions: Vec<String>,
}

pub(super) fn item(lease: &Lease) -> Item {
    let mut item = Item::from([
        (KEY.to_owned(), text(&lease.key)),
        (COUNTER.to_owned(), number(lease.counter)),
        (OWNER_SWITCHES.to_owned(), number(lease.owner_switches)),
    ]);
    let mut put = |name: &str, value| drop(item.insert(name.to_owned(), value));
    for (name, value) in checkpoint_attributes(&lease.checkpoint) {
        if let Some(value) = value {
            put(name, value);
        }
    }
    if let Some(owner) = &lease.owner {
        put(OWNER, text(owner.as_str()));
    }
    if let Some(parent) = &lease.parent {
        put(PARENT, set([parent]));
    }
    if !lease.children.is_empty() {
        put(CHILDREN, set(&lease.children));
    }
    if let Some(start) = &lease.starting_sequence_number {
        put(STARTING_SEQUENCE_NUMBER, text(start.as_str()));
    }
    if let Some(owner) = &lease.handover_to {
        put(HANDOVER_TO, text(owner.as_str()));
    }
    item
}

pub(super) fn lease(item: &Item) -> Result<Lease, InvalidRow> {
    let string = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let key = string(KEY).cloned().unwrap_or_default();
    let invalid = |attribute| InvalidRow { key: key.clone(), attribute };
    let ids = |name: &str| {
        item.get(name).and_then(|value| value.as_ss().ok()).into_iter().flatten().map(|id| ShardId::new(id.as_str()))
    };
    let owner = |name: &str| string(name).map(|owner| Owner::new(owner.as_str()));
    Ok(Lease {
        owner: owner(OWNER),
        counter: integer(item, COUNTER).ok_or_else(|| invalid(COUNTER))?,
        owner_switches: integer(item, OWNER_SWITCHES).unwrap_or(0),
        checkpoint: checkpoint(item).ok_or_else(|| invalid(CHECKPOINT))?,
        parent: ids(PARENT).next(),
        children: ids(CHILDREN).collect(),
        starting_sequence_number: string(STARTING_SEQUENCE_NUMBER).map(|digits| SequenceNumber::new(digits.as_str())),
        handover_to: owner(HANDOVER_TO),
        key,
    })
}

fn checkpoint(item: &Item) -> Option<Checkpoint> {
    match item.get(CHECKPOINT)?.as_s().ok()?.as_str() {
        TRIM_HORIZON => Some(Checkpoint::TrimHorizon),
        SHARD_END => Some(Checkpoint::ShardEnd),
        AT_TIMESTAMP => {
            let start = Duration::from_millis(integer(item, START_TIMESTAMP)?);
            Some(Checkpoint::AtTimestamp(SystemTime::UNIX_EPOCH.checked_add(start)?))
        }
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Checkpoint::After(SequenceNumber::new(digits)))
        }
        _ => None,
    }
}

/// Returns the attributes of a checkpoint. None stands for an attribute that it does not have.
fn checkpoint_attributes(checkpoint: &Checkpoint) -> [(&'static str, Option<AttributeValue>); 3] {
    let (sequence, start) = match checkpoint {
        Checkpoint::TrimHorizon => (TRIM_HORIZON, None),
        Checkpoint::ShardEnd => (SHARD_END, None),
        Checkpoint::After(number) => (number.as_str(), None),
        Checkpoint::AtTimestamp(time) => {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            (AT_TIMESTAMP, Some(number(since.as_millis() as u64)))
        }
    };
    [(CHECKPOINT, Some(text(sequence))), (SUB_SEQUENCE_NUMBER, Some(number(0))), (START_TIMESTAMP, start)]
}

/// Returns the condition that no row has the key.
pub(super) fn absent() -> Expression {
    let mut expression = Expression::default();
    let key = expression.name(KEY);
    expression.conditions.push(format!("attribute_not_exists({key})"));
    expression
}

/// Returns the condition that the row exists and is as expected.
pub(super) fn expected(expected: &Expected) -> Expression {
    let mut expression = Expression::default();
    let (key, owner) = (expression.name(KEY), expression.name(OWNER));
    expression.conditions.push(format!("attribute_exists({key})"));
    let of_owner = match &expected.owner {
        Some(name) => format!("{owner} = {}", expression.value("expectedOwner", text(name.as_str()))),
        None => format!("attribute_not_exists({owner})"),
    };
    expression.conditions.push(of_owner);
    if let Some(counter) = expected.counter {
        let (name, value) = (expression.name(COUNTER), expression.value("expectedCounter", number(counter)));
        expression.conditions.push(format!("{name} = {value}"));
    }
    expression
}

/// Returns the change of a row that is as expected.
pub(super) fn change(condition: &Expected, update: &LeaseUpdate) -> Expression {
    let mut expression = expected(condition);
    if let Some(owner) = &update.owner {
        expression.put(OWNER, owner.as_ref().map(|owner| text(owner.as_str())));
    }
    if let Some(counter) = update.counter {
        expression.put(COUNTER, Some(number(counter)));
    }
    if let Some(switches) = update.owner_switches {
        expression.put(OWNER_SWITCHES, Some(number(switches)));
    }
    for (name, value) in update.checkpoint.iter().flat_map(checkpoint_attributes) {
        expression.put(name, value);
    }
    if let Some(children) = &update.children {
        expression.put(CHILDREN, (!children.is_empty()).then(|| set(children)));
    }
    if let Some(owner) = &update.handover_to {
        expression.put(HANDOVER_TO, owner.as_ref().map(|owner| text(owner.as_str())));
    }
    expression
}

impl Expression {
    /// Returns the placeholder of a name, because some names may be reserved words.
    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, name: &str, value: AttributeValue) -> String {
        let placeholder = format!(":{name}");
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    /// Sets an attribute, or removes it if there is no value.
    fn put(&mut self, name: &str, value: Option<AttributeValue>) {
        let attribute = self.name(name);
        match value {
            Some(value) => {
                let value = self.value(name, value);
                self.set.push(format!("{attribute} = {value}"));
            }
            None => self.removed.push(attribute),
        }
    }

    pub(super) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    pub(super) fn update(&self) -> Option<String> {
        let clause = |verb, parts: &[String]| (!parts.is_empty()).then(|| format!("{verb} {}", parts.join(", ")));
        let clauses = [clause("SET", &self.set), clause("REMOVE", &self.removed)];
        clauses.into_iter().flatten().reduce(|set, removed| format!("{set} {removed}"))
    }

    /// Returns the values, or None if there are none: DynamoDB refuses an empty list.
    pub(super) fn some_values(&self) -> Option<Item> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

pub(super) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn integer(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

fn set<'a>(ids: impl IntoIterator<Item = &'a ShardId>) -> AttributeValue {
    AttributeValue::Ss(ids.into_iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests;
