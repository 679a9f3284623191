//! The operator's commands: each one prints its results and ends with an outcome. Does not know how events are processed.

mod batches;
mod dead_letters;
mod error;
mod pace;
mod reader;
mod redelivery;
mod repeat;
mod tables;

pub mod check;
pub mod dlq;
pub mod events;
pub mod queue;
pub mod routes;
pub mod send;
pub mod setup;

use ops::console::{Console, Outcome, ToolError};
