//! The engine with stores in memory, which a delivery that succeeds never writes to.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyhow::ensure;
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use webhooks::{
    Addresses, Changed, DeadReason, Delivery, DeliveryStore, DisabledReason, DueDelivery, Endpoint, EndpointId,
    EndpointStatus, EndpointStore, Engine, Handled, HttpSender, Origin, Policy, Resolver, SenderSettings, Settings,
    StoreError, StoredDelivery, SystemClock, Token, WebhookId,
};

use crate::deliveries::{body, endpoint_id, secret, tls, webhook_id};
use crate::load::{Figures, Load, Poster, WORKERS, measure};

/// The deliveries that wait, by their endpoint.
type Waiting = BTreeMap<EndpointId, BTreeMap<WebhookId, StoredDelivery>>;

/// Stores in memory.
#[derive(Clone)]
pub(crate) struct Stores {
    waiting: Arc<Mutex<Waiting>>,
    urls: Arc<BTreeMap<EndpointId, String>>,
}

pub(crate) type BenchEngine = Engine<Stores, Stores, HttpSender>;

/// Creates an engine with these endpoints, whose names all have the address of this machine.
pub(crate) fn engine(urls: &[String]) -> anyhow::Result<BenchEngine> {
    let policy = Policy { allow_http: true, allow_networks: vec!["127.0.0.0/8".parse()?], ..Policy::default() };
    let policy = Policy { ports: urls.iter().filter_map(|url| url::Url::parse(url).ok()?.port()).collect(), ..policy };
    let sender = HttpSender::with_tls(policy, Arc::new(Loopback), SenderSettings::default(), tls()?)?;
    let urls = urls.iter().enumerate().map(|(number, url)| (endpoint_id(number), url.clone())).collect();
    let stores = Stores { waiting: Arc::default(), urls: Arc::new(urls) };
    let (clock, observer) = (Arc::new(SystemClock), Arc::new(()));
    Ok(Engine::new((stores.clone(), stores), sender, clock, observer, Settings::default()))
}

struct Loopback;

impl Resolver for Loopback {
    fn resolve<'a>(&'a self, _: &'a str) -> Addresses<'a> {
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) })
    }
}

/// Delivers to endpoints that answer.
struct Answering {
    engine: Arc<BenchEngine>,
    endpoints: Vec<EndpointId>,
    body: Bytes,
    _backlogs: JoinSet<()>,
}

pub(crate) async fn run(load: Load) -> anyhow::Result<Figures> {
    let engine = Arc::new(engine(&load.urls)?);
    let mut backlogs = JoinSet::new();
    let running = engine.clone();
    backlogs.spawn(async move { running.run(pending()).await });
    let endpoints: Vec<_> = (0..load.urls.len()).map(endpoint_id).collect();
    let count = endpoints.len();
    measure(Answering { engine, endpoints, body: body(), _backlogs: backlogs }, count).await
}

impl Poster for Answering {
    async fn post(&self, endpoint: usize, number: u64) -> anyhow::Result<()> {
        let endpoint = &self.endpoints[endpoint];
        let id = webhook_id(number, endpoint);
        let delivery = Delivery { id, endpoint: endpoint.clone(), body: self.body.clone(), origin: Origin::default() };
        let handled = self.engine.deliver(delivery, Instant::now()).await;
        ensure!(handled == Handled::Delivered, "a delivery was not made at once: {handled:?}");
        Ok(())
    }
}

impl Stores {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, item: &StoredDelivery, new: Option<StoredDelivery>) -> Changed {
        let mut waiting = self.waiting();
        let Some(items) = waiting.get_mut(&item.delivery.endpoint) else { return Changed::Refused };
        if items.get(&item.delivery.id).is_none_or(|stored| stored.token != item.token) {
            return Changed::Refused;
        }
        match new {
            Some(new) => drop(items.insert(item.delivery.id.clone(), new)),
            None => drop(items.remove(&item.delivery.id)),
        }
        Changed::Applied
    }
}

impl DeliveryStore for Stores {
    async fn insert(&self, item: &StoredDelivery) -> Result<(), StoreError> {
        let mut waiting = self.waiting();
        let items = waiting.entry(item.delivery.endpoint.clone()).or_default();
        items.entry(item.delivery.id.clone()).or_insert_with(|| item.clone());
        Ok(())
    }

    async fn endpoints_with_backlog(&self) -> Result<Vec<EndpointId>, StoreError> {
        Ok(self.waiting().iter().filter(|(_, items)| !items.is_empty()).map(|(id, _)| id.clone()).collect())
    }

    async fn due(&self, id: &EndpointId, now: SystemTime, limit: usize) -> Result<Vec<DueDelivery>, StoreError> {
        let waiting = self.waiting();
        let due = waiting.get(id).into_iter().flatten().filter(|(_, item)| item.due <= now);
        Ok(due.take(limit).map(|(id, item)| DueDelivery { id: id.clone(), token: item.token }).collect())
    }

    async fn claim(
        &self,
        id: &EndpointId,
        due: &DueDelivery,
        token: Token,
        until: SystemTime,
    ) -> Result<Option<StoredDelivery>, StoreError> {
        let mut waiting = self.waiting();
        let item = waiting.get_mut(id).and_then(|items| items.get_mut(&due.id));
        Ok(item.filter(|item| item.token == due.token).map(|item| {
            (item.token, item.due) = (token, until);
            item.clone()
        }))
    }

    async fn reschedule(&self, item: &StoredDelivery) -> Result<Changed, StoreError> {
        Ok(self.change(item, Some(item.clone())))
    }

    async fn delete(&self, item: &StoredDelivery) -> Result<Changed, StoreError> {
        Ok(self.change(item, None))
    }

    async fn store_dead(&self, item: &StoredDelivery, _: DeadReason) -> Result<(), StoreError> {
        self.change(item, None);
        Ok(())
    }
}

impl EndpointStore for Stores {
    async fn get(&self, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.urls.get(id).map(|url| Endpoint {
            id: id.clone(),
            url: url.clone(),
            secrets: vec![secret()],
            status: EndpointStatus::Active,
            max_concurrency: WORKERS,
            max_per_second: None,
            failing_since: None,
        }))
    }

    async fn mark_failing(&self, _: &EndpointId, _: SystemTime) -> Result<(), StoreError> {
        Ok(())
    }

    async fn clear_failing(&self, _: &EndpointId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn disable(&self, _: &EndpointId, _: DisabledReason, _: Option<SystemTime>) -> Result<Changed, StoreError> {
        Ok(Changed::Refused)
    }
}
