//! Traces by OTLP over gRPC, where OpenTelemetry's own environment variables name a collector; off otherwise. Which spans
//! there are is the program's decision.

mod environment;
mod exporter;
mod spans;

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Tracer};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use self::exporter::LoggingExporter;
use crate::Program;

pub use environment::{Sampling, Unsupported};
pub use spans::{continued, continued_text, sender_context, traceparent};

/// At the end, how long sending the last traces may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum NoTraces {
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error(
        "cannot send traces to the collector; check OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    )]
    Exporter(#[from] ExporterBuildError),
}

/// The connection to the collector.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    sampling: Sampling,
    program: &'static str,
}

impl Traces {
    /// Connects on the runtime that calls this. `None` where no collector is named.
    pub fn start(program: &Program) -> Result<Option<Traces>, NoTraces> {
        let Some(sampling) = environment::sampling(variable)? else { return Ok(None) };
        let exporter = SpanExporter::builder().with_tonic().build()?;
        let mut builder = SdkTracerProvider::builder()
            .with_batch_exporter(LoggingExporter::new(exporter))
            .with_resource(resource(program.name));
        if sampling == Sampling::Parent {
            // Every message would be far more than a collector can take.
            builder = builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
        }
        Ok(Some(Traces { provider: builder.build(), sampling, program: program.name }))
    }

    /// Returns which spans are traced, so that a program need not open the others.
    pub fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// Returns the layer that turns the spans of this process into traces.
    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, Tracer>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let layer = tracing_opentelemetry::layer().with_tracer(self.provider.tracer(self.program));
        layer.with_location(false).with_threads(false).with_tracked_inactivity(false).with_level(false)
    }

    /// Sends the last traces, within a second.
    pub async fn finish(self) {
        // The call blocks, and the connection needs this thread meanwhile.
        let shutdown = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        if let Ok(Err(error)) = shutdown.await {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

fn resource(program: &'static str) -> Resource {
    // By the specification OTEL_SERVICE_NAME precedes `service.name` in OTEL_RESOURCE_ATTRIBUTES; the SDK has them the
    // other way round.
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        return Resource::builder().with_service_name(name).build();
    }
    let resource = Resource::builder().build();
    let name = resource.get(&opentelemetry::Key::from_static_str("service.name"));
    // The SDK's default is `unknown_service`.
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return resource;
    }
    Resource::builder().with_service_name(program).build()
}

/// Returns a variable that is set and not empty. OpenTelemetry's variables are the same for every program, so they are no
/// flags of ours.
#[expect(clippy::disallowed_methods, reason = "OpenTelemetry's SDK reads the others from the environment, too")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
