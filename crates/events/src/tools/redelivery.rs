//! Makes deliveries due again, with the routes that clients have now.

use std::collections::HashMap;
use std::sync::Arc;

use delivery_table::WaitingDeliveries;
use dynamodb::{Client, StoreError};
use webhooks::{Delivery, EndpointId, Origin, SystemClock, TraceParent, WebhookId};

use super::repeat::repeat;
use crate::key;
use crate::names::Tables;
use crate::routes::{Route, RouteTable};

/// Routes of more clients are read again.
const MAX_ROUTES: usize = 10_000;

/// The tables of routes and deliveries, with the routes that were read.
pub(super) struct Redelivery {
    pub(super) routes: RouteTable,
    pub(super) waiting: WaitingDeliveries,
    known: HashMap<String, Result<Arc<Route>, NoTarget>>,
}

/// Why nothing can be delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTarget {
    #[error("client {0:?} has no route; add one: event-pipeline routes add")]
    NoRoute(String),
    #[error("client {0:?}: {1}")]
    InvalidRoute(String, String),
    #[error("client {0:?} has no target {1:?} any more")]
    Removed(String, String),
    #[error("target {1:?} of client {0:?} is disabled; set it again: event-pipeline routes add")]
    Disabled(String, String),
    #[error("no target of client {0:?} selects events of type {1:?}")]
    Unwanted(String, String),
}

/// An event to deliver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again<'a> {
    pub(super) client_id: &'a str,
    /// `event_time#event_id`.
    pub(super) event_key: &'a str,
    pub(super) event_type: &'a str,
    /// The body of the POST.
    pub(super) body: &'a bytes::Bytes,
    /// A W3C `traceparent`.
    pub(super) trace: Option<&'a str>,
}

impl Redelivery {
    pub(super) fn new(client: &Client, tables: &Tables) -> Redelivery {
        Redelivery {
            routes: RouteTable::new(client.clone(), tables.routes.clone()),
            waiting: WaitingDeliveries::new(client.clone(), tables.deliveries.clone(), None, Arc::new(SystemClock)),
            known: HashMap::new(),
        }
    }

    async fn route(&mut self, client_id: &str) -> Result<Result<Arc<Route>, NoTarget>, StoreError> {
        if let Some(known) = self.known.get(client_id) {
            return Ok(known.clone());
        }
        let read = repeat(async || self.routes.read(client_id).await).await?;
        let route = match read {
            None => Err(NoTarget::NoRoute(client_id.to_owned())),
            Some(Err(why)) => Err(NoTarget::InvalidRoute(client_id.to_owned(), why.to_string())),
            Some(Ok(route)) => Ok(Arc::new(route)),
        };
        if self.known.len() == MAX_ROUTES {
            self.known.clear();
        }
        self.known.insert(client_id.to_owned(), route.clone());
        Ok(route)
    }

    /// Returns the deliveries of an event to all targets that want it.
    pub(super) async fn of_event(&mut self, event: Again<'_>) -> Result<Result<Vec<Delivery>, NoTarget>, StoreError> {
        let Again { client_id, event_key, event_type, body, trace } = event;
        let route = match self.route(client_id).await? {
            Ok(route) => route,
            Err(why) => return Ok(Err(why)),
        };
        let wanting = route.targets.iter().filter(|(_, target)| target.wants(event_type));
        let delivery = |endpoint: EndpointId| {
            let id = key::webhook_id(client_id, event_key, &endpoint);
            Delivery { id, endpoint, body: body.clone(), origin: again(trace) }
        };
        let deliveries: Vec<_> = wanting.filter_map(|(name, _)| key::endpoint(client_id, name)).map(delivery).collect();
        if deliveries.is_empty() {
            return Ok(Err(NoTarget::Unwanted(client_id.to_owned(), event_type.to_owned())));
        }
        Ok(Ok(deliveries))
    }

    /// Returns a delivery to one target again, if the client still has it.
    pub(super) async fn of_target(
        &mut self,
        client_id: &str,
        target: &str,
        id: &WebhookId,
        body: &bytes::Bytes,
        trace: Option<&str>,
    ) -> Result<Result<Delivery, NoTarget>, StoreError> {
        let route = match self.route(client_id).await? {
            Ok(route) => route,
            Err(why) => return Ok(Err(why)),
        };
        if route.targets.get(target).is_some_and(|target| target.state.disabled.is_some()) {
            return Ok(Err(NoTarget::Disabled(client_id.to_owned(), target.to_owned())));
        }
        let endpoint = key::endpoint(client_id, target).filter(|_| route.targets.contains_key(target));
        Ok(match endpoint {
            Some(endpoint) => Ok(Delivery { id: id.clone(), endpoint, body: body.clone(), origin: again(trace) }),
            None => Err(NoTarget::Removed(client_id.to_owned(), target.to_owned())),
        })
    }

    /// Stores deliveries as due now.
    pub(super) async fn store(&self, deliveries: Vec<Delivery>) -> Result<(), StoreError> {
        for delivery in deliveries {
            repeat(async || self.waiting.put_due(delivery.clone()).await.map(|_| ())).await?;
        }
        Ok(())
    }
}

/// Returns the origin of a delivery that an operator asked for. It continues the trace of its event. Its time is unknown, because
/// the time until an operator acts is no latency of the pipeline.
fn again(trace: Option<&str>) -> Origin {
    Origin { sent: None, trace: trace.and_then(TraceParent::parse) }
}
