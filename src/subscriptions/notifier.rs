//! Tells the matching endpoints of each change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use webhooks::{Delivery, DeliveryStore, EndpointId, Engine, Handled, Origin, Sender};

use super::directory::Directory;
use super::event::{body, webhook_id};
use super::ports::{Observer, Subscriptions};
use super::unfinished::Unfinished;
use crate::changes::ports::Notifier;
use crate::changes::{Entry, EntryKey};
use crate::consumer::ports::{StoreError, StoreErrorKind};

/// How many endpoints are told of one change at the same time. Each takes memory until it has answered.
const MAX_FAN_OUT: usize = 1_000;
/// How many endpoints are remembered, of all changes that are repeated.
const MAX_REMEMBERED: usize = 100_000;

/// The engine of the endpoints in a directory.
pub type DirectoryEngine<D, S, H> = Engine<D, Directory<S>, H>;

/// Delivers the webhooks of each change.
pub struct WebhookNotifier<D, S, H> {
    engine: Arc<DirectoryEngine<D, S, H>>,
    directory: Directory<S>,
    observer: Arc<dyn Observer>,
    /// The address of the API.
    api_url: Option<String>,
    unfinished: Mutex<Unfinished>,
}

/// A change for all its endpoints.
struct Webhooks {
    key: EntryKey,
    body: Bytes,
    endpoints: Vec<EndpointId>,
    read_at: Instant,
}

impl<D: DeliveryStore, S: Subscriptions, H: Sender> WebhookNotifier<D, S, H> {
    pub fn new(
        engine: Arc<DirectoryEngine<D, S, H>>,
        directory: Directory<S>,
        observer: Arc<dyn Observer>,
        api_url: Option<String>,
    ) -> WebhookNotifier<D, S, H> {
        let unfinished = Mutex::new(Unfinished::new(MAX_REMEMBERED));
        WebhookNotifier { engine, directory, observer, api_url, unfinished }
    }

    fn unfinished(&self) -> MutexGuard<'_, Unfinished> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(&self, webhooks: Webhooks) -> Result<(), StoreError> {
        let Webhooks { key, body, endpoints, read_at } = webhooks;
        let mut told = self.unfinished().take(&key);
        let (mut total, mut failed) = (0, 0);
        let waiting: Vec<_> = endpoints.into_iter().filter(|endpoint| !told.contains(endpoint)).collect();
        let deliveries = waiting.into_iter().map(|endpoint| self.deliver_to(endpoint, &key, &body, read_at));
        let mut results = stream::iter(deliveries).buffer_unordered(MAX_FAN_OUT);
        while let Some((endpoint, handled)) = results.next().await {
            total += 1;
            if handled.is_durable() {
                told.insert(endpoint);
            } else {
                failed += 1;
            }
        }
        drop(results);
        if failed == 0 {
            return Ok(());
        }
        self.unfinished().put(key, told);
        let detail = format!("{failed} of {total} webhooks of a change could neither be delivered nor be stored");
        Err(StoreError { kind: StoreErrorKind::Unavailable, detail })
    }

    fn deliver_to<'a>(
        &'a self,
        endpoint: EndpointId,
        key: &EntryKey,
        body: &Bytes,
        read_at: Instant,
    ) -> BoxFuture<'a, (EndpointId, Handled)> {
        let (id, origin) = (webhook_id(key, &endpoint), Origin::default());
        let delivery = Delivery { id, endpoint: endpoint.clone(), body: body.clone(), origin };
        Box::pin(async move {
            let handled = self.engine.deliver(delivery, read_at).await;
            if handled == Handled::Delivered {
                self.observer.received(read_at.elapsed());
            }
            (endpoint, handled)
        })
    }
}

impl<D: DeliveryStore, S: Subscriptions, H: Sender> Notifier for WebhookNotifier<D, S, H> {
    fn notify(&self, entry: Entry, read_at: Instant) -> BoxFuture<'_, Result<(), StoreError>> {
        let endpoints = self.directory.matching(&entry.key.service, entry.event);
        if endpoints.is_empty() {
            return Box::pin(async { Ok(()) });
        }
        let key = entry.key.clone();
        let body = body(entry, self.api_url.as_deref());
        Box::pin(self.deliver(Webhooks { key, body, endpoints, read_at }))
    }
}

#[cfg(test)]
mod tests;
