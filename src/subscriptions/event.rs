//! The webhook of a change: its id, and its JSON body in the form of Standard Webhooks. Pure.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use webhooks::{EndpointId, WebhookId};

use crate::changes::{Body, Entry, EntryKey, TimelineEvent};

/// A larger body is sent without the response and the changed lines, because a stored delivery is written several times.
const MAX_FULL_BYTES: usize = 4 << 10;
/// The last second of the year 9999. Later ones have no notation.
const MAX_SECONDS: u64 = 253_402_300_799;

/// Returns the id of the webhook that tells an endpoint of an entry. It is the same for a retry, a replay and a redrive.
pub fn webhook_id(key: &EntryKey, endpoint: &EndpointId) -> WebhookId {
    WebhookId::of(&[b"scan", key.service.ip().as_bytes(), key.sort_key().as_bytes()], endpoint)
}

#[derive(Serialize)]
struct Webhook {
    r#type: String,
    /// When the table was changed.
    timestamp: String,
    data: Data,
}

#[derive(Serialize)]
struct Data {
    #[serde(flatten)]
    event: TimelineEvent,
    /// Whether the response and the changed lines are left out, because they are large.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// Where the API returns the event, with its response.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Renders the body that tells of an entry. `api_url` is the address of the API.
pub fn body(mut entry: Entry, api_url: Option<&str>) -> Bytes {
    // JSON is never shorter than the text in it, so a large response is not rendered.
    if text_bytes(&entry) <= MAX_FULL_BYTES {
        let full = json(entry.clone(), false, api_url);
        if full.len() <= MAX_FULL_BYTES {
            return full;
        }
    }
    entry.body = None;
    if let Some(difference) = &mut entry.difference {
        difference.text = None;
    }
    json(entry, true, api_url)
}

fn text_bytes(entry: &Entry) -> usize {
    let response = match &entry.body {
        Some(Body::Text(text)) => text.len(),
        Some(Body::Bytes(bytes)) => bytes.len(),
        None => 0,
    };
    let difference = entry.difference.as_ref().and_then(|difference| difference.text.as_ref());
    response + difference.map_or(0, String::len)
}

fn json(entry: Entry, truncated: bool, api_url: Option<&str>) -> Bytes {
    let (ip, time) = (entry.key.service.ip(), entry.key.time);
    let url = api_url.map(|api| {
        let (api, end) = (api.trim_end_matches('/'), time.saturating_add(1));
        format!("{api}/v1/hosts/{ip}/timeline?start={time}&end={end}&with=response")
    });
    let created = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.created.min(MAX_SECONDS));
    let webhook = Webhook {
        r#type: format!("scan.{}", entry.event.name()),
        timestamp: humantime::format_rfc3339_seconds(created).to_string(),
        data: Data { event: TimelineEvent::from(entry), truncated, url },
    };
    serde_json::to_vec(&webhook).expect("its maps have names as keys").into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::changes::{Difference, Event, Sequence};
    use crate::scan::Key;

    fn entry(response: Body) -> Entry {
        let service = Key::new("2001:db8::7".parse().unwrap(), 443, "A#\"B\"");
        let key = EntryKey { service, time: 1_763_800_000, sequence: Sequence::parse("42").unwrap() };
        let difference = Difference { lines_added: 1, text: Some("+\u{1b}[2J".to_owned()), ..Difference::default() };
        let entry = Entry::new(key, Event::Changed, 1_763_800_005, u64::MAX);
        Entry { number: Some(3), body: Some(response), difference: Some(difference), ..entry }
    }

    fn parsed(body: &Bytes) -> Value {
        assert!(body.len() <= MAX_FULL_BYTES, "{}", body.len());
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_body_has_a_type_a_time_and_the_event_as_the_api_returns_it() {
        let entry = entry(Body::Text("hello".to_owned()));
        let found = parsed(&body(entry.clone(), None));
        assert_eq!((&found["type"], &found["timestamp"]), (&json!("scan.changed"), &json!("2025-11-22T08:26:45Z")));
        assert_eq!(found["data"], serde_json::to_value(TimelineEvent::from(entry.clone())).unwrap());
        assert_eq!(body(entry.clone(), None), body(entry, None));
    }

    #[test]
    fn a_body_contains_the_address_of_its_event_if_the_api_is_known() {
        let found = parsed(&body(entry(Body::Text("hello".to_owned())), Some("https://scans.example/")));
        let url = "https://scans.example/v1/hosts/2001:db8::7/timeline?start=1763800000&end=1763800001&with=response";
        assert_eq!(found["data"]["url"], url);
    }

    #[test]
    fn a_large_body_has_neither_the_response_nor_the_changed_lines() {
        let (text, escaped) = ("x".repeat(MAX_FULL_BYTES), "\u{1}".repeat(MAX_FULL_BYTES / 4));
        let large_difference = |mut entry: Entry| {
            entry.difference.as_mut().unwrap().text = Some("+".repeat(MAX_FULL_BYTES));
            entry
        };
        for entry in [
            entry(Body::Text(text)),
            entry(Body::Text(escaped)),
            entry(Body::Bytes(vec![0xff; 1 << 20])),
            large_difference(entry(Body::Text("hello".to_owned()))),
        ] {
            let data = parsed(&body(entry, Some("https://scans.example")))["data"].take();
            assert_eq!((&data["truncated"], &data["diff"]["lines_added"]), (&json!(true), &json!(1)));
            for name in ["response", "response_base64"] {
                assert_eq!(data.get(name), None, "{name}");
            }
            assert!(data["diff"].get("text").is_none() && data["url"].is_string());
        }
    }

    #[test]
    fn hostile_content_stays_inside_of_strings() {
        let hostile = "\u{0}\u{1b}[2J\u{7f}\"}]\r\n<script>\u{2028}\u{202e}\\u0000".to_owned();
        let data = parsed(&body(entry(Body::Text(hostile.clone())), None))["data"].take();
        assert_eq!(data["response"], hostile);
        let raw = body(entry(Body::Text(hostile)), None);
        assert!(raw.iter().all(|byte| *byte >= b' '), "control characters are escaped");

        let bytes = vec![b'a', 0xff, 0xc3, 0x28, 0];
        let data = parsed(&body(entry(Body::Bytes(bytes)), None))["data"].take();
        assert_eq!((&data["response"], &data["response_base64"]), (&json!("a\u{fffd}\u{fffd}(\0"), &json!("Yf/DKAA=")));
    }

    #[test]
    fn a_time_without_a_notation_is_the_last_one_that_has_one() {
        let entry = Entry { created: u64::MAX, ..entry(Body::Text(String::new())) };
        assert_eq!(parsed(&body(entry, None))["timestamp"], "9999-12-31T23:59:59Z");
    }

    #[test]
    fn the_id_is_that_of_the_entry_and_the_endpoint() {
        let (one, other) = (EndpointId::parse("wh_1").unwrap(), EndpointId::parse("wh_2").unwrap());
        let key = entry(Body::Text(String::new())).key;
        let stored = EntryKey::parse(key.service.ip(), &key.sort_key()).unwrap();
        assert_eq!(webhook_id(&key, &one), webhook_id(&stored, &one));
        assert_ne!(webhook_id(&key, &one), webhook_id(&key, &other));
        let later = EntryKey { time: key.time + 1, ..key.clone() };
        assert_ne!(webhook_id(&key, &one), webhook_id(&later, &one));
    }
}
