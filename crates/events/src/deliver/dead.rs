//! The dead letters of deliveries: what their attributes contain. Pure.

use std::fmt::Write;

use webhooks::{LastAttempt, StoredDelivery, WebhookId};

use super::{Handled, StoredEvent};
use crate::dead_letter::{
    Attributes, CLIENT_ID, DETAIL, EVENT_ID, EVENT_TIME, EVENT_TYPE, REASON, TARGET, TRACEPARENT, WEBHOOK_ID, fitting,
};
use crate::event::parse_sort_key;
use crate::key::{UNROUTED, parse_endpoint};

const ATTEMPTS: &str = "attempts";
const STATUS: &str = "status";
const FAILURE: &str = "failure";
/// Why a delivery is a dead letter.
pub const DELIVERY_REASONS: [&str; 7] =
    ["no_route", "invalid_route", "unreadable_record", "exhausted", "gone", "disabled", "missing"];

/// How much of an answer is kept.
const MAX_ANSWER: usize = 200;

/// A message for the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetter {
    pub(super) body: String,
    pub(super) attributes: Attributes,
}

impl DeadLetter {
    fn new(body: String, attributes: Attributes) -> DeadLetter {
        let attributes = fitting(attributes, body.len());
        DeadLetter { body, attributes }
    }

    /// An event that was delivered to nobody. `id` is that of its webhook to no target.
    pub(super) fn of_event(
        event: &StoredEvent,
        id: &WebhookId,
        reason: Handled,
        detail: &str,
        body: &str,
    ) -> DeadLetter {
        let mut attributes = vec![
            (REASON, reason.name().to_owned()),
            (CLIENT_ID, event.client_id.clone()),
            (WEBHOOK_ID, id.as_str().to_owned()),
        ];
        if let Some((time, id)) = parse_sort_key(&event.key) {
            attributes.push((EVENT_ID, id.to_owned()));
            attributes.push((EVENT_TIME, time.to_string()));
        }
        attributes.push((EVENT_TYPE, event.event_type.clone()));
        attributes.push((ATTEMPTS, "0".to_owned()));
        attributes.push((DETAIL, detail.to_owned()));
        attributes.extend(event.trace.iter().map(|trace| (TRACEPARENT, trace.clone())));
        DeadLetter::new(body.to_owned(), attributes)
    }

    /// A record whose item is no event of this program. `key` is its key as JSON in ASCII.
    pub(super) fn of_record(key: &str, why: &str) -> DeadLetter {
        let reason = Handled::Unreadable.name().to_owned();
        DeadLetter::new(key.to_owned(), vec![(REASON, reason), (DETAIL, why.to_owned())])
    }

    /// A delivery that was given up.
    pub(super) fn of_delivery(item: &StoredDelivery, reason: &str) -> DeadLetter {
        let delivery = &item.delivery;
        let parsed = parse_endpoint(&delivery.endpoint);
        let is_unrouted = parsed.as_ref().is_some_and(|(_, target)| target == UNROUTED);
        let reason = if is_unrouted { Handled::NoRoute.name() } else { reason };
        let mut attributes = vec![(REASON, reason.to_owned())];
        attributes.extend(parsed.iter().map(|(client, _)| (CLIENT_ID, client.clone())));
        attributes.push((WEBHOOK_ID, delivery.id.as_str().to_owned()));
        if is_unrouted {
            attributes.extend(event_type(&delivery.body).map(|event_type| (EVENT_TYPE, event_type)));
        } else {
            attributes.extend(parsed.iter().map(|(_, target)| (TARGET, target.clone())));
        }
        attributes.push((ATTEMPTS, item.attempts.to_string()));
        let trace = delivery.origin.trace.iter().map(|trace| (TRACEPARENT, trace.as_str().to_owned()));
        match item.last.as_ref() {
            Some(LastAttempt { result: Ok(answer), .. }) => {
                attributes.push((STATUS, answer.status.to_string()));
                attributes.push((DETAIL, escaped(&answer.body[..answer.body.len().min(MAX_ANSWER)])));
            }
            Some(LastAttempt { result: Err(failure), .. }) => {
                attributes.push((FAILURE, failure.to_stored()));
                attributes.push((DETAIL, failure.to_string()));
            }
            None => {}
        }
        attributes.extend(trace);
        DeadLetter::new(String::from_utf8_lossy(&delivery.body).into_owned(), attributes)
    }
}

/// Returns the type of the event in the body of a delivery.
fn event_type(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        event_type: String,
    }
    Some(serde_json::from_slice::<Body>(body).ok()?.event_type)
}

