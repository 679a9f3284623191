//! The stores, shared by all instances of a simulation, and the events that have a fault.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use super::receivers::Behaviour;
use crate::delivery::{DeadReason, Delivery, StoredDelivery, Token};
use crate::engine::Engine;
use crate::ids::{EndpointId, WebhookId};
use crate::origin::Origin;
use crate::ports::{
    Changed, Clock, DeliveryStore, DisabledReason, DueDelivery, Endpoint, EndpointStatus, EndpointStore, Observer,
    Report, StoreError,
};
use crate::secret::Secret;
use crate::settings::Settings;

type Key = (EndpointId, WebhookId);

pub(super) struct State {
    pub(super) items: BTreeMap<Key, StoredDelivery>,
    pub(super) dead: BTreeMap<Key, (DeadReason, u32)>,
    pub(super) endpoints: BTreeMap<EndpointId, Endpoint>,
    pub(super) behaviours: BTreeMap<EndpointId, Behaviour>,
    /// When each delivery was received.
    pub(super) received: BTreeMap<Key, Vec<Instant>>,
    pub(super) writes: usize,
    pub(super) random: StdRng,
    pub(super) counts: BTreeMap<String, usize>,
}

impl State {
    pub(super) fn count(&mut self, event: impl Into<String>) {
        *self.counts.entry(event.into()).or_default() += 1;
    }

    fn change(
        &mut self,
        item: &StoredDelivery,
        change: impl FnOnce(&mut BTreeMap<Key, StoredDelivery>, Key),
    ) -> Changed {
        let key = (item.delivery.endpoint.clone(), item.delivery.id.clone());
        if self.items.get(&key).is_none_or(|stored| stored.token != item.token) {
            self.count("refused changes");
            return Changed::Refused;
        }
        self.writes += 1;
        change(&mut self.items, key);
        Changed::Applied
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) until: Option<Instant>,
    pub(super) fails: f64,
    pub(super) loses_answer: f64,
    /// The longest time of a request.
    pub(super) latency: Duration,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) faults: Faults,
    start: Instant,
    /// How much the clock of this instance is fast.
    pub(super) skew: Duration,
}

pub(super) fn secret() -> Secret {
    Secret::from_bytes(&[7; 32]).unwrap()
}

pub(super) fn id(name: &str) -> EndpointId {
    EndpointId::parse(name).unwrap()
}

pub(super) fn delivery(record: usize, endpoint: &EndpointId) -> Delivery {
    let id = WebhookId::of(&[&record.to_be_bytes()], endpoint);
    let body = Bytes::from(format!("{{\"record\":{record}}}"));
    Delivery { id, endpoint: endpoint.clone(), body, origin: Origin::default() }
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> World {
        let state = State {
            items: BTreeMap::new(),
            dead: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            behaviours: BTreeMap::new(),
            received: BTreeMap::new(),
            writes: 0,
            random: StdRng::seed_from_u64(seed),
            counts: BTreeMap::new(),
        };
        World { state: Arc::new(Mutex::new(state)), faults, start: Instant::now(), skew: Duration::ZERO }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn add(&self, name: &str, behaviour: Behaviour) -> EndpointId {
        let id = id(name);
        let endpoint = Endpoint {
            id: id.clone(),
            url: format!("https://{name}.test/"),
            secrets: vec![secret()],
            status: EndpointStatus::Active,
            max_concurrency: 4,
            max_per_second: None,
            failing_since: None,
        };
        self.state().endpoints.insert(id.clone(), endpoint);
        self.state().behaviours.insert(id.clone(), behaviour);
        id
    }

    pub(super) fn change_endpoint(&self, id: &EndpointId, change: impl FnOnce(&mut Endpoint)) {
        change(self.state().endpoints.get_mut(id).unwrap());
    }

    pub(super) fn engine(&self, settings: Settings, seed: u64) -> Engine<World, World, World> {
        let (clock, observer) = (Arc::new(self.clone()), Arc::new(self.clone()));
        Engine::new((self.clone(), self.clone()), self.clone(), clock, observer, settings).with_seed(seed)
    }

    pub(super) fn received(&self, delivery: &Delivery) -> usize {
        self.state().received.get(&(delivery.endpoint.clone(), delivery.id.clone())).map_or(0, Vec::len)
    }

    pub(super) fn has_faults(&self) -> bool {
        self.faults.until.is_some_and(|until| Instant::now() < until)
    }

    async fn request<T>(&self, apply: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let failed = |reason: &str| Err(StoreError(reason.into()));
        let latency = self.state().random.random_range(Duration::ZERO..=self.faults.latency);
        sleep(latency).await;
        let mut state = self.state();
        let draw = if self.has_faults() { state.random.random() } else { 1.0 };
        if draw < self.faults.fails {
            state.count("failed requests");
            return failed("injected");
        }
        let answer = apply(&mut state);
        if draw < self.faults.fails + self.faults.loses_answer {
            state.count("lost answers");
            return failed("injected after the change");
        }
        Ok(answer)
    }
}

impl Clock for World {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + self.skew + (Instant::now() - self.start)
    }
}

