//! A trace collector for tests: it receives OTLP over gRPC and keeps the spans.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::support::with_timeout;

/// The attributes of the service that sent a span.
pub(crate) type Resource = BTreeMap<String, String>;

pub(crate) struct Collector {
    pub(crate) url: String,
    spans: mpsc::UnboundedReceiver<(Resource, Span)>,
    _server: JoinSet<()>,
}

impl Collector {
    pub(crate) async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener"));
        let (sender, spans) = mpsc::unbounded_channel();
        let router = Routes::new(TraceServiceServer::new(Service { sender })).into_axum_router();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });
        Collector { url, spans, _server: server }
    }

    /// Returns the next span and its service.
    pub(crate) async fn next(&mut self) -> (Resource, Span) {
        with_timeout("a span", self.spans.recv()).await.expect("the server runs")
    }

    /// Returns whether there is no further span.
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

struct Service {
    sender: mpsc::UnboundedSender<(Resource, Span)>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for spans in request.into_inner().resource_spans {
            let attributes = spans.resource.map(|resource| resource.attributes).unwrap_or_default();
            let named = |attribute: KeyValue| Some((attribute.key, attribute.value?.value.and_then(text)?));
            let resource: Resource = attributes.into_iter().filter_map(named).collect();
            for span in spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                // Sending fails after the end of the test.
                let _ = self.sender.send((resource.clone(), span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns an id of a trace or of a span as it is written in headers.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the text of an attribute, or an empty text if the span lacks it.
pub(crate) fn attribute(span: &Span, name: &str) -> String {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name);
    let value = attribute.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value);
    value.and_then(text).unwrap_or_default()
}
