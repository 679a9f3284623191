//! What is done with a scan: workers between the ports. Knows tokio and [`crate::scan`], and no vendor.

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
mod worker;
mod write;

pub use dedup::Keys;
pub use health::{Condition, Health};
pub use message::dead_letter;
pub use process::{Drain, Load, Process};
pub use worker::run;
pub use write::batch;
