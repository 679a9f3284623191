//! The spans of the API's requests and of their calls, which continue the trace of the client.

use std::borrow::Cow;

use http_api::{Arrived, Responded};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use ops::traces::Sampling;
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::spans::{TARGET, call, failed};
use crate::hosts::Operation;

/// Opens the spans of an API of one table.
#[derive(Debug)]
pub struct RequestSpans {
    sampling: Sampling,
    table: String,
}

impl RequestSpans {
    pub fn new(sampling: Sampling, table: &str) -> RequestSpans {
        RequestSpans { sampling, table: table.to_owned() }
    }

    /// Opens the span of a request; a disabled one if the client decides what is traced and did not trace this request.
    /// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>
    pub(super) fn request(&self, arrived: &Arrived<'_>) -> Span {
        let method = arrived.method;
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(arrived));
        if self.sampling == Sampling::Parent && !parent.span().span_context().is_sampled() {
            return Span::none();
        }
        let name = arrived.route.map_or(Cow::Borrowed(method), |route| Cow::Owned(format!("{method} {route}")));
        let span = info_span!(
            target: TARGET,
            parent: None,
            "request",
            otel.name = %name,
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.route = arrived.route,
            http.response.status_code = Empty,
            error.type = Empty,
        );
        // Fails only without a layer for traces.
        let _ = span.set_parent(parent);
        span
    }

    /// Opens the span of a call inside the span of the request that makes it.
    pub(super) fn call(&self, operation: Operation) -> Span {
        let request = Span::current();
        if request.is_none() { request } else { call(&request, operation.name(), &self.table) }
    }
}

/// Records how the request of this span ended.
pub(super) fn responded(request: &Span, responded: &Responded<'_>) {
    request.record("http.response.status_code", responded.status);
    if responded.status >= 500 {
        failed(request, &responded.status.to_string());
    }
}

/// Reads the W3C trace context from the headers of a request.
struct Headers<'a>(&'a Arrived<'a>);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.headers.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}
