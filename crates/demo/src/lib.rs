//! What the demos of several programs need: processes that can be killed, reserved ports, and checks of the results.

mod check;
mod ports;
mod processes;

use std::time::Duration;

pub use check::{Check, CheckReport};
pub use ports::Ports;
pub use processes::{Child, Error, Processes};

/// The time between two looks at a result that is not complete.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);
