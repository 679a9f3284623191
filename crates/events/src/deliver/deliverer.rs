//! The way of an event to the targets of its client.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Instant, sleep};
use webhooks::{Clock, Delivery, EndpointId, Engine, Handled as Delivered, HttpSender, SystemClock};

use super::dead::DeadLetter;
use super::{Deliveries, Handled, Observer, StoredEvent};
use crate::key::{UNROUTED, body, endpoint, webhook_id};
use crate::ports::Failure;
use crate::routes::{Directory, Found, Route, wanted};

/// The engine of the endpoints in the table of routes.
pub type DeliveryEngine = Engine<Deliveries, Directory, HttpSender>;

/// How many targets of one client get an event at the same time.
const MAX_FAN_OUT: usize = 64;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A dead letter that cannot be sent for this long waits in the table of deliveries.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// Delivers events. Clones share the engine.
#[derive(Clone)]
pub struct Deliverer {
    /// `None` if deliveries are only stored, for another instance.
    engine: Option<Arc<DeliveryEngine>>,
    directory: Directory,
    deliveries: Deliveries,
    observer: Arc<dyn Observer>,
}

impl Deliverer {
    pub fn new(
        engine: Option<Arc<DeliveryEngine>>,
        directory: Directory,
        deliveries: Deliveries,
        observer: Arc<dyn Observer>,
    ) -> Deliverer {
        Deliverer { engine, directory, deliveries, observer }
    }

    /// Delivers an event to each target that wants it. After `Ok`, each one has it, or its delivery or its dead letter is
    /// durable. An error means that the routes cannot be read, or that this instance stops.
    pub async fn deliver(&self, event: &StoredEvent, read_at: Instant) -> Result<Handled, Failure> {
        let nowhere = endpoint(&event.client_id, UNROUTED);
        let nowhere = nowhere.ok_or_else(|| Failure::Refused("the name of the client is too long".to_owned()))?;
        let unavailable = |error: dynamodb::StoreError| Failure::Unavailable(format!("the routes: {}", error.detail));
        let mut found = self.directory.find(&event.client_id).await.map_err(unavailable)?;
        if !matches!(found, Found::Route(_)) {
            // It may have been added since it was cached.
            found = self.directory.find_since(&event.client_id, read_at).await.map_err(unavailable)?;
        }
        let handled = match found {
            Found::Route(route) => self.deliver_to_route(event, &route, read_at).await?,
            Found::Missing => self.bury(event, nowhere, Handled::NoRoute, "the client has no route").await?,
            Found::Unreadable(why) => self.bury(event, nowhere, Handled::InvalidRoute, &why).await?,
        };
        self.observer.handled(handled);
        Ok(handled)
    }

    async fn deliver_to_route(&self, event: &StoredEvent, route: &Route, read_at: Instant) -> Result<Handled, Failure> {
        let endpoints = wanted(route, &event.event_type);
        if endpoints.is_empty() {
            return Ok(Handled::Unwanted);
        }
        let body = body(&event.client_id, &event.event_type, &event.data);
        let deliveries = endpoints.into_iter().map(|endpoint| self.deliver_to(event, endpoint, &body, read_at));
        let results: Vec<_> = stream::iter(deliveries).buffer_unordered(MAX_FAN_OUT).collect().await;
        results.into_iter().collect::<Result<(), Failure>>()?;
        Ok(Handled::Delivered)
    }

    /// Tries until the delivery is durable, so that no other target of the event gets it again.
    async fn deliver_to(
        &self,
        event: &StoredEvent,
        endpoint: EndpointId,
        body: &Bytes,
        read_at: Instant,
    ) -> Result<(), Failure> {
        let id = webhook_id(&event.client_id, &event.key, &endpoint);
        let delivery = Delivery { id, endpoint, body: body.clone() };
        loop {
            let Some(engine) = &self.engine else {
                match self.deliveries.store(delivery.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(_) => sleep(RETRY_INTERVAL).await,
                }
                continue;
            };
            match engine.deliver(delivery.clone(), read_at).await {
                Delivered::Delivered => {
                    if let Some(sent) = event.sent {
                        self.observer.received(since(sent));
                    }
                    return Ok(());
                }
                handled if handled.is_durable() => return Ok(()),
                Delivered::Draining => return Err(Failure::Unavailable("this instance stops".to_owned())),
                _ => sleep(RETRY_INTERVAL).await,
            }
        }
    }

    /// Sends the dead letter of an event that nobody gets. While the queue is away, a delivery to a target that no client has
    /// waits instead, and becomes the dead letter later.
    async fn bury(
        &self,
        event: &StoredEvent,
        endpoint: EndpointId,
        reason: Handled,
        why: &str,
    ) -> Result<Handled, Failure> {
        let id = webhook_id(&event.client_id, &event.key, &endpoint);
        let body = body(&event.client_id, &event.event_type, &event.data);
        let letter = DeadLetter::of_event(event, &id, reason, why, &String::from_utf8_lossy(&body));
        if self.deliveries.send(&letter, reason.name(), SEND_WITHIN).await.is_err() {
            let stored = self.deliveries.store(Delivery { id, endpoint, body }).await;
            stored.map_err(|error| Failure::Unavailable(format!("neither a queue nor a table: {}", error.detail)))?;
        }
        Ok(reason)
    }

    /// Sends the dead letter of a record that is no event.
    pub(super) async fn bury_record(&self, key: &str, why: &str) -> Result<(), String> {
        let letter = DeadLetter::of_record(key, why);
        self.deliveries.send(&letter, Handled::Unreadable.name(), SEND_WITHIN).await?;
        self.observer.handled(Handled::Unreadable);
        Ok(())
    }

    pub(super) fn note(&self, handled: Handled) {
        self.observer.handled(handled);
    }
}

/// Returns the time since a message was sent, in Unix milliseconds. Clocks differ, so it may be 0.
fn since(sent: u64) -> Duration {
    let now: SystemTime = SystemClock.now();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(sent))
}
