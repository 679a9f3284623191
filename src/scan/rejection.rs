//! The reasons to reject a message. Does not know how they are detected.

use std::fmt;

/// Why a message can never become a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    pub reason: Reason,
    /// One line for a person: the value found and the value expected. Never the whole payload.
    pub detail: String,
}

impl Rejection {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Rejection {
        Rejection { reason, detail: detail.into() }
    }
}

/// How many characters of an invalid value a detail shows. Escaping makes them at most ten times as long, which still
/// fits in an attribute of a dead letter.
const QUOTED_CHARS: usize = 64;

/// Returns the start of a value for a detail: always one line of printable ASCII.
pub(super) fn quote(value: &str) -> String {
    let mut quoted = String::from("`");
    for c in value.chars().take(QUOTED_CHARS) {
        match c {
            ' '..='~' => quoted.push(c),
            _ => quoted.extend(c.escape_default()),
        }
    }
    quoted.push('`');
    if value.chars().nth(QUOTED_CHARS).is_some() {
        quoted.push_str(&format!("... ({} bytes)", value.len()));
    }
    quoted
}

/// The `rejection_reason` of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    MalformedJson,
    MissingField,
    InvalidIp,
    InvalidPort,
    InvalidService,
    InvalidTimestamp,
    TimestampInFuture,
    UnsupportedVersion,
    InvalidBase64,
    ItemTooLarge,
    RefusedByStore,
    HandlerPanicked,
}

impl Reason {
    pub const ALL: [Reason; 12] = [
        Reason::MalformedJson,
        Reason::MissingField,
        Reason::InvalidIp,
        Reason::InvalidPort,
        Reason::InvalidService,
        Reason::InvalidTimestamp,
        Reason::TimestampInFuture,
        Reason::UnsupportedVersion,
        Reason::InvalidBase64,
        Reason::ItemTooLarge,
        Reason::RefusedByStore,
        Reason::HandlerPanicked,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::MalformedJson => "malformed_json",
            Reason::MissingField => "missing_field",
            Reason::InvalidIp => "invalid_ip",
            Reason::InvalidPort => "invalid_port",
            Reason::InvalidService => "invalid_service",
            Reason::InvalidTimestamp => "invalid_timestamp",
            Reason::TimestampInFuture => "timestamp_in_future",
            Reason::UnsupportedVersion => "unsupported_version",
            Reason::InvalidBase64 => "invalid_base64",
            Reason::ItemTooLarge => "item_too_large",
            Reason::RefusedByStore => "refused_by_store",
            Reason::HandlerPanicked => "handler_panicked",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_short_printable_ascii_for_every_value() {
        assert_eq!(quote("\"80\""), "`\"80\"`");
        assert_eq!(quote("[\n\u{202e}]"), r"`[\n\u{202e}]`");
        let long = quote(&"\u{10ffff}".repeat(1_000));
        assert!(long.is_ascii() && long.len() < 700, "{long}");
        assert!(long.ends_with("... (4000 bytes)"), "{long}");
    }

    #[test]
    fn every_reason_is_listed_once_and_has_a_unique_name() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        let rejection = Rejection::new(Reason::InvalidPort, "why");
        assert_eq!(rejection.to_string(), "invalid_port: why");
    }
}
