//! The ports: what the consumer needs of a subscription, a table and a dead-letter topic, and the contract of each.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;

/// A message as Pub/Sub delivered it.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub payload: Bytes,
    pub attributes: HashMap<String, String>,
    pub message_id: String,
    /// Assigned by the server, so it is the same at every delivery.
    pub publish_time: SystemTime,
    /// From 1; only where the subscription has a dead-letter policy.
    pub delivery_attempt: Option<u32>,
}

/// The right to settle one delivery, used up once. Dropping it nacks.
pub trait Receipt: Send + 'static {
    /// The message need not come again. Best effort: it may be redelivered all the same.
    fn ack(self);
    /// The message shall come again, here or elsewhere.
    fn nack(self);
}

/// One delivery of one message.
#[derive(Debug)]
pub struct Delivery<R> {
    pub envelope: Envelope,
    pub receipt: R,
}

/// What the store made of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The record is ours now.
    Stored,
    /// The record was already as new.
    Stale,
}
