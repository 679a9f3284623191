//! The names of the queues and tables, and where their servers are. Pure.

/// The queues, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queues {
    /// Producers send events here.
    pub events: String,
    /// Invalid events, and those that were received too often.
    pub events_dead: String,
    /// Deliveries that were given up.
    pub deliver_dead: String,
}

/// The tables, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    pub events: String,
    pub routes: String,
    /// The deliveries that wait for their next attempt.
    pub deliveries: String,
    /// Which deliverer reads which shard of the stream.
    pub leases: String,
}

/// The servers to use instead of Amazon's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    pub sqs: Option<String>,
    pub dynamo: Option<String>,
}
