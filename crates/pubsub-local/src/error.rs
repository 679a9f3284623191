//! Error responses, with the codes that Google's API documents. This module knows neither gRPC nor HTTP.

use std::fmt;

/// An error response: a code for the client and one sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ApiError {
    pub(super) code: Code,
    message: String,
}

/// The values of `google.rpc.Code` that this server returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    Unimplemented,
    Unavailable,
}

impl ApiError {
    pub(super) fn new(code: Code, message: impl fmt::Display) -> ApiError {
        ApiError { code, message: message.to_string() }
    }

    pub(super) fn invalid_argument(message: impl fmt::Display) -> ApiError {
        ApiError::new(Code::InvalidArgument, message)
    }

    pub(super) fn not_found(name: &str) -> ApiError {
        ApiError::new(Code::NotFound, format_args!("Resource not found: {name}"))
    }

    pub(super) fn already_exists(name: &str) -> ApiError {
        ApiError::new(Code::AlreadyExists, format_args!("Resource already exists: {name}"))
    }

    /// A feature of Pub/Sub that this server does not implement.
    pub(super) fn unsupported(feature: &str) -> ApiError {
        ApiError::new(Code::Unimplemented, format_args!("The embedded Pub/Sub server does not support {feature}"))
    }

    pub(super) fn shutting_down() -> ApiError {
        ApiError::new(Code::Unavailable, "The server is shutting down")
    }

    pub(super) fn stream_closed() -> ApiError {
        ApiError::new(Code::Unavailable, "The server closed the stream")
    }
}
