//! The expected contents of the table and of the dead-letter subscription, computed from the published messages. This
//! module must not know the consumer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use demo::Check;
use serde_json::{Value, json};

use crate::local::generator::{Kind, Message, Record};

/// The number of characters of a payload to show.
const EXCERPT: usize = 100;

/// The ground truth: the newest scan of each key, and every broken message.
#[derive(Debug, Default)]
pub struct Truth {
    newest: BTreeMap<String, Record>,
    broken: BTreeMap<(&'static str, Bytes), usize>,
}

/// A message on the dead-letter subscription.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub payload: Bytes,
    /// The attribute `rejection_reason`.
    pub reason: Option<String>,
}

impl Truth {
    pub fn of<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Truth {
        let mut truth = Truth::default();
        messages.into_iter().for_each(|message| truth.note(message));
        truth
    }

    /// Adds a message.
    pub fn note(&mut self, message: &Message) {
        let Message { payload, kind } = message;
        match kind {
            Kind::New(record) | Kind::Duplicate(record) | Kind::Late(record) => self.add_scan(record),
            Kind::Broken(reason) => *self.broken.entry((reason.as_str(), payload.clone())).or_default() += 1,
        }
    }

    fn add_scan(&mut self, record: &Record) {
        let newest = self.newest.entry(record.key()).or_insert_with(|| record.clone());
        if newest.timestamp < record.timestamp {
            *newest = record.clone();
        }
    }

    pub fn keys(&self) -> usize {
        self.newest.len()
    }

    pub fn broken(&self) -> usize {
        self.broken.values().sum()
    }

    /// Checks that the table has the newest scan of every key, with exactly its attributes, and no other keys. `items`
    /// are in DynamoDB's JSON.
    pub fn check_table(&self, items: &[Value]) -> Check {
        let mut differences = Vec::new();
        let mut found: HashMap<&str, &Value> = HashMap::new();
        for item in items {
            match item["pk"]["S"].as_str().filter(|key| self.newest.contains_key(*key)) {
                Some(key) => drop(found.insert(key, item)),
                None => differences.push(format!("unexpected record: {}", excerpt(&item.to_string()))),
            }
        }
        for (key, record) in &self.newest {
            let expected = item(record);
            match found.get(key.as_str()) {
                Some(item) if **item == expected => {}
                Some(item) => differences.push(format!("{key}: {}", difference(&expected, item))),
                None => differences.push(format!("{key}: no record")),
            }
        }
        Check {
            expected: self.keys(),
            right: self.newest.iter().filter(|(key, record)| found.get(key.as_str()) == Some(&&item(record))).count(),
            differences,
        }
    }

    /// Checks that every broken message is there at least once, byte for byte and with its reason, and no other
    /// message.
    pub fn check_dead_letters(&self, dead_letters: &[DeadLetter]) -> Check {
        let mut missing: BTreeMap<(&str, &Bytes), usize> =
            self.broken.iter().map(|((reason, payload), count)| ((*reason, payload), *count)).collect();
        let mut differences = Vec::new();
        let mut right = 0;
        for DeadLetter { payload, reason } in dead_letters {
            let reason = reason.as_deref().unwrap_or("no reason");
            match missing.get_mut(&(reason, payload)) {
                Some(0) => {} // A redelivery: Pub/Sub delivers at least once.
                Some(count) => {
                    *count -= 1;
                    right += 1;
                }
                None => differences.push(format!("unexpected dead letter ({reason}): {}", text(payload))),
            }
        }
        for ((reason, payload), count) in missing {
            differences.extend((0..count).map(|_| format!("missing dead letter ({reason}): {}", text(payload))));
        }
        Check { expected: self.broken(), right, differences }
    }
}

/// Returns the item of a record.
fn item(record: &Record) -> Value {
    json!({
        "pk": { "S": record.key() },
        "ip": { "S": record.ip },
        "port": { "N": record.port.to_string() },
        "service": { "S": record.service },
        "timestamp": { "N": record.timestamp.to_string() },
        "response": { "S": record.response },
        "data_version": { "N": record.data_version.to_string() },
    })
}

