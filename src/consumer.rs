//! What is done with a scan: workers between the ports. Knows tokio and [`crate::scan`], and no vendor.

mod cause;
mod claim;
mod coalesce;
mod drain;
mod durations;
mod gate;
mod health;
mod held;
mod high_water;
mod histogram;
mod keys;
mod letter;
mod limit;
mod load;
mod occasional;
mod outage;
pub mod outcome;
mod pipeline;
pub mod port;
mod process;
mod pulse;
mod readiness;
mod refusals;
mod reject;
mod restart;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod spans;
mod streams;
pub mod tally;
mod turns;
mod worker;
mod write;

pub use cause::{cause, panic_text};
pub use drain::Drain;
pub use durations::Durations;
pub use health::{Condition, Health};
pub use histogram::Histogram;
pub use keys::Keys;
pub use load::Load;
pub use process::Process;
pub use readiness::Unready;
pub use restart::Restart;
pub use streams::Streams;
pub use worker::run;