/// Returns bytes of strangers as printable ASCII.
fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Returns the key of an item as JSON in ASCII, because a queue refuses some characters.
pub(super) fn json_of_key(parts: &[(&str, String)]) -> String {
    let object: serde_json::Map<_, _> =
        parts.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    let json = serde_json::Value::Object(object).to_string();
    json.encode_utf16().fold(String::new(), |mut ascii, unit| {
        match u8::try_from(unit) {
            Ok(byte @ b' '..=b'~') => ascii.push(char::from(byte)),
            // Writing to a string never fails.
            _ => _ = write!(ascii, "\\u{unit:04x}"),
        }
        ascii
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use webhooks::{Answer, DeadReason, Delivery, Failure, Origin, Token, TraceParent};

    use super::*;
    use crate::key;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn origin() -> Origin {
        Origin { sent: None, trace: TraceParent::parse(TRACE) }
    }

    fn delivery(last: Option<Result<Answer, Failure>>) -> StoredDelivery {
        let endpoint = key::endpoint("acme/eu", "main").unwrap();
        let id = key::webhook_id("acme/eu", "2026-11-22T10:00:00.000Z#7", &endpoint);
        StoredDelivery {
            delivery: Delivery { id, endpoint, body: "{}".into(), origin: origin() },
            created: UNIX_EPOCH,
            attempts: 3,
            due: UNIX_EPOCH,
            token: Token(1),
            last: last.map(|result| LastAttempt { at: UNIX_EPOCH, result }),
        }
    }

    fn value<'a>(letter: &'a DeadLetter, name: &str) -> Option<&'a str> {
        letter.attributes.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_delivery_that_was_given_up_shows_how_its_last_attempt_ended() {
        let answer = Answer { status: 410, retry_after: None, body: "gone\u{1b}".into() };
        let letter = DeadLetter::of_delivery(&delivery(Some(Ok(answer))), "gone");
        assert_eq!(letter.body, "{}");
        for (name, expected) in [
            (REASON, Some("gone")),
            (CLIENT_ID, Some("acme/eu")),
            (TARGET, Some("main")),
            (ATTEMPTS, Some("3")),
            (STATUS, Some("410")),
            (DETAIL, Some("gone\\x1b")),
            (FAILURE, None),
            (TRACEPARENT, Some(TRACE)),
        ] {
            assert_eq!(value(&letter, name), expected, "{name}");
        }
        let letter = DeadLetter::of_delivery(&delivery(Some(Err(Failure::TimedOut))), "exhausted");
        assert_eq!((value(&letter, FAILURE), value(&letter, STATUS)), (Some("timed_out"), None));
        assert_eq!(value(&DeadLetter::of_delivery(&delivery(None), "missing"), DETAIL), None);
    }

    #[test]
    fn an_event_that_waited_without_a_target_is_one_without_a_route() {
        let mut item = delivery(None);
        item.delivery.endpoint = key::endpoint("acme/eu", UNROUTED).unwrap();
        item.delivery.body = r#"{"client_id":"acme/eu","event_type":"order","data":{}}"#.into();
        let letter = DeadLetter::of_delivery(&item, "missing");
        for (name, expected) in [(REASON, Some("no_route")), (EVENT_TYPE, Some("order")), (TARGET, None)] {
            assert_eq!(value(&letter, name), expected, "{name}");
        }
    }

    #[test]
    fn an_event_without_a_route_names_its_identity_and_has_at_most_ten_attributes() {
        let event = StoredEvent {
            client_id: "acme".to_owned(),
            event_type: "order".to_owned(),
            key: "2026-11-22T10:00:00.000Z#order#7".to_owned(),
            data: "{}".to_owned(),
            sent: Some(1),
            trace: Some(TRACE.to_owned()),
        };
        let endpoint = key::endpoint("acme", "main").unwrap();
        let id = key::webhook_id("acme", &event.key, &endpoint);
        let letter = DeadLetter::of_event(&event, &id, Handled::NoRoute, "the client has no route", "{}");
        assert_eq!(letter.attributes.len(), 9);
        assert_eq!(value(&letter, EVENT_ID), Some("order#7"));
        assert_eq!(value(&letter, EVENT_TIME), Some("2026-11-22T10:00:00.000Z"));
        assert_eq!(value(&letter, WEBHOOK_ID), Some(id.as_str()));
    }

    #[test]
    fn each_reason_is_listed() {
        let of_events = [Handled::NoRoute, Handled::InvalidRoute, Handled::Unreadable].map(Handled::name);
        let reasons = [DeadReason::Exhausted, DeadReason::Gone, DeadReason::Disabled, DeadReason::Missing];
        let of_deliveries = reasons.map(DeadReason::as_str);
        assert!(of_events.iter().chain(&of_deliveries).eq(&DELIVERY_REASONS));
    }

    #[test]
    fn a_key_is_json_of_ascii_characters() {
        let json = json_of_key(&[("client_id", "ä\u{1f}\u{fffe}😀".to_owned())]);
        assert!(json.is_ascii(), "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["client_id"], "ä\u{1f}\u{fffe}😀");
    }
}
