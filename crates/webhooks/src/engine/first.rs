//! The first attempt of a delivery, from memory.

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::registry::{Entry, Permit, QueuedBytes, lock};
use super::{AbortOnDrop, Engine, Handled, Shared};
use crate::breaker::Pass;
use crate::delivery::{DeadReason, Decision, Delivery, LastAttempt, StoredDelivery, decide};
use crate::ports::{Deferred, DeliveryStore, Endpoint, EndpointStatus, EndpointStore, Report};
use crate::sender::{Answer, Sender};

/// Why a delivery gets no attempt now.
enum NoPermit {
    Deferred(Deferred),
    Draining,
}

/// Who changes the item of an attempt that is stored while it runs.
enum Running {
    /// There is no item, or the waiting delivery will change it.
    Watched,
    Finished(LastAttempt),
    /// The task of the attempt changes the item.
    Owns(Box<StoredDelivery>),
    Taken,
}

struct Watch {
    state: Mutex<Running>,
    finished: Notify,
}

impl Watch {
    fn take_finished(&self) -> Option<LastAttempt> {
        let mut state = lock(&self.state);
        match mem::replace(&mut *state, Running::Taken) {
            Running::Finished(attempt) => Some(attempt),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Gives the item to the task, unless the task has ended.
    fn give(&self, item: StoredDelivery) -> Option<(StoredDelivery, LastAttempt)> {
        let mut state = lock(&self.state);
        match mem::replace(&mut *state, Running::Taken) {
            Running::Finished(attempt) => Some((item, attempt)),
            _ => {
                *state = Running::Owns(Box::new(item));
                None
            }
        }
    }

    /// Ends the attempt. Returns the item that the task must change.
    fn finish(&self, attempt: LastAttempt) -> Option<(StoredDelivery, LastAttempt)> {
        let mut state = lock(&self.state);
        let owned = match mem::replace(&mut *state, Running::Taken) {
            Running::Owns(item) => Some((*item, attempt)),
            _ => {
                *state = Running::Finished(attempt);
                None
            }
        };
        drop(state);
        self.finished.notify_one();
        owned
    }
}

impl<D: DeliveryStore, E: EndpointStore, S: Sender> Engine<D, E, S> {
    pub(super) async fn deliver_first(&self, delivery: Delivery, deadline: Instant) -> Handled {
        let shared = &self.shared;
        let Some(endpoint) = shared.endpoint(&delivery).await else {
            return shared.bury(&delivery, DeadReason::Missing).await;
        };
        match endpoint.status {
            EndpointStatus::Active => {}
            EndpointStatus::Paused => return shared.defer(&delivery, Deferred::Paused).await,
            EndpointStatus::Disabled => return shared.bury(&delivery, DeadReason::Disabled).await,
        }
        let entry = shared.registry.entry(&endpoint.id, endpoint.max_concurrency);
        let queued = match shared.enter(&entry, &delivery, deadline) {
            Ok(queued) => queued,
            Err(reason) => return shared.defer(&delivery, reason).await,
        };
        match shared.permit(&entry, &endpoint, deadline).await {
            Ok(permit) => self.try_once(delivery, endpoint, (permit, queued), deadline).await,
            Err(NoPermit::Draining) => Handled::Draining,
            Err(NoPermit::Deferred(reason)) => {
                drop(queued);
                shared.defer(&delivery, reason).await
            }
        }
    }

    /// Runs the attempt in a task of its own, which may outlive the delivery's time.
    async fn try_once(
        &self,
        delivery: Delivery,
        endpoint: Endpoint,
        (permit, queued): (Permit, QueuedBytes),
        deadline: Instant,
    ) -> Handled {
        let watch = Arc::new(Watch { state: Mutex::new(Running::Watched), finished: Notify::new() });
        let task = {
            let (shared, watch, delivery) = (Arc::clone(&self.shared), Arc::clone(&watch), delivery.clone());
            async move {
                let attempt = shared.attempt(permit, &endpoint, &delivery, 1).await;
                drop((queued, delivery));
                if let Some((item, attempt)) = watch.finish(attempt) {
                    shared.settle(item, attempt).await;
                }
            }
        };
        let running = AbortOnDrop(Some(self.spawn(task)));
        let _ = timeout_at(deadline, watch.finished.notified()).await;
        match watch.take_finished() {
            Some(LastAttempt { result: Ok(Answer { status: 200..=299, .. }), .. }) => Handled::Delivered,
            Some(attempt) => {
                let item = self.shared.new_item(&delivery, self.shared.clock.now());
                self.shared.store_result(item, attempt).await
            }
            None => self.store_running(&delivery, &watch, running).await,
        }
    }

    /// Stores a delivery whose attempt still runs. The item is claimed, so that no other instance tries it as well.
    async fn store_running(&self, delivery: &Delivery, watch: &Watch, running: AbortOnDrop) -> Handled {
        let shared = &self.shared;
        let item = shared.new_item(delivery, shared.claimed_until());
        for failures in 0.. {
            if shared.request(shared.deliveries.insert(&item)).await.is_ok() {
                break;
            }
            if let Some(attempt) = watch.take_finished() {
                // The insert may have been applied although its answer is missing.
                return match decide(&attempt.result, 1, &shared.settings.schedule, 0.0) {
                    Decision::Delivered => {
                        shared.settle(item, attempt).await;
                        Handled::Delivered
                    }
                    Decision::Retry { .. } | Decision::Dead(_) => shared.store_result(item, attempt).await,
                };
            }
            shared.wait_after_failure(failures).await;
        }
        shared.report(Report::Deferred { endpoint: &delivery.endpoint, id: &delivery.id, reason: Deferred::Late });
        match watch.give(item) {
            None => {
                running.keep_running();
                Handled::Stored
            }
            Some((item, attempt)) => match shared.settle(item, attempt).await {
                Decision::Delivered => Handled::Delivered,
                Decision::Retry { .. } => Handled::Stored,
                Decision::Dead(reason) => Handled::Dead(reason),
            },
        }
    }
}

impl<D: DeliveryStore, E: EndpointStore, S: Sender> Shared<D, E, S> {
    /// The memory of a delivery beside its body.
    const OVERHEAD: usize = 512;

    /// Asks for an endpoint, until the store answers.
    async fn endpoint(&self, delivery: &Delivery) -> Option<Endpoint> {
        let mut failures = 0;
        loop {
            if let Ok(endpoint) = self.request(self.endpoints.get(&delivery.endpoint)).await {
                return endpoint;
            }
            self.wait_after_failure(failures).await;
            failures += 1;
        }
    }

    fn enter(&self, entry: &Arc<Entry>, delivery: &Delivery, deadline: Instant) -> Result<QueuedBytes, Deferred> {
        let (now, settings) = (Instant::now(), &self.settings);
        if now >= deadline {
            return Err(Deferred::Late);
        }
        let bytes = delivery.body.len() + Self::OVERHEAD;
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > settings.max_bytes {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Deferred::Overloaded);
        }
        let entered = lock(&entry.traffic).enter(bytes, now, settings.max_bytes_per_endpoint, settings.stalled_after);
        if let Err(reason) = entered {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(reason);
        }
        Ok(QueuedBytes { entry: Arc::clone(entry), all: Arc::clone(&self.bytes), bytes })
    }

    /// Waits in the queue of the endpoint.
    async fn permit(&self, entry: &Arc<Entry>, endpoint: &Endpoint, deadline: Instant) -> Result<Permit, NoPermit> {
        let slot = async {
            let slot = Arc::clone(&entry.slots).acquire_owned().await.expect("slots are never closed");
            self.wait_for_rate(entry, endpoint, deadline).await.then_some(slot)
        };
        tokio::select! {
            biased;
            () = self.drained() => Err(NoPermit::Draining),
            () = entry.opened.notified() => Err(NoPermit::Deferred(Deferred::CircuitOpen)),
            slot = timeout_at(deadline, slot) => {
                let slot = slot.ok().flatten().ok_or(NoPermit::Deferred(Deferred::Late))?;
                self.start(entry, slot).map_err(NoPermit::Deferred)
            }
        }
    }

    /// Waits until the rate of the endpoint allows an attempt. Returns false if this would be after the deadline. Only holders
    /// of a slot wait here.
    pub(super) async fn wait_for_rate(&self, entry: &Entry, endpoint: &Endpoint, deadline: Instant) -> bool {
        let (at, now) = {
            let mut traffic = lock(&entry.traffic);
            let now = Instant::now();
            let at = traffic.rate.next(now, endpoint.max_per_second);
            if at >= deadline {
                return false;
            }
            traffic.rate.take(at, endpoint.max_per_second);
            (at, now)
        };
        // Even a timer that is due takes up to a millisecond.
        if at > now {
            sleep_until(at).await;
        }
        true
    }

    pub(super) fn start(&self, entry: &Arc<Entry>, slot: OwnedSemaphorePermit) -> Result<Permit, Deferred> {
        let is_busy = self.attempts.available_permits() < self.settings.max_attempts / 2;
        if is_busy && lock(&entry.traffic).running() > 0 {
            return Err(Deferred::Overloaded);
        }
        let attempt = Arc::clone(&self.attempts).try_acquire_owned().map_err(|_| Deferred::Overloaded)?;
        let pass = lock(&entry.traffic).start(Instant::now());
        match pass {
            Pass::Refused => Err(Deferred::CircuitOpen),
            Pass::Normal | Pass::Probe => {
                Ok(Permit { entry: Arc::clone(entry), pass, has_result: false, _slot: slot, _attempt: attempt })
            }
        }
    }

    async fn defer(&self, delivery: &Delivery, reason: Deferred) -> Handled {
        self.insert(&self.new_item(delivery, self.clock.now())).await;
        self.report(Report::Deferred { endpoint: &delivery.endpoint, id: &delivery.id, reason });
        Handled::Stored
    }

    async fn bury(&self, delivery: &Delivery, reason: DeadReason) -> Handled {
        self.store_dead(&self.new_item(delivery, self.clock.now()), reason).await;
        Handled::Dead(reason)
    }

    /// Stores what follows from a first attempt. A success is not stored.
    async fn store_result(&self, mut item: StoredDelivery, attempt: LastAttempt) -> Handled {
        let decision = decide(&attempt.result, 1, &self.settings.schedule, self.random());
        item.attempts = 1;
        item.last = Some(attempt);
        match decision {
            Decision::Delivered => Handled::Delivered,
            Decision::Retry { after } => {
                item.due = self.clock.now() + after;
                self.insert(&item).await;
                Handled::Stored
            }
            Decision::Dead(reason) => {
                self.store_dead(&item, reason).await;
                Handled::Dead(reason)
            }
        }
    }
}
