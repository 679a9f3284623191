//! Renders the rates at which the autoscaler adds a consumer.

use super::inputs::Inputs;
use super::plan::{Copies, Load, Mode};
use super::tables::{SIZES, header, row, short};

impl Inputs {
    /// Returns the messages per second at which the unsettled messages of one consumer reach the threshold.
    pub(super) fn at_threshold(&self) -> f64 {
        self.threshold / self.until_acknowledged()
    }

    /// Returns the messages per second at which one consumer reaches the CPU target, if each message is a write.
    pub(super) fn at_cpu_target(&self, mode: Mode) -> f64 {
        let (_, cores) = SIZES[0];
        let load = Load { messages: 1.0, mode, copies: Copies::Miss, cores };
        cores as f64 * self.cpu_target / (self.cores(&load) / self.headroom)
    }
}

/// Renders the messages per second of all consumers at which another one starts.
pub(super) fn targets(inputs: &Inputs) -> String {
    let mut rows = vec![header("consumers that run", &["backlog, put and batch", "CPU, put", "CPU, batch"])];
    for consumers in [2.0, 4.0, 8.0, inputs.replicas - 1.0] {
        let rates = [inputs.at_threshold(), inputs.at_cpu_target(Mode::Put), inputs.at_cpu_target(Mode::Batch)];
        rows.push(row(&consumers.to_string(), &rates.map(|rate| short(rate * consumers))));
    }
    rows.concat()
}
