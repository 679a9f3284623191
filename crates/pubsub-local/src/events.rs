//! Events: what a test in the same process can watch while the server serves.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// Something that the server did. See [`Observer::listen`](crate::Observer::listen).
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A topic accepted a message. The event comes before the first delivery and before the publisher's response.
    #[non_exhaustive]
    Published {
        /// The full name of the topic.
        topic: &'a str,
        /// The id that the server assigned.
        message_id: &'a str,
        /// The payload.
        data: &'a [u8],
        /// The attributes that the publisher set.
        attributes: &'a HashMap<String, String>,
    },
    /// The server accepted an acknowledgement: it ended a lease. An acknowledgement that came too late, or that
    /// [`Faults::lose_acks`](crate::Faults::lose_acks) dropped, is not accepted.
    #[non_exhaustive]
    Acknowledged {
        /// The full name of the subscription.
        subscription: &'a str,
        /// The id of the message.
        message_id: &'a str,
        /// How long ago the message was delivered.
        leased_for: Duration,
    },
}

type Listener = Box<dyn Fn(&Event<'_>) + Send + Sync>;

#[derive(Default)]
pub(super) struct Listeners {
    listeners: RwLock<Vec<Listener>>,
}

impl Listeners {
    pub(super) fn add(&self, listener: Listener) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Returns whether there is a listener.
    pub(super) fn any(&self) -> bool {
        !self.listeners.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn notify(&self, event: &Event<'_>) {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(event));
    }
}
