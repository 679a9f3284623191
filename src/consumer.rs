//! What is done with a scan: workers between the ports. Knows tokio and [`crate::scan`], and no vendor.

pub mod batch;
mod cause;
mod claim;
mod coalesce;
mod drain;
mod gate;
mod health;
mod held;
mod high_water;
mod keys;
mod letter;
mod limit;
mod occasional;
mod outage;
pub mod outcome;
mod pipeline;
pub mod port;
mod process;
mod refusals;
mod reject;
mod restart;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod tally;
mod turns;
mod worker;
mod write;

pub use cause::{cause, panic_text};
pub use drain::Drain;
pub use health::{Condition, Health};
pub use keys::Keys;
pub use process::Process;
pub use restart::Restart;
pub use worker::run;
