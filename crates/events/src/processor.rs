//! The processor: from the queue to the table.

pub mod flow;
pub mod health;
mod run;
#[cfg(test)]
mod simulation;

pub use flow::Limits;
pub use run::{Ports, Processor, Settings};
