//! The operator's commands: each one prints its results and ends with an outcome. Does not know how events are processed.

mod batches;
mod console;
mod dead_letters;
mod error;
mod pace;
mod reader;
mod tables;

pub mod dlq;
pub mod queue;
pub mod send;
pub mod setup;

pub use console::{Console, Outcome};
pub use error::ToolError;
