//! What the attributes of a dead letter show. Pure.

use std::collections::{BTreeMap, HashSet};

use delivery_table::millis;
use sha2::{Digest, Sha256};
use webhooks::{Clock, SystemClock};

use super::queue::time;
use crate::dead_letter::{EVENT_ID, EVENT_TIME, REASON, RECEIVED_TOO_OFTEN, TRACEPARENT, WEBHOOK_ID};
use crate::queues::{Outgoing, Received};

/// Which dead letters a command is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// All reasons, if it is empty.
    pub reasons: Vec<String>,
}

impl Selection {
    pub(super) fn selects(&self, message: &Received) -> bool {
        self.reasons.is_empty() || self.reasons.iter().any(|wanted| wanted == reason(message))
    }
}

pub(super) fn reason(message: &Received) -> &str {
    message.attributes.get(REASON).map_or(RECEIVED_TOO_OFTEN, String::as_str)
}

/// Returns the event of a dead letter as the queue of events gets it again: the same body, with the id and the time that it
/// had. Without known ones they are those of the dead letter, so that a repeated redrive sends the same event.
pub(super) fn event_again(message: &Received) -> Outgoing {
    let mut attributes =
        BTreeMap::from([(EVENT_ID.to_owned(), message.id.clone()), (EVENT_TIME.to_owned(), time(message.sent))]);
    for name in [EVENT_ID, EVENT_TIME, TRACEPARENT] {
        attributes.extend(message.attributes.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    Outgoing { body: message.body.clone(), attributes, group: message.group.clone() }
}

/// The dead letters that a run has redriven. One that comes back meanwhile, e.g. because it is still invalid, must not be
/// redriven for ever.
#[derive(Debug)]
pub(super) struct Redriven {
    /// When the run began, in Unix milliseconds. Two dead letters of one delivery may be older.
    began: u64,
    known: HashSet<[u8; 32]>,
}

impl Redriven {
    pub(super) fn begin() -> Redriven {
        Redriven { began: millis(SystemClock.now()), known: HashSet::new() }
    }

    /// Returns whether a dead letter did not come back, and remembers it.
    pub(super) fn is_first(&mut self, message: &Received) -> bool {
        let event = event_again(message);
        let parts = match message.attributes.get(WEBHOOK_ID) {
            Some(webhook_id) => [webhook_id.as_str(), "", ""],
            None => [&event.attributes[EVENT_ID], &event.attributes[EVENT_TIME], event.body.as_str()],
        };
        self.known.insert(Sha256::digest(parts.join("\0")).into()) || message.sent < self.began
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: &[(&str, &str)]) -> Received {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Received {
            id: "m-1".to_owned(),
            receipt: "r".to_owned(),
            body: "{}".to_owned(),
            sent: 1_700_000_000_123,
            receives: 6,
            group: Some("acme".to_owned()),
            attributes,
        }
    }

    #[test]
    fn an_event_goes_back_with_its_own_id_and_time() {
        let again = event_again(&message(&[
            ("event_id", "e-1"),
            ("event_time", "2026-11-22T10:00:00.000Z"),
            ("reason", "schema_violation"),
            ("traceparent", "00-1-2-01"),
        ]));
        assert_eq!((again.body.as_str(), again.group.as_deref()), ("{}", Some("acme")));
        let attributes: Vec<_> = again.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [("event_id", "e-1"), ("event_time", "2026-11-22T10:00:00.000Z"), ("traceparent", "00-1-2-01")];
        assert_eq!(attributes, expected);
    }

    #[test]
    fn an_event_that_sqs_moved_gets_the_id_and_the_time_of_its_message() {
        let again = event_again(&message(&[]));
        assert_eq!(again.attributes["event_id"], "m-1");
        assert_eq!(again.attributes["event_time"], "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn a_selection_is_by_reason() {
        let selection = Selection { reasons: vec![RECEIVED_TOO_OFTEN.to_owned(), "conflict".to_owned()] };
        assert!(selection.selects(&message(&[])));
        assert!(selection.selects(&message(&[("reason", "conflict")])));
        assert!(!selection.selects(&message(&[("reason", "malformed_json")])));
        assert!(Selection::default().selects(&message(&[("reason", "malformed_json")])));
    }

    #[test]
    fn an_event_that_comes_back_is_redriven_once() {
        let moved = message(&[]);
        let mut redriven = Redriven { began: moved.sent, known: HashSet::new() };
        assert!(redriven.is_first(&moved));
        // The processor has rejected it.
        let identity = [("event_id", "m-1"), ("event_time", "2023-11-14T22:13:20.123Z"), ("reason", "malformed_json")];
        let rejected = Received { id: "m-2".to_owned(), ..message(&identity) };
        assert!(!redriven.is_first(&rejected));
        assert!(redriven.is_first(&Received { body: "other".to_owned(), ..rejected }));
        assert!(redriven.is_first(&message(&[("webhook_id", "msg_1")])));
        assert!(!redriven.is_first(&message(&[("webhook_id", "msg_1"), ("attempts", "1")])));
        let older = Received { sent: moved.sent - 1, ..message(&[("webhook_id", "msg_1")]) };
        assert!(redriven.is_first(&older), "a delivery may have two dead letters");
    }
}
