//! The backlog: stored deliveries that are due, claimed and tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use futures_util::stream;
use rand::seq::SliceRandom;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::registry::{Entry, lock};
use super::{Engine, Shared};
use crate::delivery::{DeadReason, StoredDelivery};
use crate::ids::EndpointId;
use crate::ports::{DeliveryStore, DueDelivery, Endpoint, EndpointStatus, EndpointStore, Report, StoreError};
use crate::sender::Sender;

/// How many due deliveries one request returns. They have no bodies.
const BATCH: usize = 32;

/// Whether the backlog of an endpoint goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Tried,
    /// Another instance claimed the delivery.
    Lost,
    /// The endpoint or a store is not ready. The next poll continues.
    Stop,
}

/// Marks the backlog of an endpoint as not running when it is dropped.
struct RunningBacklog {
    entry: Arc<Entry>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for RunningBacklog {
    fn drop(&mut self) {
        *lock(&self.entry.is_backlog_running) = false;
    }
}

impl<D: DeliveryStore, E: EndpointStore, S: Sender> Engine<D, E, S> {
    pub(super) async fn deliver_backlogs(&self) {
        let shared = &self.shared;
        let running = Arc::new(Semaphore::new(shared.settings.max_backlogs.clamp(1, Semaphore::MAX_PERMITS)));
        loop {
            if let Ok(mut endpoints) = shared.request(shared.deliveries.endpoints_with_backlog()).await {
                shared.report(Report::Backlogs { endpoints: endpoints.len() });
                // If there are more than may run, each one must have a chance.
                endpoints.shuffle(&mut *lock(&shared.random));
                self.start_backlogs(&endpoints, &running).await;
            }
            shared.registry.sweep(Instant::now());
            sleep(shared.settings.poll_interval).await;
        }
    }

    async fn start_backlogs(&self, ids: &[EndpointId], running: &Arc<Semaphore>) {
        for id in ids {
            let Ok(permit) = Arc::clone(running).try_acquire_owned() else { return };
            let Ok(endpoint) = self.shared.request(self.shared.endpoints.get(id)).await else { return };
            let max_concurrency = match &endpoint {
                Some(Endpoint { status: EndpointStatus::Paused, .. }) => continue,
                Some(endpoint) => endpoint.max_concurrency,
                None => 1,
            };
            let entry = self.shared.registry.entry(id, max_concurrency);
            let is_closed = endpoint.as_ref().is_some_and(|endpoint| endpoint.status == EndpointStatus::Active)
                && !lock(&entry.traffic).breaker.would_pass(Instant::now());
            if is_closed || std::mem::replace(&mut *lock(&entry.is_backlog_running), true) {
                continue;
            }
            let (shared, id) = (Arc::clone(&self.shared), id.clone());
            let guard = RunningBacklog { entry: Arc::clone(&entry), _permit: permit };
            self.spawn(async move {
                shared.deliver_backlog(&id, &entry).await;
                drop(guard);
            });
        }
    }
}

impl<D: DeliveryStore, E: EndpointStore, S: Sender> Shared<D, E, S> {
    /// Tries the due deliveries of an endpoint, until none is left or the endpoint is not ready.
    async fn deliver_backlog(&self, id: &EndpointId, entry: &Arc<Entry>) {
        loop {
            let due = self.request(self.deliveries.due(id, self.clock.now(), BATCH)).await;
            let Ok(mut due) = due else { return };
            let is_last = due.len() < BATCH;
            // Other instances see the same deliveries, and a claim that is lost costs a write.
            due.shuffle(&mut *lock(&self.random));
            // Running attempts go on after a stop, but no other one starts.
            let is_stopped = AtomicBool::new(false);
            let steps = stream::iter(due).map(|due| async {
                if is_stopped.load(Ordering::Relaxed) || self.is_draining() {
                    return Step::Stop;
                }
                let step = self.deliver_due(id, entry, due).await;
                is_stopped.fetch_or(step == Step::Stop, Ordering::Relaxed);
                step
            });
            let steps: Vec<_> = steps.buffer_unordered(entry.backlog_share).collect().await;
            if is_last || is_stopped.into_inner() || self.is_draining() || !steps.contains(&Step::Tried) {
                return;
            }
        }
    }

    async fn deliver_due(&self, id: &EndpointId, entry: &Arc<Entry>, due: DueDelivery) -> Step {
        let Ok(endpoint) = self.request(self.endpoints.get(id)).await else { return Step::Stop };
        let Some(endpoint) = endpoint else { return self.bury_due(id, &due, DeadReason::Missing).await };
        match endpoint.status {
            EndpointStatus::Active => {}
            EndpointStatus::Paused => return Step::Stop,
            EndpointStatus::Disabled => return self.bury_due(id, &due, DeadReason::Disabled).await,
        }
        let slot = tokio::select! {
            biased;
            () = self.drained() => None,
            slot = self.backlog_slot(entry, &endpoint) => slot,
        };
        let Some(Ok(permit)) = slot.map(|slot| self.start(entry, slot)) else { return Step::Stop };
        match self.claim(id, &due).await {
            Err(_) => Step::Stop,
            Ok(None) => Step::Lost,
            Ok(Some(item)) => {
                let attempts = item.attempts.saturating_add(1);
                let attempt = self.attempt(permit, &endpoint, &item.delivery, attempts).await;
                self.settle(item, attempt).await;
                Step::Tried
            }
        }
    }

    async fn backlog_slot(&self, entry: &Entry, endpoint: &Endpoint) -> Option<OwnedSemaphorePermit> {
        let (at, now) = {
            let mut traffic = lock(&entry.traffic);
            let now = Instant::now();
            let at = traffic.ramp.next(now);
            traffic.ramp.take(at);
            (at, now)
        };
        if at > now {
            sleep_until(at).await;
        }
        let slot = Arc::clone(&entry.slots).acquire_owned().await.expect("slots are never closed");
        let deadline = Instant::now() + self.settings.claim;
        self.wait_for_rate(entry, endpoint, deadline).await.then_some(slot)
    }

    async fn claim(&self, id: &EndpointId, due: &DueDelivery) -> Result<Option<StoredDelivery>, StoreError> {
        self.request(self.deliveries.claim(id, due, self.token(), self.claimed_until())).await
    }

    async fn bury_due(&self, id: &EndpointId, due: &DueDelivery, reason: DeadReason) -> Step {
        match self.claim(id, due).await {
            Err(_) => Step::Stop,
            Ok(None) => Step::Lost,
            Ok(Some(item)) => {
                self.store_dead(&item, reason).await;
                Step::Tried
            }
        }
    }
}
