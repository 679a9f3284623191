//! Processes messages: each is decoded, deduplicated, written and settled by a worker. Defines the ports that it needs, and
//! knows no vendor.

mod dedup;
mod delivery;
mod flow;
mod health;
mod message;
pub mod policy;
pub mod ports;
mod process;
pub mod settings;
#[cfg(test)]
mod simulation;
mod thread;
mod worker;
mod write;

pub use dedup::Keys;
pub use health::{Condition, Health};
pub use message::dead_letter;
pub use process::{Drain, Load, Process};
pub use thread::Thread;
pub use worker::run;
