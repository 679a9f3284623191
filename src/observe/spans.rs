//! The spans of messages and of their writes, with the publisher's trace context. `ops` sends them to the collector and
//! keeps them out of the logs.

use std::collections::HashMap;

use opentelemetry::propagation::Extractor;
use ops::traces::{Sampling, continued};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::consumer::ports::{End, Envelope, Operation};

/// The target of all spans in this module.
pub(super) const TARGET: &str = "mini_scan::spans";

/// Opens the spans of one subscription and table.
#[derive(Debug)]
pub struct Spans {
    sampling: Sampling,
    subscription: String,
    table: String,
}

impl Spans {
    /// Takes the full name of the subscription and the name of the table.
    pub fn new(sampling: Sampling, subscription: &str, table: &str) -> Spans {
        let id = subscription.rsplit('/').next().unwrap_or_default();
        Spans { sampling, subscription: id.to_owned(), table: table.to_owned() }
    }

    /// Opens the span of a message, from its arrival to its settlement; a disabled one if the publisher decides what is
    /// traced and did not trace this message.
    pub(super) fn message(&self, envelope: &Envelope) -> Span {
        continued(self.sampling, &Attributes(&envelope.attributes), || self.open(envelope))
    }

    /// <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>
    fn open(&self, envelope: &Envelope) -> Span {
        let id = self.subscription.as_str();
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

    /// Opens the span of one attempt to write, inside the span of its message.
    pub(super) fn attempt(&self, message: &Span, operation: Operation) -> Span {
        if message.is_none() {
            return Span::none();
        }
        call(message, operation.name(), &self.table)
    }
}

/// Opens the span of one call of DynamoDB.
/// <https://opentelemetry.io/docs/specs/semconv/database/dynamodb/>
pub(super) fn call(parent: &Span, operation: &str, table: &str) -> Span {
    info_span!(
        target: TARGET,
        parent: parent,
        "call",
        otel.name = operation,
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = "aws.dynamodb",
        db.operation.name = operation,
        db.collection.name = table,
        error.type = Empty,
    )
}

/// Records how the message of this span ended.
pub(super) fn settled(message: &Span, end: End) {
    if !message.is_none() {
        message.record("outcome", end.name());
        message.record("error.type", end.error());
    }
}

/// Records why the call or request of this span failed.
pub(super) fn failed(span: &Span, error: &str) {
    span.record("error.type", error).record("otel.status_code", "ERROR");
}

/// Reads the W3C trace context from the attributes that Google's clients write.
struct Attributes<'a>(&'a HashMap<String, String>);

impl Extractor for Attributes<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let name = match key {
            "traceparent" => "googclient_traceparent",
            "tracestate" => "googclient_tracestate",
            _ => return None,
        };
        self.0.get(name).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::trace::TraceContextExt;
    use ops::traces::sender_context;

    use super::*;

    fn envelope(traceparent: Option<&str>) -> Envelope {
        let attribute = |value: &str| ("googclient_traceparent".to_owned(), value.to_owned());
        Envelope {
            payload: bytes::Bytes::new(),
            attributes: traceparent.map(attribute).into_iter().collect(),
            message_id: "1".to_owned(),
            publish_time: SystemTime::UNIX_EPOCH,
            delivery_attempt: None,
        }
    }

    #[test]
    fn continues_the_trace_of_the_publisher() {
        let envelope = envelope(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let parent = sender_context(&Attributes(&envelope.attributes));
        let span = parent.span().span_context().clone();
        assert_eq!(span.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.span_id().to_string(), "b7ad6b7169203331");
        assert!(span.is_sampled() && span.is_remote());
    }

    #[test]
    fn a_message_without_a_sampled_trace_has_no_span() {
        let spans = Spans::new(Sampling::Parent, "projects/p/subscriptions/s", "scan-results");
        let not_sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        for traceparent in [None, Some(""), Some("nonsense"), Some(not_sampled)] {
            assert!(spans.message(&envelope(traceparent)).is_none(), "{traceparent:?}");
        }
    }
}
