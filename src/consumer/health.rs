//! What makes an instance of the consumer unready, and what its log says of a store that cannot be written. When a
//! condition begins and ends is decided elsewhere.

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
    /// DynamoDB does not answer, or answers that table, credentials or permission are missing.
    Store,
    /// Every write is refused.
    Refusals,
    /// Dead letters cannot be published.
    DeadLetters,
}

impl health::Condition for Condition {
    /// The streams, which fail together, are of one kind.
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
