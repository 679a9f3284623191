//! The messages of the demo, and where each of them must end. Pure, and must not know the programs.

use std::num::NonZeroU32;

use serde_json::json;

use crate::moment::Moment;

/// The client without a route.
pub(super) const NOBODY: &str = "nobody";
const CREATED: &str = "order.created";
const PAID: &str = "order.paid";
/// The time of the first event, in Unix milliseconds: 2026-11-01T00:00:00Z.
const START: u64 = 1_793_491_200_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SinkName {
    First,
    /// It fails at first.
    Second,
}

/// Where the events of a client go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) client: &'static str,
    pub(super) sink: SinkName,
    /// Nothing stands for all.
    pub(super) event_types: &'static [&'static str],
}

pub(super) const CLIENTS: [Route; 3] = [
    Route { client: "acme", sink: SinkName::First, event_types: &[] },
    Route { client: "globex", sink: SinkName::Second, event_types: &[] },
    Route { client: "initech", sink: SinkName::First, event_types: &[CREATED] },
];

/// A valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) client: &'static str,
    pub(super) event_type: &'static str,
    pub(super) number: u32,
}

impl Event {
    fn nth(number: u32) -> Event {
        let client = match number % 20 {
            0 => NOBODY,
            rest => CLIENTS[rest as usize % CLIENTS.len()].client,
        };
        Event { client, event_type: if number.is_multiple_of(2) { CREATED } else { PAID }, number }
    }

    pub(super) fn key(&self) -> String {
        format!("{}#order-{}", self.time(), self.number)
    }

    fn time(&self) -> String {
        Moment::from_unix_millis(START + u64::from(self.number)).map_or_else(String::new, |time| time.to_string())
    }

    /// The text of `data`. A program that parses the amount as a float changes it.
    pub(super) fn data(&self) -> String {
        format!(r#"{{"number":{},"amount":10.10,"exact":12345678901234567890.123456789}}"#, self.number)
    }

    fn body(&self, note: &str) -> String {
        let Event { client, event_type, number } = self;
        let (time, data) = (self.time(), self.data());
        format!(
            r#"{{"client_id":"{client}","event_type":"{event_type}","event_id":"order-{number}","event_time":"{time}","note":"{note}","data":{data}}}"#
        )
    }

    /// Whether it is delivered before the last client gets its route.
    pub(super) fn is_delivered(&self) -> bool {
        let route = CLIENTS.iter().find(|route| route.client == self.client);
        route.is_some_and(|route| route.event_types.is_empty() || route.event_types.contains(&self.event_type))
    }
}

/// All messages of a run.
pub(super) struct Events {
    pub(super) valid: Vec<Event>,
    /// Bodies that become dead letters, with the reason.
    pub(super) invalid: Vec<(String, &'static str)>,
    duplicates: Vec<String>,
}

impl Events {
    pub(super) fn new(count: NonZeroU32) -> Events {
        let valid: Vec<_> = (0..count.get()).map(Event::nth).collect();
        let duplicates = valid.iter().step_by(10).map(|event| event.body("first")).collect();
        let mut invalid: Vec<_> = valid.iter().step_by(25).map(|event| broken(event.number)).collect();
        invalid.extend(valid.iter().skip(7).step_by(50).map(|event| (event.body("another"), "conflict")));
        Events { valid, invalid, duplicates }
    }

    /// Returns the events, some of them twice, and the messages that are none.
    pub(super) fn first_wave(&self) -> Vec<String> {
        let broken = self.invalid.iter().filter(|(_, reason)| *reason != "conflict").map(|(body, _)| body.clone());
        let events = self.valid.iter().map(|event| event.body("first"));
        events.chain(self.duplicates.iter().cloned()).chain(broken).collect()
    }

    /// Returns other bodies with the ids of stored events.
    pub(super) fn conflicts(&self) -> Vec<String> {
        self.invalid.iter().filter(|(_, reason)| *reason == "conflict").map(|(body, _)| body.clone()).collect()
    }

    pub(super) fn messages(&self) -> usize {
        self.valid.len() + self.duplicates.len() + self.invalid.len()
    }
}

/// Returns a message that is no event, and its reason.
fn broken(number: u32) -> (String, &'static str) {
    let body = |client: serde_json::Value, data: serde_json::Value| {
        json!({ "client_id": client, "event_type": CREATED, "data": data, "number": number }).to_string()
    };
    match (number / 25) % 5 {
        0 => (body(json!("acme"), json!("a string")), "schema_violation"),
        1 => (body(json!(null), json!({})), "schema_violation"),
        2 => (format!("not JSON {number}"), "malformed_json"),
        3 => (body(json!("a\u{7}b"), json!({})), "invalid_id"),
        _ => {
            let without_time =
                json!({ "client_id": "acme", "event_type": PAID, "data": {}, "event_id": format!("{number}") });
            (without_time.to_string(), "invalid_time")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Envelope, decode};
    use crate::schema::Schemas;

    #[test]
    fn each_message_is_what_the_demo_expects() {
        let events = Events::new(NonZeroU32::new(500).unwrap());
        let schemas = Schemas::default();
        let envelope = Envelope { message_id: "m", sent: 1, moved: None, trace: None };
        for event in &events.valid {
            let decoded = decode(event.body("first").as_bytes(), &envelope, &schemas).unwrap();
            assert_eq!((decoded.client_id.as_str(), decoded.data), (event.client, event.data()));
        }
        for (body, reason) in events.invalid.iter().filter(|(_, reason)| *reason != "conflict") {
            let invalid = decode(body.as_bytes(), &envelope, &schemas).unwrap_err();
            assert_eq!(invalid.reason.name(), *reason, "{body}");
        }
        assert!(events.valid.iter().any(|event| event.client == NOBODY) && !events.conflicts().is_empty());
    }
}
