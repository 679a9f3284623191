//! A subscription: its messages and the receipts that settle them.

use std::collections::HashMap;
use std::future::Future;
use std::time::SystemTime;

use bytes::Bytes;

/// A message as Pub/Sub delivered it.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub payload: Bytes,
    pub attributes: HashMap<String, String>,
    pub message_id: String,
    /// Assigned by the server, so that it is the same in every delivery.
    pub publish_time: SystemTime,
    /// Counts from 1; `None` unless the subscription has a dead-letter policy.
    pub delivery_attempt: Option<u32>,
}

/// The right to settle one delivery once. Dropping it nacks the delivery.
pub trait Receipt: Send + 'static {
    /// Acknowledges the message. Best effort: it may still be redelivered.
    fn ack(self);
    /// Requests redelivery, here or to another instance.
    fn nack(self);
}

/// One delivery of one message.
#[derive(Debug)]
pub struct Delivery<R> {
    pub envelope: Envelope,
    pub receipt: R,
}

/// A stream of a subscription. It replaces itself when it fails.
pub trait Source {
    type Receipt: Receipt;

    /// Returns the next delivery, or `None` after [`Source::stop`] when no delivery is left. Cancel safe.
    ///
    /// An error means that the subscription can never be read (e.g. it is missing) and ends the process. Streams that end
    /// for other reasons are replaced without an error.
    fn next(&mut self) -> impl Future<Output = Result<Option<Delivery<Self::Receipt>>, SourceError>>;

    /// Stops reading. Deliveries that were returned stay leased and can still be settled.
    fn stop(&mut self);

    /// Waits until the client has sent every ack and nack. Call it after `stop`, when every receipt is settled. It does not
    /// prove that the server received them: a message whose ack was lost is redelivered.
    fn flushed(self) -> impl Future<Output = ()>;
}

/// The subscription can never be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
