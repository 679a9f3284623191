//! One attempt, and what follows from it for its endpoint and its item.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, timeout};

use super::Shared;
use super::registry::{Entry, Permit, lock};
use crate::breaker::Change;
use crate::delivery::{Decision, Delivery, LastAttempt, StoredDelivery, decide, pause};
use crate::ports::{Changed, DeliveryStore, DisabledReason, Endpoint, EndpointStore, Report};
use crate::sender::{Answer, Failure, Post, Sender};
use crate::signing::Signer;

impl<D: DeliveryStore, E: EndpointStore, S: Sender> Shared<D, E, S> {
    /// Makes an attempt. `attempts` counts it.
    pub(super) async fn attempt(
        &self,
        mut permit: Permit,
        endpoint: &Endpoint,
        delivery: &Delivery,
        attempts: u32,
    ) -> LastAttempt {
        let started = Instant::now();
        let at = self.clock.now();
        let attempt = LastAttempt { at, result: self.send(endpoint, delivery, at).await };
        let is_success = matches!(attempt.result, Ok(Answer { status: 200..=299, .. }));
        let Delivery { id, endpoint: endpoint_id, origin, .. } = delivery;
        let change = self.count_result(&mut permit, is_success, &attempt);
        let entry = std::sync::Arc::clone(&permit.entry);
        // The permit ends with the request: the stores must not slow the endpoint down.
        drop(permit);
        if is_success {
            let took = started.elapsed();
            self.report(Report::Delivered { endpoint: endpoint_id, id, origin, attempts, took });
        } else {
            self.report(Report::AttemptFailed { endpoint: endpoint_id, id, attempts, attempt: &attempt });
        }
        self.update_endpoint(endpoint, &entry, change, &attempt).await;
        attempt
    }

    async fn send(&self, endpoint: &Endpoint, delivery: &Delivery, at: SystemTime) -> Result<Answer, Failure> {
        if endpoint.secrets.is_empty() && !self.settings.allow_unsigned {
            return Err(Failure::NoSecret);
        }
        let sent = timeout(self.settings.attempt_timeout, self.sender.send(post(endpoint, delivery, at))).await;
        sent.unwrap_or(Err(Failure::TimedOut))
    }

    fn count_result(&self, permit: &mut Permit, is_success: bool, attempt: &LastAttempt) -> Change {
        let now = Instant::now();
        permit.has_result = true;
        if is_success {
            *lock(&permit.entry.last_success) = Some(attempt.at);
            return lock(&permit.entry.traffic).succeeded(now);
        }
        let random = self.random();
        let settings = (&self.settings.breaker, random);
        let change = lock(&permit.entry.traffic).failed(permit.pass, pause(&attempt.result), now, settings);
        if change == Change::Opened {
            permit.entry.opened.notify_waiters();
        }
        change
    }

    /// Stores what all instances must know of the endpoint. A lost write is repeated after a later attempt.
    async fn update_endpoint(&self, endpoint: &Endpoint, entry: &Entry, change: Change, attempt: &LastAttempt) {
        let id = &endpoint.id;
        if let Ok(Answer { status: 200..=299, .. }) = &attempt.result {
            if change == Change::Recovered {
                self.report(Report::Recovered { endpoint: id });
            }
            if change == Change::Recovered || endpoint.failing_since.is_some() {
                let _ = self.request(self.endpoints.clear_failing(id)).await;
            }
            return;
        }
        if let Ok(Answer { status: 410, .. }) = &attempt.result {
            return self.disable(endpoint, DisabledReason::Gone, None).await;
        }
        if change == Change::Opened {
            self.report(Report::CircuitOpened { endpoint: id });
        }
        if lock(&entry.traffic).breaker.is_closed() {
            return;
        }
        match endpoint.failing_since {
            // Also if the circuit opened earlier, because that write may be lost.
            None => drop(self.request(self.endpoints.mark_failing(id, attempt.at)).await),
            Some(since) if self.has_failed_for_too_long(since, entry, attempt.at) => {
                self.disable(endpoint, DisabledReason::Failing, Some(since)).await;
            }
            Some(_) => {}
        }
    }

    fn has_failed_for_too_long(&self, since: SystemTime, entry: &Entry, now: SystemTime) -> bool {
        // The stored time may be older than a success, if the write that clears it was lost.
        let has_succeeded = lock(&entry.last_success).is_some_and(|success| success >= since);
        !has_succeeded && now.duration_since(since).is_ok_and(|failing| failing >= self.settings.disable_after)
    }

    async fn disable(&self, endpoint: &Endpoint, reason: DisabledReason, since: Option<SystemTime>) {
        let disabled = self.request(self.endpoints.disable(&endpoint.id, reason, since)).await;
        if let Ok(Changed::Applied) = disabled {
            self.report(Report::Disabled { endpoint: &endpoint.id, reason });
        }
    }

    /// Changes the claimed item of an attempt. If the store stays away until the claim ends, the item is due again.
    pub(super) async fn settle(&self, mut item: StoredDelivery, attempt: LastAttempt) -> Decision {
        item.attempts = item.attempts.saturating_add(1);
        let decision = decide(&attempt.result, item.attempts, &self.settings.schedule, self.random());
        item.last = Some(attempt);
        if let Decision::Retry { after } = decision {
            item.due = self.clock.now() + after;
        }
        let change = async {
            if let Decision::Dead(reason) = decision {
                return self.store_dead(&item, reason).await;
            }
            for failures in 0.. {
                let changed = match decision {
                    Decision::Delivered => self.request(self.deliveries.delete(&item)).await,
                    Decision::Retry { .. } | Decision::Dead(_) => self.request(self.deliveries.reschedule(&item)).await,
                };
                if changed.is_ok() {
                    return;
                }
                self.wait_after_failure(failures).await;
            }
        };
        let _ = timeout(self.settings.claim, change).await;
        decision
    }
}

fn post(endpoint: &Endpoint, delivery: &Delivery, at: SystemTime) -> Post {
    let timestamp = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let id = delivery.id.as_str();
    let is_signed = !endpoint.secrets.is_empty();
    let signature = is_signed.then(|| Signer::new(&endpoint.secrets).sign(id, timestamp, &delivery.body));
    let trace = delivery.origin.trace.clone();
    Post { url: endpoint.url.clone(), id: id.to_owned(), timestamp, signature, trace, body: delivery.body.clone() }
}
