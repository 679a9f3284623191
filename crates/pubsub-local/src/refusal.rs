//! Why a request is refused, in the codes that Google's API documents. Knows neither gRPC nor HTTP.

use std::fmt;

/// A refused request: the code that clients judge by, and one sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    pub(super) code: Code,
    message: String,
}

/// Those of `google.rpc.Code` that this server answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    Unimplemented,
    Unavailable,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl fmt::Display) -> Refusal {
        Refusal { code, message: message.to_string() }
    }

    pub(super) fn invalid(message: impl fmt::Display) -> Refusal {
        Refusal::new(Code::InvalidArgument, message)
    }

    pub(super) fn not_found(name: &str) -> Refusal {
        Refusal::new(Code::NotFound, format_args!("Resource not found: {name}"))
    }

    pub(super) fn already_exists(name: &str) -> Refusal {
        Refusal::new(Code::AlreadyExists, format_args!("Resource already exists: {name}"))
    }

    pub(super) fn not_offered(what: &str) -> Refusal {
        Refusal::new(Code::Unimplemented, format_args!("The embedded Pub/Sub server does not offer {what}"))
    }

    pub(super) fn stopping() -> Refusal {
        Refusal::new(Code::Unavailable, "The server is stopping")
    }
}
