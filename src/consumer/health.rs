//! The conditions that make an instance unready, and the log messages about a store that cannot be written. Other modules
//! decide when a condition begins and ends.

mod outage;

use std::fmt;

use ops::health;

pub(crate) use ops::health::Fault;
pub(crate) use outage::Outage;

pub type Health = health::Health<Condition>;

/// Something that makes this instance unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The stream of this worker cannot be read.
    Stream(usize),
    /// DynamoDB does not answer, or reports that the table, credentials or permissions are missing.
    Store,
    /// The table refuses every write, or does not fit scans.
    Refusals,
    /// Dead letters cannot be published.
    DeadLetters,
}

impl health::Condition for Condition {
    /// All streams are of one kind, because they usually fail together.
    fn kind(self) -> usize {
        match self {
            Condition::Stream(_) => 0,
            Condition::Store => 1,
            Condition::Refusals => 2,
            Condition::DeadLetters => 3,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Stream(worker) => write!(f, "stream {worker}"),
            Condition::Store => f.write_str("DynamoDB"),
            Condition::Refusals => f.write_str("the table"),
            Condition::DeadLetters => f.write_str("the dead-letter topic"),
        }
    }
}
