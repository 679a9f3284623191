//! What the HTTP endpoint shows of a running consumer.

use std::sync::Arc;
use std::time::SystemTime;

use ops::http::{Instance, Unready};

use super::metrics::Metrics;
use super::page::page;
use crate::consumer::Process;

/// A running consumer with its metrics.
#[derive(Debug)]
pub struct Watched {
    process: Arc<Process>,
    metrics: Arc<Metrics>,
    started: SystemTime,
}

impl Watched {
    /// Combines both. The process has just started.
    pub fn new(process: Arc<Process>, metrics: Arc<Metrics>) -> Watched {
        #[expect(clippy::disallowed_methods, reason = "a start time for people; no decision depends on it")]
        let started = SystemTime::now();
        Watched { process, metrics, started }
    }
}

impl Instance for Watched {
    fn metrics(&self) -> String {
        page(&self.process, &self.metrics, self.started)
    }

    fn is_alive(&self) -> bool {
        self.process.liveness.is_alive()
    }

    fn unready(&self) -> Vec<Unready> {
        self.process.unready()
    }
}
