//! Webhooks beside the reader of changes: from settings to a running engine, and how it drains.

mod log;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use webhooks::{
    Clock, EndpointId, Engine, HttpSender, Policy, SecretKeys, SenderSettings, Settings, SystemClock, SystemResolver,
};

use super::{SetupError, WebhooksTables};
use crate::changes::Watch;
use crate::changes::ports::Notifier;
use crate::consumer::ports::StoreError;
use crate::dynamo::{Client, DeliveriesKept, DeliveryTable, SubscriptionTable};
use crate::subscriptions::ports::Observer;
use crate::subscriptions::{Directory, DirectoryEngine, WatchedDeliveries, WebhookNotifier};
use log::{DeliveryLog, Reports};

const GAUGE_INTERVAL: Duration = Duration::from_secs(5);

/// Returns the settings of requests to endpoints.
pub fn sender_settings() -> SenderSettings {
    let user_agent = concat!("mini-scan/", env!("CARGO_PKG_VERSION")).to_owned();
    SenderSettings { user_agent, ..SenderSettings::default() }
}

/// The settings of webhooks.
#[derive(Debug, Clone)]
pub struct WebhooksConfig {
    pub tables: WebhooksTables,
    /// They open the signing secrets.
    pub keys: Arc<SecretKeys>,
    pub policy: Policy,
    /// The address of the API, for links in webhooks.
    pub api_url: Option<String>,
    /// How long the log of successful deliveries is kept. `None` if there is none.
    pub log_ttl: Option<Duration>,
    /// How long dead deliveries are kept.
    pub dead_ttl: Duration,
}

/// An engine with its subscriptions.
pub(super) struct Webhooks {
    directory: Directory<SubscriptionTable>,
    engine: Arc<DirectoryEngine<WatchedDeliveries<DeliveryTable>, SubscriptionTable, HttpSender>>,
    deliveries: DeliveryTable,
    observer: Arc<dyn Observer>,
    api_url: Option<String>,
    log: Option<DeliveryLog>,
}

impl Webhooks {
    pub(super) fn new(
        config: &WebhooksConfig,
        client: &Client,
        observer: Arc<dyn Observer>,
        watch: &Arc<Watch>,
    ) -> Result<Webhooks, SetupError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let WebhooksConfig { tables, keys, policy, api_url, log_ttl, dead_ttl } = config.clone();
        let sender = HttpSender::new(policy, Arc::new(SystemResolver), sender_settings());
        let sender = sender.map_err(|error| SetupError(format!("cannot send webhooks: {error}")))?;
        let subscriptions = SubscriptionTable::new(client.clone(), tables.webhooks);
        let directory = Directory::new(subscriptions, keys, clock.clone(), watch.clone());
        let kept = DeliveriesKept { dead: dead_ttl, delivered: log_ttl.unwrap_or_default() };
        let deliveries = DeliveryTable::new(client.clone(), tables.deliveries, kept, clock.clone());
        let (log, entries) = DeliveryLog::new(deliveries.clone(), observer.clone());
        let log = log_ttl.map(|_| log);
        let reports = Reports::new(observer.clone(), clock.clone(), log_ttl.map(|_| entries));
        let stores = (WatchedDeliveries::new(deliveries.clone(), watch.clone()), directory.clone());
        let engine = Arc::new(Engine::new(stores, sender, clock, Arc::new(reports), Settings::default()));
        Ok(Webhooks { directory, engine, deliveries, observer, api_url, log })
    }

    /// Reads all subscriptions. Without them, changes would reach nobody.
    pub(super) async fn load(&self) -> Result<(), StoreError> {
        self.directory.load().await?;
        show(&self.directory, &*self.observer);
        Ok(())
    }

    pub(super) fn notifier(&self) -> Arc<dyn Notifier> {
        let (engine, directory) = (self.engine.clone(), self.directory.clone());
        Arc::new(WebhookNotifier::new(engine, directory, self.observer.clone(), self.api_url.clone()))
    }

    /// Delivers what is stored until `stop`, and then drains until `end` at the latest.
    pub(super) async fn run(self, stop: &CancellationToken, end: impl Future<Output = ()>) {
        let Webhooks { directory, engine, deliveries, observer, log, .. } = self;
        let drained = CancellationToken::new();
        let work = async {
            let engine = engine;
            {
                let running = Box::pin(engine.run(stop.cancelled()));
                let follow = Box::pin(directory.follow(|| show(&directory, &*observer)));
                tokio::select! {
                    () = running => {}
                    () = end => {}
                    () = follow => {}
                    () = Box::pin(show_oldest_due(&deliveries, &directory, &*observer)) => {}
                }
            }
            // Nothing is logged after this.
            drop(engine);
            drained.cancel();
        };
        let log = async {
            if let Some(log) = log {
                log.write(&drained).await;
            }
        };
        join(Box::pin(work), Box::pin(log)).await;
    }
}

async fn show_oldest_due(
    deliveries: &DeliveryTable,
    directory: &Directory<SubscriptionTable>,
    observer: &dyn Observer,
) {
    let mut ticks = interval(GAUGE_INTERVAL);
    loop {
        ticks.tick().await;
        let waits_for_us =
            |endpoint: &EndpointId| directory.is_active(endpoint) && !observer.has_open_circuit(endpoint);
        observer.oldest_due(deliveries.oldest_due(waits_for_us));
    }
}

fn show(directory: &Directory<SubscriptionTable>, observer: &dyn Observer) {
    observer.reloaded(directory.counts(), &|endpoint| directory.is_active(endpoint));
}
