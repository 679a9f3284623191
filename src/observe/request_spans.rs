//! The spans of the API's requests and of their calls, which continue the trace of the client.

use std::borrow::Cow;

use http_api::{Arrived, Responded};
use opentelemetry::propagation::Extractor;
use ops::traces::{Sampling, continued};
use tracing::field::Empty;
use tracing::{Span, info_span};

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
        let Arrived { method, route, .. } = *arrived;
        continued(self.sampling, &Headers(arrived), || {
            let name = route.map_or(Cow::Borrowed(method), |route| Cow::Owned(format!("{method} {route}")));
            info_span!(
                target: TARGET,
                parent: None,
                "request",
                otel.name = %name,
                otel.kind = "server",
                otel.status_code = Empty,
                http.request.method = method,
                http.route = route,
                http.response.status_code = Empty,
                error.type = Empty,
            )
        })
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
