//! Delivers stored events to the targets of their clients, by the engine of `crates/webhooks`.
//!
//! [`Deliverer`] is the one way of an event to its targets. The reader of the stream uses it through [`Handler`], and a
//! processor through [`Dispatcher`].

mod dead;
mod deliverer;
mod dispatch;
mod handler;
mod health;
mod observer;
mod queue;
mod sender;
mod store;
mod stream;

use std::time::{Duration, UNIX_EPOCH};

use dynamodb::{TableSpec, hash};
use webhooks::{Origin, TraceParent};

use crate::event::{Event, sort_key};

pub use dead::DELIVERY_REASONS;
pub use deliverer::{Deliverer, DeliveryEngine};
pub use dispatch::Dispatcher;
pub use handler::Handler;
pub use health::{Condition, Watch};
pub use observer::{Handled, Observer};
pub use queue::DeadLetterQueue;
pub use sender::TracedSender;
pub use store::Deliveries;
pub use stream::{Change, EventStream, event_stream};

/// What a program needs of the lease table. Leases never expire: a deleted lease reads its shard again.
pub static LEASES: TableSpec = TableSpec { keys: &[hash("leaseKey")], index: None, expires: false, stream: None };

/// An event of the table, as far as its delivery needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub client_id: String,
    pub event_type: String,
    /// `event_time#event_id`.
    pub key: String,
    /// The JSON text of `data`.
    pub data: String,
    /// When its message was sent, in Unix milliseconds.
    pub sent: Option<u64>,
    /// The `traceparent` of its producer.
    pub trace: Option<String>,
}

impl StoredEvent {
    /// Returns an event that was just stored.
    pub fn of(event: &Event) -> StoredEvent {
        StoredEvent {
            client_id: event.client_id.clone(),
            event_type: event.event_type.clone(),
            key: sort_key(event.time, &event.id),
            data: event.data.clone(),
            sent: Some(event.sent),
            trace: event.trace.clone(),
        }
    }

    /// Returns what its deliveries keep of it. They continue the trace of `context`, or else that of the producer.
    fn origin(&self, context: Option<TraceParent>) -> Origin {
        let sent = self.sent.and_then(|sent| UNIX_EPOCH.checked_add(Duration::from_millis(sent)));
        let trace = context.or_else(|| self.trace.as_deref().and_then(TraceParent::parse));
        Origin { sent, trace }
    }
}
