//! The lines that the sink writes, and what it counts.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::value::RawValue;

use super::behaviour::Reaction;
use super::inspection::{Inspected, Signature};
use ops::terminal::{ascii_json, sanitize};

/// How many accepted ids the sink remembers, so that its memory is bounded.
const REMEMBERED: usize = 1_000_000;
/// The longest text from a request in a line for people.
const MAX_CHARS: usize = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One line per request for people, without the body.
    Text,
    /// One JSON object per line, with the body.
    Json,
}

/// A request, and what happens to it.
pub(super) struct Entry<'a> {
    pub(super) received: SystemTime,
    pub(super) path: &'a str,
    pub(super) inspected: &'a Inspected,
    pub(super) body: &'a [u8],
    pub(super) reaction: Reaction,
}

/// What the sink has received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub requests: u64,
    /// Answered with a status of success.
    pub accepted: u64,
    /// Accepted ones whose id was accepted before.
    pub duplicates: u64,
    /// Without a valid signature.
    pub rejected: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { requests, accepted, duplicates, rejected } = self;
        let failed = requests - accepted - rejected;
        write!(f, "Requests: {requests}, accepted: {accepted}, ")?;
        write!(f, "of these duplicates: {duplicates}, rejected: {rejected}, failed on demand: {failed}")
    }
}

/// Writes each request before it is answered.
pub(super) struct Journal {
    format: Format,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    summary: Summary,
    accepted: Remembered,
}

impl Journal {
    pub(super) fn new(format: Format, out: Box<dyn Write + Send>) -> Journal {
        let state = State { out, summary: Summary::default(), accepted: Remembered::default() };
        Journal { format, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, entry: &Entry<'_>) -> io::Result<()> {
        let mut state = self.state();
        let is_duplicate = match &entry.inspected.id {
            Some(id) if entry.reaction.is_accepted() => !state.accepted.insert(id),
            _ => false,
        };
        let line = match self.format {
            Format::Text => entry.text(is_duplicate),
            Format::Json => ascii_json(&serde_json::to_string(&entry.line(is_duplicate))?),
        };
        writeln!(state.out, "{line}")?;
        state.out.flush()?;
        state.summary.requests += 1;
        state.summary.accepted += u64::from(entry.reaction.is_accepted());
        state.summary.rejected += u64::from(entry.inspected.is_rejected());
        state.summary.duplicates += u64::from(is_duplicate);
        Ok(())
    }

    /// Returns the counts.
    pub(super) fn finish(&self) -> io::Result<Summary> {
        let mut state = self.state();
        state.out.flush()?;
        Ok(state.summary)
    }
}

/// Hashes of the ids that were accepted last.
#[derive(Default)]
struct Remembered {
    hasher: RandomState,
    hashes: HashSet<u64>,
    oldest: VecDeque<u64>,
}

impl Remembered {
    /// Returns whether the id is new.
    fn insert(&mut self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        if !self.hashes.insert(hash) {
            return false;
        }
        self.oldest.push_back(hash);
        if self.oldest.len() > REMEMBERED
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.hashes.remove(&oldest);
        }
        true
    }
}

/// A line as JSON.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    /// The status of the answer, or none if the sink hangs.
    status: Option<u16>,
    /// None without a secret.
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    duplicate: bool,
    path: &'a str,
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Json(&'a RawValue),
    Text(String),
}

impl<'a> Body<'a> {
    /// JSON stays as it is, unless it has several lines.
    fn of(body: &'a [u8]) -> Body<'a> {
        let json: Option<&RawValue> = serde_json::from_slice(body).ok();
        match json.filter(|json| !json.get().contains(char::is_control)) {
            Some(json) => Body::Json(json),
            None => Body::Text(String::from_utf8_lossy(body).into_owned()),
        }
    }
}

impl Entry<'_> {
    fn time(&self) -> String {
        humantime::format_rfc3339_millis(self.received).to_string()
    }

    fn status(&self) -> Option<u16> {
        match self.reaction {
            Reaction::Answer(status) => Some(status.as_u16()),
            Reaction::Hang => None,
        }
    }

    fn text(&self, is_duplicate: bool) -> String {
        let Inspected { id, kind, signature } = self.inspected;
        let shown = |text: &Option<String>| sanitize(text.as_deref().unwrap_or("-"), MAX_CHARS);
        let signature = match signature {
            Signature::Verified => "verified".to_owned(),
            Signature::Unchecked => "not verified".to_owned(),
            Signature::Rejected(why) => format!("rejected: {}", sanitize(why, MAX_CHARS)),
        };
        let status = self.status().map_or("no answer".to_owned(), |status| status.to_string());
        let duplicate = if is_duplicate { "  duplicate" } else { "" };
        format!("{}  {}  {}  {status}  {signature}{duplicate}", self.time(), shown(id), shown(kind))
    }

    fn line(&self, is_duplicate: bool) -> Line<'_> {
        let Inspected { id, kind, signature } = self.inspected;
        let (verified, problem) = match signature {
            Signature::Verified => (Some(true), None),
            Signature::Unchecked => (None, None),
            Signature::Rejected(why) => (Some(false), Some(why.as_str())),
        };
        Line {
            time: self.time(),
            id: id.as_deref(),
            kind: kind.as_deref(),
            status: self.status(),
            verified,
            problem,
            duplicate: is_duplicate,
            path: self.path,
            body: Body::of(self.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use axum::http::StatusCode;

    use super::*;

    fn inspected(kind: &str) -> Inspected {
        Inspected { id: Some("msg_1".to_owned()), kind: Some(kind.to_owned()), signature: Signature::Verified }
    }

    fn entry<'a>(inspected: &'a Inspected, body: &'a [u8]) -> Entry<'a> {
        Entry { received: UNIX_EPOCH, path: "/", inspected, body, reaction: Reaction::Answer(StatusCode::OK) }
    }

    #[test]
    fn a_line_for_people_has_no_control_character() {
        let inspected = inspected("scan\u{1b}[2J\nopened");
        assert_eq!(
            entry(&inspected, b"").text(true),
            "1970-01-01T00:00:00.000Z  msg_1  scan\\u{1b}[2J\\nopened  200  verified  duplicate"
        );
    }

    #[test]
    fn a_body_is_embedded_unless_it_would_break_the_line() {
        let inspected = inspected("scan.opened");
        for (body, expected) in [
            (r#"{"b":1.50,"a":"ä"}"#, r#"{"b":1.50,"a":"\u00e4"}"#),
            ("{\n}", r#""{\n}""#),
            ("not JSON\u{1b}", r#""not JSON\u001b""#),
            ("", r#""""#),
        ] {
            let line = ascii_json(&serde_json::to_string(&entry(&inspected, body.as_bytes()).line(false)).unwrap());
            assert!(line.ends_with(&format!(r#","body":{expected}}}"#)), "{line}");
        }
    }

    #[test]
    fn an_accepted_id_is_remembered_and_the_oldest_is_forgotten() {
        let mut remembered = Remembered::default();
        assert!(remembered.insert("msg_1"));
        assert!(!remembered.insert("msg_1"));
        for number in 0..REMEMBERED {
            assert!(remembered.insert(&format!("other_{number}")));
        }
        assert_eq!(remembered.hashes.len(), REMEMBERED);
        assert!(remembered.insert("msg_1"));
    }
}
