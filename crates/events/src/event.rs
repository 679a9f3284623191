//! From a message of the queue to an event, or to the reason why it is invalid. Pure.

mod members;

use std::fmt;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::moment::{MOMENT_BYTES, Moment};
use crate::schema::Schemas;
use members::members;

/// A valid event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub client_id: String,
    pub event_type: String,
    pub id: String,
    pub time: Moment,
    /// The JSON text of `data` as the producer wrote it, so that numbers survive.
    pub data: String,
    /// The JSON text of an object with the other properties, if there are any.
    pub others: Option<String>,
    /// The SHA-256 of the body. Two bodies with one id are a conflict.
    pub body_hash: [u8; 32],
    pub message_id: String,
    /// When the message was sent, in Unix milliseconds.
    pub sent: u64,
    /// A W3C `traceparent`.
    pub trace: Option<String>,
}

/// What SQS knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub message_id: &'a str,
    /// `SentTimestamp`, in Unix milliseconds.
    pub sent: u64,
    /// The id and the time of an event that was moved between queues, because a moved message gets a new id.
    pub moved: Option<Moved<'a>>,
    /// A W3C `traceparent`.
    pub trace: Option<&'a str>,
}

/// The attributes `event_id` and `event_time` of a redriven message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved<'a> {
    pub event_id: &'a str,
    pub event_time: &'a str,
}

/// Why a message is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Invalid {
    pub reason: Reason,
    /// The JSON pointer of the wrong value, if one value is wrong.
    pub pointer: Option<String>,
    /// One line for a person. Never the whole body.
    pub detail: String,
    /// The type in the body, if it has one.
    pub event_type: Option<String>,
    /// The id and the time of the event, if they are known. A redrive keeps them.
    pub identity: Option<(String, Moment)>,
}

impl Event {
    /// Returns why an event is invalid that was decoded.
    pub(crate) fn invalid(&self, reason: Reason, detail: impl Into<String>) -> Invalid {
        let (event_type, identity) = (Some(self.event_type.clone()), Some((self.id.clone(), self.time)));
        Invalid { event_type, identity, ..Invalid::new(reason, detail) }
    }
}

impl Invalid {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Invalid {
        Invalid { reason, pointer: None, detail: detail.into(), event_type: None, identity: None }
    }

    pub(crate) fn at(reason: Reason, pointer: &str, detail: impl Into<String>) -> Invalid {
        Invalid { pointer: Some(pointer.to_owned()), ..Invalid::new(reason, detail) }
    }
}

/// The attribute `reason` of a message in the dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The body is no JSON object.
    MalformedJson,
    /// A member is twice in the object, so that readers would disagree about its value.
    DuplicateMember,
    /// The body breaks the schema.
    SchemaViolation,
    /// The event type has no schema of its own, and types are strict.
    UnknownType,
    /// The event type has schemas, but none of this version.
    UnknownVersion,
    /// An id is too long, or it contains control characters.
    InvalidId,
    InvalidTime,
    /// An attribute of a redrive is missing or wrong.
    InvalidAttribute,
    /// DynamoDB does not store items above 400 KB.
    ItemTooLarge,
    /// Another body has the same id.
    Conflict,
    /// The table refuses the item for another reason.
    RefusedByStore,
}

