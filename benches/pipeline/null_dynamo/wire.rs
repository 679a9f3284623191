//! Parses writes as the SDK sends them, and only the fields that the null table needs.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

/// The bytes of a record per write unit. A started unit counts as one.
const UNIT_BYTES: usize = 1024;
/// The attributes of every record.
const NAMES: [&str; 7] = ["pk", "ip", "port", "service", "timestamp", "response", "data_version"];

#[derive(Deserialize)]
pub(super) struct Put<'a> {
    #[serde(borrow, rename = "Item")]
    item: HashMap<&'a str, Value<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Batch<'a> {
    #[serde(borrow, rename = "Statements")]
    pub(super) statements: Vec<Statement<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Statement<'a> {
    #[serde(borrow, rename = "Statement")]
    text: Cow<'a, str>,
    /// For an insert: the record, its key first. For an update: the record, its key last, and its timestamp again.
    #[serde(borrow, rename = "Parameters")]
    parameters: Vec<Value<'a>>,
}

#[derive(Deserialize)]
pub(super) enum Value<'a> {
    #[serde(borrow)]
    S(Cow<'a, str>),
    #[serde(borrow)]
    N(Cow<'a, str>),
    #[serde(borrow)]
    B(Cow<'a, str>),
}

/// The record of a write.
pub(super) struct Record<'a> {
    pub(super) key: &'a str,
    pub(super) timestamp: u64,
    pub(super) units: u64,
}

impl Put<'_> {
    pub(super) fn record(&self) -> Option<Record<'_>> {
        let timestamp = self.item.get("timestamp")?.number()?;
        let bytes = self.item.iter().map(|(name, value)| name.len() + value.bytes()).sum();
        Some(Record { key: self.item.get("pk")?.text(), timestamp, units: units(bytes) })
    }
}

impl Statement<'_> {
    pub(super) fn is_insert(&self) -> bool {
        self.text.starts_with("INSERT")
    }

    pub(super) fn record(&self) -> Option<Record<'_>> {
        let (record, key, timestamp) = match (self.is_insert(), &self.parameters[..]) {
            (true, record @ [key, _, _, _, timestamp, ..]) => (record, key, timestamp),
            (false, [.., key, timestamp]) => (&self.parameters[..self.parameters.len() - 1], key, timestamp),
            _ => return None,
        };
        let names: usize = NAMES.iter().map(|name| name.len()).sum();
        let bytes = names + record.iter().map(Value::bytes).sum::<usize>();
        Some(Record { key: key.text(), timestamp: timestamp.number()?, units: units(bytes) })
    }
}

impl Value<'_> {
    fn text(&self) -> &str {
        match self {
            Value::S(text) | Value::N(text) | Value::B(text) => text,
        }
    }

    fn number(&self) -> Option<u64> {
        self.text().parse().ok()
    }

    fn bytes(&self) -> usize {
        match self {
            Value::S(text) => text.len(),
            // DynamoDB counts one byte, and one per two digits.
            Value::N(number) => 1 + number.len().div_ceil(2),
            Value::B(base64) => base64.len() / 4 * 3,
        }
    }
}

/// Returns the write units of a record of this many bytes.
pub(super) fn units(bytes: usize) -> u64 {
    bytes.div_ceil(UNIT_BYTES).max(1) as u64
}
