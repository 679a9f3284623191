//! Logs once when the collector refuses traces, and once when it accepts them again: the SDK logs neither.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::{info, warn};

#[derive(Debug)]
pub(super) struct LoggingExporter<E> {
    exporter: E,
    is_failing: AtomicBool,
}

impl<E: SpanExporter> LoggingExporter<E> {
    pub(super) fn new(exporter: E) -> LoggingExporter<E> {
        LoggingExporter { exporter, is_failing: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for LoggingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_failing => warn!(%error, "traces are lost: the collector does not accept them"),
            Ok(()) if was_failing => info!("the collector accepts traces again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
