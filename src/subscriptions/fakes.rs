//! A table of subscriptions in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use webhooks::{Changed, DisabledReason, EndpointId, Secret, SecretKeys};

use super::ports::{BUCKETS, Bucket, Page, Subscriptions, Versions};
use super::{Filter, Status, StoredSecret, Subscription};
use crate::consumer::ports::{StoreError, StoreErrorKind};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub(super) fn keys() -> Arc<SecretKeys> {
    Arc::new(SecretKeys::parse(KEY).unwrap())
}

pub(super) fn other_keys() -> Arc<SecretKeys> {
    Arc::new(SecretKeys::parse(&KEY.replace("AAEC", "BBEC")).unwrap())
}

pub(super) fn id(name: &str) -> EndpointId {
    EndpointId::parse(name).unwrap()
}

pub(super) fn subscription(name: &str, filter: Filter) -> Subscription {
    let sealed = keys().seal(&Secret::generate(), &id(name));
    Subscription {
        id: id(name),
        owner: "owner".to_owned(),
        description: String::new(),
        url: format!("https://{name}.example/"),
        filter,
        status: Status::Active,
        secrets: vec![StoredSecret { sealed, until: None }],
        failing_since: None,
        max_concurrency: 16,
        max_per_second: None,
        created: 1,
        updated: 1,
        revision: 1,
    }
}

#[derive(Clone, Default)]
pub(super) struct FakeTable(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    rows: BTreeMap<EndpointId, Subscription>,
    unreadable: Vec<EndpointId>,
    versions: BTreeMap<usize, u64>,
    pub(super) is_away: bool,
    /// The buckets that were read.
    pub(super) reads: Vec<usize>,
}

fn bucket(id: &EndpointId) -> usize {
    id.as_str().bytes().map(usize::from).sum::<usize>() % BUCKETS
}

impl FakeTable {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn put(&self, subscription: Subscription) {
        let mut state = self.state();
        *state.versions.entry(bucket(&subscription.id)).or_default() += 1;
        state.unreadable.retain(|other| *other != subscription.id);
        state.rows.insert(subscription.id.clone(), subscription);
    }

    pub(super) fn make_unreadable(&self, id: &EndpointId) {
        let mut state = self.state();
        *state.versions.entry(bucket(id)).or_default() += 1;
        state.rows.remove(id);
        state.unreadable.push(id.clone());
    }

    fn answer<T>(&self, apply: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.state();
        if state.is_away {
            return Err(StoreError { kind: StoreErrorKind::Unavailable, detail: "the table is away".to_owned() });
        }
        Ok(apply(&mut state))
    }
}

impl Subscriptions for FakeTable {
    async fn versions(&self) -> Result<Versions, StoreError> {
        self.answer(|state| std::array::from_fn(|bucket| state.versions.get(&bucket).copied().unwrap_or_default()))
    }

    async fn bucket(&self, number: usize) -> Result<Bucket, StoreError> {
        self.answer(|state| {
            state.reads.push(number);
            let unreadable = state.unreadable.iter().filter(|id| bucket(id) == number).map(ToString::to_string);
            let rows = state.rows.values().filter(|row| bucket(&row.id) == number).cloned();
            Bucket { subscriptions: rows.collect(), unreadable: unreadable.collect() }
        })
    }

    async fn page(&self, _: Option<&str>, _: Option<&EndpointId>) -> Result<Page, StoreError> {
        unreachable!("a directory reads buckets")
    }

    async fn get(&self, id: &EndpointId) -> Result<Option<Subscription>, StoreError> {
        self.answer(|state| state.rows.get(id).cloned())
    }

    async fn create(&self, _: &Subscription) -> Result<Changed, StoreError> {
        unreachable!("a directory creates nothing")
    }

    async fn replace(&self, _: &Subscription) -> Result<Changed, StoreError> {
        unreachable!("a directory replaces nothing")
    }

    async fn remove(&self, id: &EndpointId) -> Result<Changed, StoreError> {
        self.answer(|state| {
            *state.versions.entry(bucket(id)).or_default() += 1;
            if state.rows.remove(id).is_some() { Changed::Applied } else { Changed::Refused }
        })
    }

    async fn mark_failing(&self, id: &EndpointId, since: u64) -> Result<Option<u64>, StoreError> {
        self.answer(|state| state.rows.get_mut(id).map(|row| *row.failing_since.get_or_insert(since)))
    }

    async fn clear_failing(&self, id: &EndpointId) -> Result<(), StoreError> {
        self.answer(|state| {
            if let Some(row) = state.rows.get_mut(id) {
                row.failing_since = None;
            }
        })
    }

    async fn disable(
        &self,
        id: &EndpointId,
        reason: DisabledReason,
        failing_since: Option<u64>,
        _: u64,
    ) -> Result<Changed, StoreError> {
        self.answer(|state| match state.rows.get_mut(id) {
            Some(row) if failing_since.is_none() || row.failing_since == failing_since => {
                row.status = Status::Disabled(reason);
                *state.versions.entry(bucket(id)).or_default() += 1;
                Changed::Applied
            }
            _ => Changed::Refused,
        })
    }
}
