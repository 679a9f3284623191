//! A subscription: its messages, and the receipts that settle them.

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

/// One supervised stream of a subscription.
pub trait Source {
    type Receipt: Receipt;

    /// The next delivery, or `None` once [`Source::stop`] was called and nothing that was read is left.
    ///
    /// Cancel safe. Streams that end are replaced behind it; an error means that there is nothing to read here at all
    /// (the subscription is missing or refused) and ends the process.
    fn next(&mut self) -> impl Future<Output = Result<Option<Delivery<Self::Receipt>>, SourceError>>;

    /// Stops reading. Receipts that were handed out stay leased and still settle.
    fn stop(&mut self);

    /// Resolves when the client has sent every settlement on; only after `stop`, and only once every receipt is
    /// settled. Success does not prove that the server took them: a lost one is redelivered.
    fn flushed(self) -> impl Future<Output = ()>;
}

/// The subscription cannot be read, and waiting will not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