impl Reason {
    pub const ALL: [Reason; 11] = [
        Reason::MalformedJson,
        Reason::DuplicateMember,
        Reason::SchemaViolation,
        Reason::UnknownType,
        Reason::UnknownVersion,
        Reason::InvalidId,
        Reason::InvalidTime,
        Reason::InvalidAttribute,
        Reason::ItemTooLarge,
        Reason::Conflict,
        Reason::RefusedByStore,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Reason::MalformedJson => "malformed_json",
            Reason::DuplicateMember => "duplicate_member",
            Reason::SchemaViolation => "schema_violation",
            Reason::UnknownType => "unknown_type",
            Reason::UnknownVersion => "unknown_version",
            Reason::InvalidId => "invalid_id",
            Reason::InvalidTime => "invalid_time",
            Reason::InvalidAttribute => "invalid_attribute",
            Reason::ItemTooLarge => "item_too_large",
            Reason::Conflict => "conflict",
            Reason::RefusedByStore => "refused_by_store",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The most bytes of a client, a type and an id. All of them fit into the keys of the table.
const MAX_NAME_BYTES: usize = 256;
/// The largest item of DynamoDB, less what its other attributes need.
const MAX_TEXT_BYTES: usize = 400 * 1024 - 2048;

/// Decodes a message.
pub fn decode(body: &[u8], envelope: &Envelope<'_>, schemas: &Schemas) -> Result<Event, Invalid> {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return Err(Invalid { identity: identity(&Value::Null, envelope).ok(), ..malformed(&error) }),
    };
    event(body, &value, envelope, schemas).map_err(|invalid| {
        let event_type = value.get("event_type").and_then(Value::as_str).filter(|text| text.len() <= MAX_NAME_BYTES);
        let identity = identity(&value, envelope).ok();
        Invalid { event_type: event_type.map(str::to_owned), identity, ..invalid }
    })
}

fn malformed(error: &serde_json::Error) -> Invalid {
    Invalid::new(Reason::MalformedJson, format!("the body is no JSON object: {error}"))
}

fn event(body: &[u8], value: &Value, envelope: &Envelope<'_>, schemas: &Schemas) -> Result<Event, Invalid> {
    schemas.validate(value)?;
    let members = members(body).map_err(|error| match error {
        members::Error::Duplicate(name) => {
            Invalid::at(Reason::DuplicateMember, &pointer(&name), "the member is twice in the object")
        }
        members::Error::Malformed(error) => malformed(&error),
    })?;
    let client_id = name(value, "client_id")?;
    let event_type = name(value, "event_type")?;
    let (id, time) = identity(value, envelope)?;
    let data = members.iter().find(|(name, _)| name == "data").map(|(_, text)| text.get().to_owned());
    let data = data.ok_or_else(|| Invalid::at(Reason::SchemaViolation, "/data", "the member is missing"))?;
    let others = others(&members);
    let size = data.len() + others.as_ref().map_or(0, String::len);
    if size > MAX_TEXT_BYTES {
        let detail = format!("the event has {size} bytes beside its keys; the table stores {MAX_TEXT_BYTES}");
        return Err(Invalid::new(Reason::ItemTooLarge, detail));
    }
    let body_hash = Sha256::digest(body).into();
    let (message_id, sent) = (envelope.message_id.to_owned(), envelope.sent);
    let trace = envelope.trace.map(str::to_owned);
    Ok(Event { client_id, event_type, id, time, data, others, body_hash, message_id, sent, trace })
}

/// Returns the id and the time: the producer's, those before a redrive, or those of SQS.
fn identity(value: &Value, envelope: &Envelope<'_>) -> Result<(String, Moment), Invalid> {
    let given = |name: &str| value.get(name).and_then(Value::as_str);
    let parse = |text: &str, pointer: &str| {
        let why = || Invalid::at(Reason::InvalidTime, pointer, "expected RFC 3339, e.g. 2026-11-22T10:00:00.123Z");
        Moment::parse(text).ok_or_else(why)
    };
    let sent = || {
        let detail = format!("SQS reports that the message was sent at {} ms", envelope.sent);
        Moment::from_unix_millis(envelope.sent).ok_or_else(|| Invalid::new(Reason::InvalidTime, detail))
    };
    let time = match (given("event_time"), envelope.moved) {
        (Some(text), _) => parse(text, "/event_time")?,
        (None, Some(moved)) => {
            Moment::parse(moved.event_time).ok_or_else(|| of_attribute("event_time", "no time of RFC 3339"))?
        }
        (None, None) => sent()?,
    };
    let id = match (given("event_id"), given("event_time"), envelope.moved) {
        (Some(_), None, _) => {
            let detail =
                "an event with event_id needs event_time as well, because a resend would be stored twice otherwise";
            return Err(Invalid::at(Reason::InvalidTime, "/event_time", detail));
        }
        (Some(id), Some(_), _) => checked(id, "/event_id")?,
        (None, _, Some(moved)) => checked(moved.event_id, "").map_err(|why| of_attribute("event_id", &why.detail))?,
        (None, _, None) => checked(envelope.message_id, "")?,
    };
    Ok((id, time))
}

fn of_attribute(name: &str, why: &str) -> Invalid {
    let detail = format!("the attribute {name} of the message is missing or wrong: {why}");
    Invalid::new(Reason::InvalidAttribute, detail)
}

fn name(value: &Value, member: &str) -> Result<String, Invalid> {
    let pointer = pointer(member);
    match value.get(member).and_then(Value::as_str) {
        Some(text) => checked(text, &pointer),
        None => Err(Invalid::at(Reason::SchemaViolation, &pointer, "expected a string")),
    }
}

fn checked(text: &str, pointer: &str) -> Result<String, Invalid> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        let detail = format!("the text has {} bytes; expected 1 to {MAX_NAME_BYTES}", text.len());
        return Err(Invalid::at(Reason::InvalidId, pointer, detail));
    }
    // SQS refuses the other two, so no dead letter could have them.
    if text.contains(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        return Err(Invalid::at(Reason::InvalidId, pointer, "the text contains a control character"));
    }
    Ok(text.to_owned())
}

fn others(members: &members::Members<'_>) -> Option<String> {
    const KNOWN: [&str; 5] = ["client_id", "event_type", "data", "event_id", "event_time"];
    let mut text = String::new();
    for (name, value) in members.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())) {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&Value::from(name.as_str()).to_string());
        text.push(':');
        text.push_str(value.get());
    }
    (!text.is_empty()).then(|| text + "}")
}

/// Returns the JSON pointer of a member of the body.
fn pointer(member: &str) -> String {
    format!("/{}", member.replace('~', "~0").replace('/', "~1"))
}

/// Returns the sort key of an event: `event_time#event_id`.
pub fn sort_key(time: Moment, id: &str) -> String {
    format!("{time}#{id}")
}

/// Returns the parts of a sort key. An id may contain `#`.
pub fn parse_sort_key(key: &str) -> Option<(Moment, &str)> {
    let (time, rest) = key.split_at_checked(MOMENT_BYTES)?;
    let (time, id) = (Moment::parse(time)?, rest.strip_prefix('#')?);
    (!id.is_empty() && sort_key(time, id) == key).then_some((time, id))
}

#[cfg(test)]
mod tests;
