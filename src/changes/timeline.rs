//! The JSON of an entry: what the API returns and `get --history` prints. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::entry::{Body, Difference, Entry, Event, Reason};
use super::key::EntryKey;

/// One change of one service. Missing facts are not known, or do not apply to the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEvent {
    /// Identifies the event on its address. It stays the same in later reads.
    #[schema(example = "00000000001740298125#00443#0000000000000000000000000000000000000042#HTTP")]
    pub id: String,
    /// In canonical form.
    #[schema(example = "1.1.1.7")]
    pub ip: String,
    #[schema(example = 443)]
    pub port: u16,
    #[schema(example = "HTTP")]
    pub service: String,
    /// Unix seconds of the scan. Of `closed`, when the record was removed.
    pub time: u64,
    pub event: Event,
    /// Why the service closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<Reason>,
    /// The number among the events of the service, from 1 and without holes. It gives their order, also if times do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub number: Option<u64>,
    /// Whether the event before this one has a later time.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub late: bool,
    /// Whether the change happened at this time or before. Comparing the tables found it later.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub at_or_before: bool,
    /// Unix seconds of the change of the table.
    pub created: u64,
    /// Unix seconds of the scan before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub old_timestamp: Option<u64>,
    /// The expiry time of the removed record, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub record_expired_at: Option<u64>,
    /// The payload format of the scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub data_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub diff: Option<Diff>,
    #[serde(flatten)]
    pub response: ResponseText,
    /// The number of bytes of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub response_size: Option<u64>,
    /// The first half of the SHA-256 hash of the response's bytes, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub response_hash: Option<String>,
    /// Whether the response was too large for the history.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub response_dropped: bool,
}

/// How the response differs from the one before, after masks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diff {
    pub lines_added: u64,
    pub lines_removed: u64,
    pub bytes_added: u64,
    pub bytes_removed: u64,
    /// The changed lines as a unified diff without context. Missing if the responses are too large, or the history has no
    /// bodies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// Whether `text` lacks some of the changed lines.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub cut: bool,
}

/// A response as far as the reader asked for it and the history has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResponseText {
    /// The response as text. Bytes that are not UTF-8 are shown as U+FFFD.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub response: Option<String>,
    /// The exact bytes of the response in base64. Missing if the response is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub response_base64: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl TimelineEvent {
    /// Returns the key of the entry, or `None` if the parts contradict each other, or no entry has them.
    pub fn key(&self) -> Option<EntryKey> {
        let key = EntryKey::parse(&self.ip, &self.id)?;
        let is_same = key.time == self.time
            && key.service.port() == self.port.to_string()
            && key.service.service() == self.service;
        is_same.then_some(key)
    }
}

impl From<Entry> for TimelineEvent {
    fn from(entry: Entry) -> TimelineEvent {
        let service = &entry.key.service;
        TimelineEvent {
            id: entry.key.sort_key(),
            ip: service.ip().to_owned(),
            port: service.port().parse().expect("a key has a port"),
            service: service.service().to_owned(),
            time: entry.key.time,
            event: entry.event,
            reason: entry.reason,
            number: entry.number,
            late: entry.is_late,
            at_or_before: entry.is_at_or_before,
            created: entry.created,
            old_timestamp: entry.old_timestamp,
            record_expired_at: entry.record_expired_at,
            data_version: entry.data_version,
            diff: entry.difference.map(Diff::from),
            response: entry.body.map(ResponseText::from).unwrap_or_default(),
            response_size: entry.response_size,
            response_hash: entry.response_hash.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect()),
            response_dropped: entry.is_response_dropped,
        }
    }
}

impl From<Difference> for Diff {
    fn from(difference: Difference) -> Diff {
        let Difference { lines_added, lines_removed, bytes_added, bytes_removed, text, is_cut } = difference;
        Diff { lines_added, lines_removed, bytes_added, bytes_removed, text, cut: is_cut }
    }
}

impl From<Body> for ResponseText {
    fn from(body: Body) -> ResponseText {
        match body {
            Body::Text(text) => ResponseText { response: Some(text), response_base64: None },
            Body::Bytes(bytes) => ResponseText {
                response: Some(String::from_utf8_lossy(&bytes).into_owned()),
                response_base64: Some(STANDARD.encode(bytes)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Sequence;
    use super::*;
    use crate::scan::Key;

    fn entry() -> Entry {
        let service = Key::new("2001:db8::7".parse().unwrap(), 443, "A#B");
        let key = EntryKey { service, time: 7, sequence: Sequence::parse("42").unwrap() };
        Entry::new(key, Event::Changed, 8, 9)
    }

    #[test]
    fn the_json_of_an_entry_is_read_to_the_same_event_with_its_key() {
        let difference = Difference { lines_added: 1, text: Some("+\u{1b}".to_owned()), ..Difference::default() };
        let full = Entry {
            reason: Some(Reason::Expired),
            number: Some(3),
            is_late: true,
            difference: Some(difference),
            body: Some(Body::Bytes(vec![b'a', 0xff])),
            response_hash: Some([10; 16]),
            ..entry()
        };
        for entry in [entry(), full] {
            let (key, event) = (entry.key.clone(), TimelineEvent::from(entry));
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<TimelineEvent>(&text).unwrap(), event, "{text}");
            assert_eq!(event.key(), Some(key));
        }
    }

    #[test]
    fn the_json_has_only_what_is_known() {
        let text = serde_json::to_value(TimelineEvent::from(entry())).unwrap();
        let names: Vec<_> = text.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names.len(), 7, "{text}");
        assert_eq!(text["event"], "changed");
    }

    #[test]
    fn an_event_whose_parts_contradict_its_id_has_no_key() {
        let event = TimelineEvent::from(entry());
        for other in [
            TimelineEvent { port: 44, ..event.clone() },
            TimelineEvent { time: 8, ..event.clone() },
            TimelineEvent { service: "B".to_owned(), ..event.clone() },
            TimelineEvent { ip: "2001:db8::07".to_owned(), ..event.clone() },
        ] {
            assert_eq!(other.key(), None);
        }
    }
}
