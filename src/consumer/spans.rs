//! The spans of a message and of its writes, for whoever makes traces of them. Without such a one there are none.

use tracing::field::Empty;
use tracing::{Span, info_span};

use super::durations::Operation;
use super::port::{Envelope, StoreErrorKind};

/// Opens the span of a message on the subscription of this full name; a disabled one where it is not traced.
pub type Spans = fn(&Envelope, &str) -> Span;

/// The target of every span here, so that traces and logs can be told apart.
pub const TARGET: &str = "mini_scan::spans";

/// The span of a message, from its arrival until it is settled.
/// <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>
pub fn message(envelope: &Envelope, subscription: &str) -> Span {
    let id = subscription.rsplit('/').next().unwrap_or_default();
    info_span!(
        target: TARGET,
        parent: None,
        "process",
        otel.name = format!("process {id}"),
        otel.kind = "consumer",
        messaging.system = "gcp_pubsub",
        messaging.operation.r#type = "process",
        messaging.operation.name = "process",
        messaging.destination.name = id,
        messaging.message.id = envelope.message_id,
        messaging.message.body.size = envelope.payload.len(),
        messaging.gcp_pubsub.message.delivery_attempt = envelope.delivery_attempt,
        outcome = Empty,
        error.type = Empty,
    )
}

/// One attempt of a write, within the span of its message.
/// <https://opentelemetry.io/docs/specs/semconv/database/dynamodb/>
pub(super) fn attempt(message: &Span, operation: Operation, table: &str) -> Span {
    if message.is_none() {
        return Span::none();
    }
    info_span!(
        target: TARGET,
        parent: message,
        "write",
        otel.name = operation.name(),
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = "aws.dynamodb",
        db.operation.name = operation.name(),
        db.collection.name = table,
        error.type = Empty,
    )
}

/// An attempt failed.
pub(super) fn failed(attempt: &Span, kind: StoreErrorKind) {
    attempt.record("error.type", kind.name()).record("otel.status_code", "ERROR");
}
