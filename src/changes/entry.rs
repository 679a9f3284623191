//! An entry of the history: one change of one service.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::key::EntryKey;
use super::summary::Hash;

/// What happened to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Its record appeared.
    Opened,
    /// Its response is another one, after masks.
    Changed,
    /// Its record was removed.
    Closed,
}

impl Event {
    pub const ALL: [Event; 3] = [Event::Opened, Event::Changed, Event::Closed];

    pub fn name(self) -> &'static str {
        match self {
            Event::Opened => "opened",
            Event::Changed => "changed",
            Event::Closed => "closed",
        }
    }

    pub fn parse(name: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// Why a service closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Its record was past its time to live.
    Expired,
    Deleted,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Expired => "expired",
            Reason::Deleted => "deleted",
        }
    }

    pub fn parse(name: &str) -> Option<Reason> {
        [Reason::Expired, Reason::Deleted].into_iter().find(|reason| reason.name() == name)
    }
}

/// A response as it is stored: as text, or as bytes if they are no UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Text(String),
    Bytes(Vec<u8>),
}

/// How a response differs from the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    pub lines_added: u64,
    pub lines_removed: u64,
    pub bytes_added: u64,
    pub bytes_removed: u64,
    /// The changed lines after masks. `None` if the responses are too large, or bodies are not kept.
    pub text: Option<String>,
    /// Whether the text lacks some of the changed lines.
    pub is_cut: bool,
}

/// One change of one service. All times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its time is the timestamp of the scan. For a closed service it is when the record was removed.
    pub key: EntryKey,
    pub event: Event,
    /// Only of a closed service.
    pub reason: Option<Reason>,
    /// The number of this change among those of its service, from 1 and without holes. `None` if it is not known.
    pub number: Option<u64>,
    /// Whether the change before this one has a later time.
    pub is_late: bool,
    /// Whether the change happened at its time or before: it was found later, by comparing the tables.
    pub is_at_or_before: bool,
    /// When the table was changed.
    pub created: u64,
    /// The timestamp of the record before.
    pub old_timestamp: Option<u64>,
    /// The expiry time of the removed record.
    pub record_expired_at: Option<u64>,
    /// The format of the message that contained the response.
    pub data_version: Option<u64>,
    pub difference: Option<Difference>,
    /// `None` for a closed service, if bodies are not kept, or if the item would be too large.
    pub body: Option<Body>,
    /// The number of bytes of the response.
    pub response_size: Option<u64>,
    /// The hash of the response's bytes.
    pub response_hash: Option<Hash>,
    /// Whether the item would be too large with the response.
    pub is_response_dropped: bool,
    pub expires_at: u64,
}

impl Entry {
    /// Returns an entry with only what every entry has.
    pub fn new(key: EntryKey, event: Event, created: u64, expires_at: u64) -> Entry {
        Entry {
            key,
            event,
            reason: None,
            number: None,
            is_late: false,
            is_at_or_before: false,
            created,
            old_timestamp: None,
            record_expired_at: None,
            data_version: None,
            difference: None,
            body: None,
            response_size: None,
            response_hash: None,
            is_response_dropped: false,
            expires_at,
        }
    }
}
