//! The way of an event to the targets of its client.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Instant, sleep};
use webhooks::{Delivery, EndpointId, Engine, Handled as Delivered, Origin};

use super::dead::DeadLetter;
use super::{Deliveries, Handled, Observer, StoredEvent, TracedSender};
use crate::key::{UNROUTED, body, endpoint, webhook_id};
use crate::ports::Failure;
use crate::routes::{Directory, Found, Route, wanted};

/// The engine of the endpoints in the table of routes.
pub type DeliveryEngine = Engine<Deliveries, Directory, TracedSender>;

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
        let span = self.observer.event_span(event);
        let origin = event.origin(self.observer.context(&span));
        let result = self.deliver_from(event, origin, read_at).await;
        self.observer.event_ended(&span, &result);
        result
    }

    async fn deliver_from(&self, event: &StoredEvent, origin: Origin, read_at: Instant) -> Result<Handled, Failure> {
        let nowhere = endpoint(&event.client_id, UNROUTED);
        let nowhere = nowhere.ok_or_else(|| Failure::Refused("the name of the client is too long".to_owned()))?;
        let unavailable = |error: dynamodb::StoreError| Failure::Unavailable(format!("the routes: {}", error.detail));
        let mut found = self.directory.find(&event.client_id).await.map_err(unavailable)?;
        if !matches!(found, Found::Route(_)) {
            // It may have been added since it was cached.
            found = self.directory.find_since(&event.client_id, read_at).await.map_err(unavailable)?;
        }
        let handled = match found {
            Found::Route(route) => self.deliver_to_route(event, &route, &origin, read_at).await?,
            Found::Missing => self.bury(event, nowhere, Handled::NoRoute, "the client has no route").await?,
            Found::Unreadable(why) => self.bury(event, nowhere, Handled::InvalidRoute, &why).await?,
        };
        self.observer.handled(handled);
        Ok(handled)
    }

    async fn deliver_to_route(
        &self,
        event: &StoredEvent,
        route: &Route,
        origin: &Origin,
        read_at: Instant,
    ) -> Result<Handled, Failure> {
        let endpoints = wanted(route, &event.event_type);
        if endpoints.is_empty() {
            return Ok(Handled::Unwanted);
        }
        let body = body(&event.client_id, &event.event_type, &event.data);
        let deliveries = endpoints.into_iter().map(|endpoint| {
            let id = webhook_id(&event.client_id, &event.key, &endpoint);
            self.deliver_to(Delivery { id, endpoint, body: body.clone(), origin: origin.clone() }, read_at)
        });
        let results: Vec<_> = stream::iter(deliveries).buffer_unordered(MAX_FAN_OUT).collect().await;
        results.into_iter().collect::<Result<(), Failure>>()?;
        Ok(Handled::Delivered)
    }

    /// Tries until the delivery is durable, so that no other target of the event gets it again.
    async fn deliver_to(&self, delivery: Delivery, read_at: Instant) -> Result<(), Failure> {
        loop {
            let Some(engine) = &self.engine else {
                match self.deliveries.store(delivery.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(_) => sleep(RETRY_INTERVAL).await,
                }
                continue;
            };
            match engine.deliver(delivery.clone(), read_at).await {
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
            let origin = event.origin(None);
            let stored = self.deliveries.store(Delivery { id, endpoint, body, origin }).await;
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
