//! One subscription for many callers: the pure state behind a lock that is held for one operation, never over an
//! await, and the wakers of its streams. Knows no other subscription and no topic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::leases::{LeaseId, StreamId};
use super::queue::{Counts, Dead, Queue};
use super::refusal::Refusal;
use super::settings::Settings;
use super::wire::{Subscription as Resource, SubscriptionProperties};

pub(super) struct Subscription {
    pub(super) name: String,
    /// Tells its ack ids from those of any other, also of one of the same name that was deleted.
    number: u64,
    state: Mutex<State>,
}

struct State {
    resource: Resource,
    queue: Queue,
    wakers: HashMap<StreamId, Arc<Notify>>,
    deleted: bool,
}

/// What an operation leaves to be done outside of the lock.
#[must_use]
pub(super) struct Aftermath {
    pub(super) dead: Vec<Dead>,
    pub(super) next_event: Option<Instant>,
}

impl Subscription {
    /// Of a resource that [`super::settings::complete`] has passed.
    pub(super) fn new(resource: Resource, number: u64) -> Subscription {
        let queue = Queue::new(Settings::of(&resource));
        let state = State { queue, wakers: HashMap::new(), deleted: false, resource };
        Subscription { name: state.resource.name.clone(), number, state: Mutex::new(state) }
    }

    /// Every operation passes here, so that no waker and no timer is forgotten.
    pub(super) fn change<R>(&self, operation: impl FnOnce(&mut Queue) -> R) -> (R, Aftermath) {
        let mut state = self.lock();
        let result = operation(&mut state.queue);
        for id in state.queue.wakes() {
            if let Some(waker) = state.wakers.get(&id) {
                waker.notify_one();
            }
        }
        let aftermath = Aftermath { dead: state.queue.take_dead(), next_event: state.queue.next_event() };
        (result, aftermath)
    }

    pub(super) fn attach(&self, id: StreamId, waker: Arc<Notify>) {
        self.lock().wakers.insert(id, waker);
    }

    pub(super) fn detach(&self, id: StreamId) {
        self.lock().wakers.remove(&id);
    }

    pub(super) fn resource(&self) -> Resource {
        self.lock().resource.clone()
    }

    pub(super) fn set_resource(&self, resource: Resource) {
        let mut state = self.lock();
        state.queue.set(Settings::of(&resource));
        state.resource = resource;
    }

    pub(super) fn set_topic(&self, topic: &str) {
        self.lock().resource.topic = topic.to_owned();
    }

    pub(super) fn topic(&self) -> String {
        self.lock().resource.topic.clone()
    }

    pub(super) fn properties(&self) -> SubscriptionProperties {
        let state = self.lock();
        SubscriptionProperties {
            exactly_once_delivery_enabled: state.resource.enable_exactly_once_delivery,
            message_ordering_enabled: state.resource.enable_message_ordering,
        }
    }

    /// Ends every stream.
    pub(super) fn delete(&self) {
        let mut state = self.lock();
        state.deleted = true;
        state.wakers.values().for_each(|waker| waker.notify_one());
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.lock().deleted
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().queue.counts()
    }

    pub(super) fn ack_id(&self, lease: LeaseId) -> String {
        format!("{:x}-{:x}", self.number, lease.0)
    }

    /// The leases of ack ids. An id of another subscription, or of an earlier one of this name, names none: it is
    /// skipped like one that has expired. A malformed one refuses them all.
    pub(super) fn leases(&self, ack_ids: &[String]) -> Result<Vec<LeaseId>, Refusal> {
        let mut leases = Vec::with_capacity(ack_ids.len());
        for ack_id in ack_ids {
            let (number, lease) =
                parse(ack_id).ok_or_else(|| Refusal::invalid(format_args!("Invalid ack id (ack_id={ack_id})")))?;
            if number == self.number {
                leases.push(LeaseId(lease));
            }
        }
        Ok(leases)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(ack_id: &str) -> Option<(u64, u64)> {
    let (number, lease) = ack_id.split_once('-')?;
    Some((u64::from_str_radix(number, 16).ok()?, u64::from_str_radix(lease, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(number: u64) -> Subscription {
        Subscription::new(Resource { name: "projects/p/subscriptions/sub".into(), ..Resource::default() }, number)
    }

    #[test]
    fn an_ack_id_leads_back_to_its_lease() {
        let subscription = subscription(3);
        let ids = [1, 16, u64::MAX].map(LeaseId);
        let ack_ids = ids.map(|id| subscription.ack_id(id));
        assert_eq!(subscription.leases(&ack_ids).unwrap(), ids);
    }

    #[test]
    fn an_ack_id_of_another_subscription_names_no_lease_and_a_malformed_one_is_refused() {
        let other = subscription(4).ack_id(LeaseId(1));
        assert_eq!(subscription(3).leases(&[other]).unwrap(), []);
        for malformed in ["", "1", "-", "x-1", "1-x", "bogus"] {
            assert!(subscription(3).leases(&[malformed.to_owned()]).is_err(), "{malformed}");
        }
    }
}
