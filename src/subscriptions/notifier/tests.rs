use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use webhooks::{
    Answer, Changed, DeadReason, DueDelivery, Failure, Post, SecretKeys, Settings, StoredDelivery, SystemClock, Token,
};

use super::super::Filter;
use super::super::fakes::{FakeTable, id, keys, subscription};
use super::*;
use crate::changes::{Body, Event, Sequence, Watch};
use crate::scan::Key;

/// Deliveries, and endpoints that answer with a status.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By name. Others answer 200.
    statuses: BTreeMap<String, u16>,
    /// The names of endpoints whose deliveries cannot be stored.
    unstorable: Vec<String>,
    received: Vec<(String, Bytes)>,
    stored: Vec<String>,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn received(&self) -> Vec<String> {
        let mut names: Vec<_> = self.state().received.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }
}

impl DeliveryStore for World {
    async fn insert(&self, item: &StoredDelivery) -> Result<(), webhooks::StoreError> {
        let mut state = self.state();
        let name = item.delivery.endpoint.to_string();
        if state.unstorable.contains(&name) {
            return Err(webhooks::StoreError("the table is away".into()));
        }
        state.stored.push(name);
        Ok(())
    }

    async fn endpoints_with_backlog(&self) -> Result<Vec<EndpointId>, webhooks::StoreError> {
        Ok(Vec::new())
    }

    async fn due(&self, _: &EndpointId, _: SystemTime, _: usize) -> Result<Vec<DueDelivery>, webhooks::StoreError> {
        Ok(Vec::new())
    }

    async fn claim(
        &self,
        _: &EndpointId,
        _: &DueDelivery,
        _: Token,
        _: SystemTime,
    ) -> Result<Option<StoredDelivery>, webhooks::StoreError> {
        Ok(None)
    }

    async fn reschedule(&self, _: &StoredDelivery) -> Result<Changed, webhooks::StoreError> {
        Ok(Changed::Refused)
    }

    async fn delete(&self, _: &StoredDelivery) -> Result<Changed, webhooks::StoreError> {
        Ok(Changed::Refused)
    }

    async fn store_dead(&self, _: &StoredDelivery, _: DeadReason) -> Result<(), webhooks::StoreError> {
        Ok(())
    }
}

impl Sender for World {
    async fn send(&self, post: Post) -> Result<Answer, Failure> {
        let name = post.url.trim_start_matches("https://").split('.').next().unwrap().to_owned();
        let mut state = self.state();
        state.received.push((name.clone(), post.body));
        let status = state.statuses.get(&name).copied().unwrap_or(200);
        Ok(Answer { status, retry_after: None, body: Bytes::new() })
    }
}

async fn notifier(world: &World, subscriptions: &[(&str, Filter)]) -> WebhookNotifier<World, FakeTable, World> {
    let table = FakeTable::default();
    for (name, filter) in subscriptions {
        table.put(subscription(name, filter.clone()));
    }
    let keys: Arc<SecretKeys> = keys();
    let directory = Directory::new(table, keys, Arc::new(SystemClock), Arc::<Watch>::default());
    directory.load().await.unwrap();
    let stores = (world.clone(), directory.clone());
    let engine = Engine::new(stores, world.clone(), Arc::new(SystemClock), Arc::new(()), Settings::default());
    WebhookNotifier::new(Arc::new(engine), directory, Arc::new(()), None)
}

fn entry(port: u16) -> Entry {
    let key = EntryKey { service: Key::new([1, 1, 1, 1].into(), port, "HTTP"), time: 7, sequence: Sequence::none() };
    Entry { body: Some(Body::Text("hello".to_owned())), ..Entry::new(key, Event::Opened, 8, 9) }
}

#[tokio::test(start_paused = true)]
async fn a_change_reaches_each_matching_endpoint_and_no_other_with_the_same_body() {
    let world = World::default();
    let only_443 = Filter { ports: vec![443], ..Filter::default() };
    let all = [("a", Filter::default()), ("b", Filter { ports: vec![80], ..Filter::default() }), ("c", only_443)];
    let notifier = notifier(&world, &all).await;
    notifier.notify(entry(80), Instant::now()).await.unwrap();
    assert_eq!(world.received(), ["a", "b"]);
    let state = world.state();
    assert!(state.received.iter().all(|(_, received)| *received == body(entry(80), None)));
    assert_eq!(state.stored, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_change_reaches_only_those_who_were_not_told() {
    let world = World::default();
    world.state().statuses.insert("b".to_owned(), 500);
    world.state().unstorable.push("b".to_owned());
    let notifier = notifier(&world, &[("a", Filter::default()), ("b", Filter::default())]).await;
    let read_at = Instant::now();
    for repeats in 1..3 {
        let error = notifier.notify(entry(80), read_at).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable);
        assert!(error.detail.starts_with(&format!("1 of {} webhooks", 3 - repeats)), "{}", error.detail);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    world.state().unstorable.clear();
    notifier.notify(entry(80), read_at).await.unwrap();
    assert_eq!(world.received().iter().filter(|name| *name == "a").count(), 1);
    assert_eq!(world.state().stored, ["b"]);

    // After a success, nothing is remembered.
    notifier.notify(entry(80), Instant::now()).await.unwrap();
    assert_eq!(world.received().iter().filter(|name| *name == "a").count(), 2);
    assert_eq!(id("a"), notifier.directory.matching(&entry(80).key.service, Event::Opened)[0]);
}