/// Describes the attributes that differ.
fn difference(expected: &Value, found: &Value) -> String {
    let (Value::Object(expected), Value::Object(found)) = (expected, found) else {
        return "not an item".to_owned();
    };
    let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let different = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
    let parts: Vec<_> = different
        .map(|name| format!("{name} is {}, not {}", show(found.get(name)), show(expected.get(name))))
        .collect();
    parts.join("; ")
}

/// Formats the value of an attribute: text with quotation marks, numbers without.
fn show(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(value) => match value["N"].as_str() {
            Some(number) => number.to_owned(),
            None => excerpt(&value.get("S").unwrap_or(value).to_string()),
        },
    }
}

fn text(payload: &[u8]) -> String {
    excerpt(&String::from_utf8_lossy(&payload[..payload.len().min(4 * EXCERPT)]))
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::generator::{Generator, Shares};

    const SHARES: Shares = Shares { duplicates: 0.1, late: 0.1, broken: 0.1 };

    fn messages() -> Vec<Message> {
        let mut generator = Generator::new(1, SHARES, 50);
        (0..1_000).map(|second| generator.next_at(1_740_298_125 + second)).collect()
    }

    fn items(truth: &Truth) -> Vec<Value> {
        truth.newest.values().map(item).collect()
    }

    fn dead_letters(messages: &[Message]) -> Vec<DeadLetter> {
        let dead_letter = |message: &Message| match message.kind {
            Kind::Broken(reason) => {
                Some(DeadLetter { payload: message.payload.clone(), reason: Some(reason.to_string()) })
            }
            _ => None,
        };
        messages.iter().filter_map(dead_letter).collect()
    }

    #[test]
    fn the_truth_does_not_depend_on_the_order_of_messages() {
        let mut messages = messages();
        let truth = Truth::of(&messages);
        messages.reverse();
        assert_eq!(Truth::of(&messages).newest, truth.newest);
    }

    #[test]
    fn a_correct_table_passes() {
        let truth = Truth::of(&messages());
        let check = truth.check_table(&items(&truth));
        assert_eq!(check, Check { expected: truth.keys(), right: truth.keys(), differences: vec![] });
    }

    #[test]
    fn every_wrong_attribute_is_reported() {
        let truth = Truth::of(&messages());
        for (name, value) in [
            ("timestamp", json!({ "N": "1" })),
            ("timestamp", json!({ "S": "1740298125" })),
            ("response", json!({ "S": "" })),
            ("data_version", json!({ "N": "3" })),
            ("expires_at", json!({ "N": "1" })),
        ] {
            let mut items = items(&truth);
            items[7][name] = value;
            let check = truth.check_table(&items);
            assert_eq!((check.right, check.differences.len()), (truth.keys() - 1, 1), "{check:?}");
            assert!(check.differences[0].contains(&format!("{name} is ")), "{check:?}");
        }
    }

    #[test]
    fn missing_and_unexpected_records_are_reported() {
        let truth = Truth::of(&messages());
        let mut items = items(&truth);
        items[0]["pk"]["S"] = "9.9.9.9#1#FTP".into();
        let check = truth.check_table(&items);
        assert_eq!((check.right, check.differences.len()), (truth.keys() - 1, 2), "{check:?}");
    }

    #[test]
    fn redelivered_dead_letters_pass() {
        let messages = messages();
        let truth = Truth::of(&messages);
        let mut redelivered = dead_letters(&messages);
        redelivered.extend_from_within(..3);
        let check = truth.check_dead_letters(&redelivered);
        assert_eq!(check, Check { expected: truth.broken(), right: truth.broken(), differences: vec![] });
    }

    #[test]
    fn missing_changed_and_misclassified_dead_letters_are_reported() {
        let messages = messages();
        let truth = Truth::of(&messages);
        let mut lost = dead_letters(&messages);
        lost.pop();
        assert_eq!(truth.check_dead_letters(&lost).differences.len(), 1);
        let mut changed = dead_letters(&messages);
        changed[3].payload = [&changed[3].payload, &b" "[..]].concat().into();
        assert_eq!(truth.check_dead_letters(&changed).differences.len(), 2);
        let mut other = dead_letters(&messages);
        other[3].reason = Some("refused_by_store".to_owned());
        assert_eq!(truth.check_dead_letters(&other).differences.len(), 2);
    }
}