impl DeliveryStore for World {
    async fn insert(&self, item: &StoredDelivery) -> Result<(), StoreError> {
        self.request(|state| {
            let key = (item.delivery.endpoint.clone(), item.delivery.id.clone());
            if let std::collections::btree_map::Entry::Vacant(vacant) = state.items.entry(key) {
                vacant.insert(item.clone());
                state.writes += 1;
            } else {
                state.count("repeated inserts");
            }
        })
        .await
    }

    async fn endpoints_with_backlog(&self) -> Result<Vec<EndpointId>, StoreError> {
        self.request(|state| {
            let mut endpoints: Vec<_> = state.items.keys().map(|(endpoint, _)| endpoint.clone()).collect();
            endpoints.dedup();
            endpoints
        })
        .await
    }

    async fn due(&self, endpoint: &EndpointId, now: SystemTime, limit: usize) -> Result<Vec<DueDelivery>, StoreError> {
        self.request(|state| {
            let mut due: Vec<_> =
                state.items.values().filter(|item| item.delivery.endpoint == *endpoint && item.due <= now).collect();
            due.sort_by_key(|item| item.due);
            due.iter().take(limit).map(|item| DueDelivery { id: item.delivery.id.clone(), token: item.token }).collect()
        })
        .await
    }

    async fn claim(
        &self,
        endpoint: &EndpointId,
        due: &DueDelivery,
        token: Token,
        until: SystemTime,
    ) -> Result<Option<StoredDelivery>, StoreError> {
        self.request(|state| {
            let item = state.items.get_mut(&(endpoint.clone(), due.id.clone()))?;
            if item.token != due.token {
                state.count("lost claims");
                return None;
            }
            (item.token, item.due) = (token, until);
            let claimed = item.clone();
            state.writes += 1;
            Some(claimed)
        })
        .await
    }

    async fn reschedule(&self, item: &StoredDelivery) -> Result<Changed, StoreError> {
        self.request(|state| state.change(item, |items, key| drop(items.insert(key, item.clone())))).await
    }

    async fn delete(&self, item: &StoredDelivery) -> Result<Changed, StoreError> {
        self.request(|state| state.change(item, |items, key| drop(items.remove(&key)))).await
    }

    async fn store_dead(&self, item: &StoredDelivery, reason: DeadReason) -> Result<(), StoreError> {
        self.request(|state| {
            let key = (item.delivery.endpoint.clone(), item.delivery.id.clone());
            state.dead.insert(key, (reason, item.attempts));
            state.change(item, |items, key| drop(items.remove(&key)));
        })
        .await
    }
}

impl EndpointStore for World {
    async fn get(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
        // A cache answers at once.
        Ok(self.state().endpoints.get(id).cloned())
    }

    async fn mark_failing(&self, id: &EndpointId, since: SystemTime) -> Result<(), StoreError> {
        self.request(|state| {
            if let Some(endpoint) = state.endpoints.get_mut(id) {
                endpoint.failing_since.get_or_insert(since);
            }
        })
        .await
    }

    async fn clear_failing(&self, id: &EndpointId) -> Result<(), StoreError> {
        self.request(|state| {
            if let Some(endpoint) = state.endpoints.get_mut(id) {
                endpoint.failing_since = None;
            }
        })
        .await
    }

    async fn disable(
        &self,
        id: &EndpointId,
        reason: DisabledReason,
        failing_since: Option<SystemTime>,
    ) -> Result<Changed, StoreError> {
        self.request(|state| match state.endpoints.get_mut(id) {
            Some(endpoint)
                if endpoint.status == EndpointStatus::Active
                    && (failing_since.is_none() || endpoint.failing_since == failing_since) =>
            {
                endpoint.status = EndpointStatus::Disabled;
                state.count(format!("disabled: {reason:?}"));
                Changed::Applied
            }
            _ => Changed::Refused,
        })
        .await
    }
}

impl Observer for World {
    fn report(&self, report: &Report<'_>) {
        let mut state = self.state();
        match report {
            Report::Deferred { reason, .. } => state.count(format!("deferred: {reason:?}")),
            Report::CircuitOpened { .. } => state.count("opened circuits"),
            Report::Recovered { .. } => state.count("recoveries"),
            Report::AttemptFailed { .. } => state.count("failed attempts"),
            Report::Delivered { attempts, .. } if *attempts > 1 => state.count("delivered retries"),
            _ => {}
        }
    }
}
