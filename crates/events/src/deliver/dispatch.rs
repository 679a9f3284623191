//! Direct dispatch: a processor delivers an event right after its put.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Deliverer, StoredEvent};
use crate::event::Event;
use crate::ports::{Dispatch, Failure};

/// A message is invisible for less than this, unless it is extended.
const WITHIN: Duration = Duration::from_secs(60);

/// Dispatches events for a processor.
pub struct Dispatcher {
    deliverer: Deliverer,
}

impl Dispatcher {
    /// A deliverer without an engine stores each delivery, for the instances that have one.
    pub fn new(deliverer: Deliverer) -> Dispatcher {
        Dispatcher { deliverer }
    }
}

impl Dispatch for Dispatcher {
    async fn dispatch(&self, event: &Event) -> Result<(), Failure> {
        let event = StoredEvent::of(event);
        let delivering = Box::pin(self.deliverer.deliver(&event, Instant::now()));
        let late = |_| Err(Failure::Unavailable(format!("no result within {} s", WITHIN.as_secs())));
        timeout(WITHIN, delivering).await.unwrap_or_else(late).map(|_| ())
    }
}
