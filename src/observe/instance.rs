//! The consumer as its HTTP endpoint shows it.

use std::sync::Arc;
use std::time::SystemTime;

use ops::http::{Instance, Unready};

use super::metrics::Metrics;
use super::page::page;
use crate::consumer::Process;

/// A running consumer.
#[derive(Debug)]
pub struct Watched {
    process: Arc<Process>,
    metrics: Arc<Metrics>,
    started: SystemTime,
}

impl Watched {
    /// Of a process that has just started.
    pub fn new(process: Arc<Process>, metrics: Arc<Metrics>) -> Watched {
        #[expect(clippy::disallowed_methods, reason = "the start of the process, for people")]
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
