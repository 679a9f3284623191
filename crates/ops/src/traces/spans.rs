//! Spans that continue the trace of a sender, and what the next receiver needs to continue theirs.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::Sampling;

/// Opens a span that continues the trace of its sender; a disabled one if the sender decides what is traced and did not trace
/// this.
pub fn continued(sampling: Sampling, sender: &dyn Extractor, open: impl FnOnce() -> Span) -> Span {
    let parent = sender_context(sender);
    if sampling == Sampling::Parent && !parent.span().span_context().is_sampled() {
        return Span::none();
    }
    let span = open();
    // Fails only without a layer for traces.
    let _ = span.set_parent(parent);
    span
}

/// Opens a span that continues a W3C `traceparent`, as [`continued`] does.
pub fn continued_text(sampling: Sampling, traceparent: Option<&str>, open: impl FnOnce() -> Span) -> Span {
    continued(sampling, &TraceParent(traceparent), open)
}

/// Returns the sender's span context, which is invalid if the sender sent none.
pub fn sender_context(sender: &dyn Extractor) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), sender)
}

/// Returns the W3C `traceparent` of a span. `None` if the span is disabled.
pub fn traceparent(span: &Span) -> Option<String> {
    if span.is_none() {
        return None;
    }
    let context = span.context();
    let current = context.span().span_context().clone();
    let flags = current.trace_flags().to_u8();
    current.is_valid().then(|| format!("00-{}-{}-{flags:02x}", current.trace_id(), current.span_id()))
}

/// A `traceparent` without `tracestate`.
struct TraceParent<'a>(Option<&'a str>);

impl Extractor for TraceParent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.filter(|_| key == "traceparent")
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn the_context_of_a_span_has_the_trace_of_its_sender_and_an_id_of_its_own() {
        let layer = tracing_opentelemetry::layer().with_tracer(SdkTracerProvider::default().tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = continued_text(Sampling::Parent, Some(SAMPLED), || info_span!("process"));
            let next = traceparent(&span).unwrap();
            assert!(next.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && next.ends_with("-01"), "{next}");
            assert_ne!(next, SAMPLED);
            assert_eq!(traceparent(&span), Some(next));
        });
    }

    #[test]
    fn without_a_sampled_sender_there_is_no_span() {
        for sender in [None, Some(""), Some("nonsense"), Some(NOT_SAMPLED)] {
            let span = continued_text(Sampling::Parent, sender, || unreachable!("it is not sampled"));
            assert_eq!((span.is_none(), traceparent(&span)), (true, None), "{sender:?}");
        }
    }
}
