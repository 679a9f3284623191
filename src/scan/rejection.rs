//! Why a message is not a scan that can be stored.

use std::fmt;

/// A message that will never become a record, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    pub reason: Reason,
    /// One line for a person: what was found and what was expected. Never the whole payload.
    pub detail: String,
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
