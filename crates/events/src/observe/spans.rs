//! The spans of messages, of events that are delivered, and of the calls for them. They continue the trace of the producer.
//! `ops` sends them to the collector and keeps them out of the logs.

use ops::traces::{Sampling, continued_text};
use tracing::field::Empty;
use tracing::{Span, info_span};
use webhooks::{Answer, Post, TraceParent};

use super::SPANS as TARGET;
use crate::deliver::{Handled, StoredEvent};
use crate::names::Queues;
use crate::ports::{Call, Failure, Message, Outcome};

/// Opens the spans of a processor.
#[derive(Debug)]
pub struct MessageSpans {
    sampling: Sampling,
    queues: Queues,
    table: String,
}

impl MessageSpans {
    /// Takes the table of events.
    pub fn new(sampling: Sampling, queues: &Queues, table: &str) -> MessageSpans {
        MessageSpans { sampling, queues: queues.clone(), table: table.to_owned() }
    }

    /// Opens the span of a message; a disabled one if its producer decides what is traced and did not trace it.
    /// <https://opentelemetry.io/docs/specs/semconv/messaging/sqs/>
    pub(super) fn message(&self, message: &Message) -> Span {
        let queue = self.queues.events.as_str();
        continued_text(self.sampling, message.trace.as_deref(), || {
            info_span!(
                target: TARGET,
                parent: None,
                "process",
                otel.name = format!("process {queue}"),
                otel.kind = "consumer",
                messaging.system = "aws_sqs",
                messaging.operation.r#type = "process",
                messaging.operation.name = "process",
                messaging.destination.name = queue,
                messaging.message.id = message.message_id,
                messaging.message.body.size = message.body.len(),
                receives = message.receives,
                outcome = Empty,
                error.type = Empty,
            )
        })
    }

    /// Opens the span of a call inside the span of its message. A dispatch has spans of its own.
    pub(super) fn call(&self, message: &Span, call: Call) -> Span {
        if message.is_none() {
            return Span::none();
        }
        match call {
            Call::Put => info_span!(
                target: TARGET,
                parent: message,
                "call",
                otel.name = "PutItem",
                otel.kind = "client",
                otel.status_code = Empty,
                db.system.name = "aws.dynamodb",
                db.operation.name = "PutItem",
                db.collection.name = self.table,
                error.type = Empty,
            ),
            Call::SendDeadLetter => {
                let queue = self.queues.events_dead.as_str();
                info_span!(
                    target: TARGET,
                    parent: message,
                    "call",
                    otel.name = format!("send {queue}"),
                    otel.kind = "producer",
                    otel.status_code = Empty,
                    messaging.system = "aws_sqs",
                    messaging.operation.r#type = "send",
                    messaging.operation.name = "SendMessage",
                    messaging.destination.name = queue,
                    error.type = Empty,
                )
            }
            Call::Receive | Call::Delete | Call::SetVisibility | Call::Dispatch => Span::none(),
        }
    }
}

/// Records what became of the message of this span.
pub(super) fn settled(message: &Span, outcome: Outcome) {
    if message.is_none() {
        return;
    }
    let (name, error) = match outcome {
        Outcome::Stored => ("stored", None),
        Outcome::Duplicate => ("duplicate", None),
        Outcome::DeadLettered(reason) => ("dead_letter", Some(reason.name())),
        Outcome::Left(reason) => ("left", Some(reason.name())),
    };
    message.record("outcome", name).record("error.type", error);
}

/// Records why the call of this span failed.
pub(super) fn call_failed(call: &Span, failure: &Failure) {
    failed(
        call,
        match failure {
            Failure::Unavailable(_) => "unavailable",
            Failure::Refused(_) => "refused",
        },
    );
}

/// Opens the spans of deliveries.
#[derive(Debug)]
pub struct DeliverySpans {
    sampling: Sampling,
    table: String,
}

impl DeliverySpans {
    /// Takes the table of events.
    pub fn new(sampling: Sampling, table: &str) -> DeliverySpans {
        DeliverySpans { sampling, table: table.to_owned() }
    }

    pub(super) fn event(&self, event: &StoredEvent) -> Span {
        let table = self.table.as_str();
        continued_text(self.sampling, event.trace.as_deref(), || {
            info_span!(
                target: TARGET,
                parent: None,
                "deliver",
                otel.name = format!("deliver {table}"),
                otel.kind = "consumer",
                client_id = event.client_id,
                event_key = event.key,
                outcome = Empty,
                error.type = Empty,
            )
        })
    }

    /// Opens the span of a request to a target. Its URL may contain secrets.
    /// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>
    pub(super) fn attempt(&self, post: &Post) -> Span {
        continued_text(self.sampling, post.trace.as_ref().map(TraceParent::as_str), || {
            info_span!(
                target: TARGET,
                parent: None,
                "attempt",
                otel.name = "POST",
                otel.kind = "client",
                otel.status_code = Empty,
                http.request.method = "POST",
                http.response.status_code = Empty,
                webhook.id = post.id,
                error.type = Empty,
            )
        })
    }
}

/// Records what became of the event of this span.
pub(super) fn event_ended(event: &Span, result: &Result<Handled, Failure>) {
    match result {
        Ok(handled) => event.record("outcome", handled.name()),
        Err(Failure::Unavailable(_)) => event.record("error.type", "unavailable"),
        Err(Failure::Refused(_)) => event.record("error.type", "refused"),
    };
}

/// Records how the attempt of this span ended.
pub(super) fn attempt_ended(attempt: &Span, result: &Result<Answer, webhooks::Failure>) {
    match result {
        Ok(Answer { status, .. }) => {
            attempt.record("http.response.status_code", status);
            if !(200..300).contains(status) {
                failed(attempt, &status.to_string());
            }
        }
        Err(failure) => failed(attempt, &failure.to_stored()),
    }
}

fn failed(span: &Span, error: &str) {
    span.record("error.type", error).record("otel.status_code", "ERROR");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_producer_did_not_trace_has_no_span() {
        let spans = DeliverySpans::new(Sampling::Parent, "Events");
        let not_sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        for trace in [None, Some("nonsense"), Some(not_sampled)] {
            let event = StoredEvent {
                client_id: "acme".to_owned(),
                event_type: "order".to_owned(),
                key: String::new(),
                data: String::new(),
                sent: None,
                trace: trace.map(str::to_owned),
            };
            assert!(spans.event(&event).is_none(), "{trace:?}");
        }
    }
}
