//! The processor: from the queue to the table.

pub mod flow;
mod run;
#[cfg(test)]
mod simulation;

pub use run::{Ports, Processor, Settings};
