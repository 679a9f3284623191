//! One subscription for concurrent callers: its state behind a lock, and the wakers of its streams. The lock is held
//! for one operation, never across an await. It knows no other subscription and no topic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::ApiError;
use super::leases::{LeaseId, StreamId};
use super::queue::{Counts, DeadLetter, Queue};
use super::settings::Settings;
use super::wire::Subscription as Resource;

pub(super) struct Subscription {
    pub(super) name: String,
    /// Distinguishes its ack ids from those of other subscriptions, including a deleted one with the same name.
    number: u64,
    state: Mutex<State>,
}

struct State {
    resource: Resource,
    queue: Queue,
    wakers: HashMap<StreamId, Arc<Notify>>,
    deleted: bool,
}

/// The effects of an operation that the caller must handle without the lock.
#[must_use]
pub(super) struct Effects {
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) next_event: Option<Instant>,
}

impl Subscription {
    /// Creates an empty subscription from a resource that [`super::settings::normalize`] returned.
    pub(super) fn new(resource: Resource, number: u64) -> Subscription {
        let queue = Queue::new(Settings::of(&resource));
        let state = State { queue, wakers: HashMap::new(), deleted: false, resource };
        Subscription { name: state.resource.name.clone(), number, state: Mutex::new(state) }
    }

    /// Runs one operation. Every operation goes through here, so that no waker and no timer is forgotten.
    pub(super) fn change<R>(&self, operation: impl FnOnce(&mut Queue) -> R) -> (R, Effects) {
        let mut state = self.lock();
        let result = operation(&mut state.queue);
        for id in state.queue.streams_to_wake() {
            if let Some(waker) = state.wakers.get(&id) {
                waker.notify_one();
            }
        }
        let effects = Effects { dead_letters: state.queue.take_dead_letters(), next_event: state.queue.next_event() };
        (result, effects)
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

    /// Marks the subscription as deleted and wakes its streams, which then end.
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

    /// Returns the leases of ack ids. Skips the ids of other subscriptions and of a deleted one with the same name,
    /// like expired ones. Returns an error if any id is malformed.
    pub(super) fn leases(&self, ack_ids: &[String]) -> Result<Vec<LeaseId>, ApiError> {
        let mut leases = Vec::with_capacity(ack_ids.len());
        for ack_id in ack_ids {
            let (number, lease) = parse(ack_id)
                .ok_or_else(|| ApiError::invalid_argument(format_args!("Invalid ack id (ack_id={ack_id})")))?;
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
    fn an_ack_id_identifies_its_lease() {
        let subscription = subscription(3);
        let ids = [1, 16, u64::MAX].map(LeaseId);
        let ack_ids = ids.map(|id| subscription.ack_id(id));
        assert_eq!(subscription.leases(&ack_ids).unwrap(), ids);
    }

    #[test]
    fn ack_ids_of_other_subscriptions_are_skipped_and_malformed_ones_are_rejected() {
        let other = subscription(4).ack_id(LeaseId(1));
        assert_eq!(subscription(3).leases(&[other]).unwrap(), []);
        for malformed in ["", "1", "-", "x-1", "1-x", "bogus"] {
            assert!(subscription(3).leases(&[malformed.to_owned()]).is_err(), "{malformed}");
        }
    }
}
