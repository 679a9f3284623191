//! Traces by OTLP over gRPC, for the messages that are sampled. Off, and free, unless OpenTelemetry's own variables name
//! a collector.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

use super::exporter::LoggingExporter;
use super::otel::{self, Sampling, Unsupported};
use crate::consumer::port::Envelope;
use crate::consumer::spans::{Spans, message};

/// At the end, how long the last traces may take to the collector.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum NoTraces {
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error("cannot send traces to the collector that OTEL_EXPORTER_OTLP_ENDPOINT or its kin names")]
    NoWay(#[from] ExporterBuildError),
}

/// The way to the collector.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    sampling: Sampling,
}

impl Traces {
    /// None unless a collector is named. Its connection lives on the runtime that calls this.
    pub fn start() -> Result<Option<Traces>, NoTraces> {
        let Some(sampling) = otel::wanted(variable)? else { return Ok(None) };
        let exporter = SpanExporter::builder().with_tonic().build()?;
        let mut builder =
            SdkTracerProvider::builder().with_batch_exporter(LoggingExporter::new(exporter)).with_resource(resource());
        if sampling == Sampling::AsPublished {
            builder = builder.with_sampler(as_published());
        }
        Ok(Some(Traces { provider: builder.build(), sampling }))
    }

    /// What makes traces of the spans of this process.
    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::Tracer>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer("mini-scan"));
        layer.with_location(false).with_threads(false).with_tracked_inactivity(false).with_level(false)
    }

    /// What opens the span of each message. Where only the publisher's choice counts, a message that it did not choose
    /// has none.
    pub fn spans(&self) -> Spans {
        match self.sampling {
            Sampling::AsPublished => chosen_by_publisher,
            Sampling::AsSaid => any,
        }
    }

    /// Sends what is left, within a bound.
    pub async fn finish(self) {
        // It blocks, and the connection needs this thread meanwhile.
        let shutdown = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        if let Ok(Err(error)) = shutdown.await {
            tracing::warn!("the last traces were not sent: {error}");
        }
    }
}

/// Traced where the publisher traced it, and not otherwise: every message would be far more than a collector bears.
fn as_published() -> Sampler {
    Sampler::ParentBased(Box::new(Sampler::AlwaysOff))
}

fn resource() -> Resource {
    // It goes before `service.name` in OTEL_RESOURCE_ATTRIBUTES; the SDK has it the other way round.
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        return Resource::builder().with_service_name(name).build();
    }
    let resource = Resource::builder().build();
    let name = resource.get(&opentelemetry::Key::from_static_str("service.name"));
    // What the SDK says where nothing else does.
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return resource;
    }
    Resource::builder().with_service_name("mini-scan").build()
}

/// OpenTelemetry's variables are the same for every program and no flags of ours. One that is empty is not set.
#[expect(clippy::disallowed_methods, reason = "its SDK reads the others from there too")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn chosen_by_publisher(envelope: &Envelope, subscription: &str) -> Span {
    let parent = parent(envelope);
    if !parent.span().span_context().is_sampled() {
        return Span::none();
    }
    open(envelope, subscription, parent)
}

fn any(envelope: &Envelope, subscription: &str) -> Span {
    open(envelope, subscription, parent(envelope))
}

fn open(envelope: &Envelope, subscription: &str, parent: opentelemetry::Context) -> Span {
    let span = message(envelope, subscription);
    // Refused only where there is no layer, and then nothing is traced.
    let _ = span.set_parent(parent);
    span
}

/// The publisher's span, if it sent one along.
fn parent(envelope: &Envelope) -> opentelemetry::Context {
    let attributes = Attributes(&envelope.attributes);
    TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &attributes)
}

/// Where Google's clients put the W3C trace context.
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
    fn the_publishers_trace_goes_on_where_it_sent_one() {
        let parent = parent(&envelope(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
        let span = parent.span().span_context().clone();
        assert_eq!(span.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.span_id().to_string(), "b7ad6b7169203331");
        assert!(span.is_sampled() && span.is_remote());
    }

    #[test]
    fn what_is_no_trace_or_not_sampled_has_no_span() {
        let not_sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        for traceparent in [None, Some(""), Some("nonsense"), Some(not_sampled)] {
            assert!(chosen_by_publisher(&envelope(traceparent), "s").is_none(), "{traceparent:?}");
        }
    }
}
