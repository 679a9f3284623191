//! The deliverer: connects to its tables, its queue and the stream, and reads until it is stopped.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use delivery_table::WaitingDeliveries;
use dynamodb::{Client, Problem, StreamName, StreamsClient, TableSpec};
use dynamodb_streams::{DynamoDbLeaseTable, Ended, LeaseError, LeaseTable, Reader, Retries, Settings, Start};
use ops::Liveness;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use webhooks::{Clock, Engine, HttpSender, Policy, SecretKeys, SenderSettings, SystemClock, SystemResolver};

use crate::deliver::{
    Condition, DeadLetterQueue, Deliverer, Deliveries, DeliveryEngine, Handler, LEASES, Observer, TracedSender, Watch,
    event_stream,
};
use crate::names::{Endpoints, Tables};
use crate::observe::USER_AGENT;
use crate::queues;
use crate::routes::{self, Directory, RouteTable};
use crate::table;

/// Names the deliverers in the lease table.
const APPLICATION: &str = "deliver";
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(1);
/// How many records of a shard may wait for their targets.
const WAITING_RECORDS: usize = 1024;
/// How many records of a shard may be unfinished or behind an unfinished one.
const RECORDS: usize = 20_000;
/// A checkpoint is stored at least this often, because the records after it are delivered again if this instance is killed.
/// Each of them was a write itself, so these writes cost little beside them.
const CHECKPOINT_RECORDS: u64 = 200;
/// The deliverer bounds the time of each call, and a record waits for as long as a store is away.
const HANDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What each program that delivers needs.
#[derive(Debug, Clone)]
pub struct DeliveryConfig {
    pub endpoints: Endpoints,
    pub tables: Tables,
    /// The dead-letter queue of deliveries, by name.
    pub dead_letters: String,
    /// They open the signing secrets.
    pub keys: Option<Arc<SecretKeys>>,
    pub policy: Policy,
}

/// The settings of a deliverer.
#[derive(Debug, Clone)]
pub struct DelivererConfig {
    pub delivery: DeliveryConfig,
    /// The name of this instance in the lease table.
    pub instance: String,
    /// The time between two reads of a shard.
    pub poll_interval: Duration,
    pub checkpoint_interval: Duration,
    pub failover: Duration,
    pub shutdown_grace: Duration,
}

/// Who is told what a deliverer does.
#[derive(Clone)]
pub struct DelivererObservers {
    pub events: Arc<dyn Observer>,
    pub reports: Arc<dyn dynamodb_streams::Observer>,
    pub watch: Arc<Watch>,
}

/// What is missing or does not fit, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub(super) String);

/// The engine of a program that delivers, with the way of events to it.
#[derive(Clone)]
pub struct Delivery {
    engine: Arc<DeliveryEngine>,
    pub deliverer: Deliverer,
}

impl Delivery {
    /// Connects to the tables and the queue. Fails if one of them is missing or does not fit.
    pub async fn connect(
        config: &DeliveryConfig,
        observer: Arc<dyn Observer>,
        watch: Arc<Watch>,
    ) -> Result<Delivery, SetupError> {
        let (directory, deliveries) = stores(config, observer.clone(), watch).await?;
        let sender = SenderSettings { user_agent: USER_AGENT.to_owned(), ..SenderSettings::default() };
        let sender = HttpSender::new(config.policy.clone(), Arc::new(SystemResolver), sender);
        let sender = sender.map_err(|error| SetupError(format!("cannot send webhooks: {error}")))?;
        let sender = TracedSender::new(sender, observer.clone());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let stores = (deliveries.clone(), directory.clone());
        let settings = webhooks::Settings { allow_unsigned: true, ..webhooks::Settings::default() };
        let engine = Engine::new(stores, sender, clock, Arc::new(Reports(observer.clone())), settings);
        let engine = Arc::new(engine);
        let deliverer = Deliverer::new(Some(engine.clone()), directory, deliveries, observer);
        Ok(Delivery { engine, deliverer })
    }

    /// Delivers what waits until `stop`, and then drains until `end` at the latest.
    pub async fn run(&self, stop: impl Future<Output = ()>, end: impl Future<Output = ()>) {
        tokio::select! {
            () = Box::pin(self.engine.run(stop)) => {}
            () = end => {}
        }
    }
}

/// Returns a deliverer that only stores deliveries, for the instances that have an engine.
pub async fn storing_deliverer(
    config: &DeliveryConfig,
    observer: Arc<dyn Observer>,
    watch: Arc<Watch>,
) -> Result<Deliverer, SetupError> {
    let (directory, deliveries) = stores(config, observer.clone(), watch).await?;
    Ok(Deliverer::new(None, directory, deliveries, observer))
}

/// Passes the reports of the engine on.
struct Reports(Arc<dyn Observer>);

impl webhooks::Observer for Reports {
    fn report(&self, report: &webhooks::Report<'_>) {
        self.0.report(report);
    }
}

async fn stores(
    config: &DeliveryConfig,
    observer: Arc<dyn Observer>,
    watch: Arc<Watch>,
) -> Result<(Directory, Deliveries), SetupError> {
    let DeliveryConfig { endpoints, tables, dead_letters, keys, .. } = config;
    let client = dynamo(endpoints).await?;
    check(&client, &routes::SPEC, &tables.routes).await?;
    check(&client, &delivery_table::SPEC, &tables.deliveries).await?;
    let of_queue = |problem: queues::Problem| {
        SetupError(format!("the queue {dead_letters}: {problem}; create it with `event-pipeline setup`"))
    };
    let dead = DeadLetterQueue::connect(endpoints.sqs.as_deref(), dead_letters).await.map_err(of_queue)?;
    let route_table = RouteTable::new(client.clone(), tables.routes.clone());
    let watched = watch.clone();
    let on_call = move |failure: Option<&_>| watched.called_table(Condition::Routes, failure);
    let directory = Directory::new(route_table, keys.clone(), on_call);
    let waiting = WaitingDeliveries::new(client, tables.deliveries.clone(), None, Arc::new(SystemClock));
    Ok((directory.clone(), Deliveries::new(waiting, dead, directory, observer, watch)))
}

async fn dynamo(endpoints: &Endpoints) -> Result<Client, SetupError> {
    let client = dynamodb::connect(endpoints.dynamo.as_deref(), USER_AGENT).await;
    client.map_err(|problem| SetupError(format!("cannot connect to DynamoDB: {problem}")))
}

async fn check(client: &Client, spec: &TableSpec, name: &str) -> Result<(), SetupError> {
    match dynamodb::check_table(client, spec, name).await {
        // Delivering needs no permission to describe a table.
        Ok(_) | Err(Problem::Refused(_)) => Ok(()),
        Err(problem) => {
            Err(SetupError(format!("the table {name}: {problem}; create what is missing with `event-pipeline setup`")))
        }
    }
}

/// A deliverer that is connected to its tables.
pub struct DelivererService {
    config: DelivererConfig,
    observers: DelivererObservers,
    client: Client,
    streams: StreamsClient,
    leases: DynamoDbLeaseTable,
    delivery: Delivery,
}

/// Connects to the tables, the queue and the stream. Fails if one of them is missing or does not fit.
pub async fn connect(config: DelivererConfig, observers: DelivererObservers) -> Result<DelivererService, SetupError> {
    let DeliveryConfig { endpoints, tables, .. } = &config.delivery;
    let client = dynamo(endpoints).await?;
    check(&client, &table::SPEC, &tables.events).await?;
    check(&client, &LEASES, &tables.leases).await?;
    let streams = dynamodb::connect_streams(endpoints.dynamo.as_deref(), USER_AGENT).await;
    let streams = streams.map_err(|problem| SetupError(format!("cannot connect to DynamoDB: {problem}")))?;
    let leases = DynamoDbLeaseTable::new(&client, &tables.leases);
    let delivery = Delivery::connect(&config.delivery, observers.events.clone(), observers.watch.clone()).await?;
    Ok(DelivererService { config, observers, client, streams, leases, delivery })
}

impl DelivererService {
    /// Reads and delivers until `stop`, and then finishes what is in progress. If the stream was disabled, reads it to its
    /// end, and then the next one.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), SetupError> {
        // The engine stops last, so that the records in progress still get their deliveries.
        let stop_engine = CancellationToken::new();
        let reading = async {
            let result = self.read(stop).await;
            stop_engine.cancel();
            result
        };
        let end = async {
            stop.cancelled().await;
            let end = Instant::now() + self.config.shutdown_grace;
            stop_engine.cancelled().await;
            sleep_until(end).await;
        };
        tokio::join!(Box::pin(reading), Box::pin(self.delivery.run(stop_engine.cancelled(), end))).0
    }

    async fn read(&self, stop: &CancellationToken) -> Result<(), SetupError> {
        let mut ended = None;
        loop {
            let Some(name) = stop.run_until_cancelled(self.stream_after(ended.as_deref())).await else { return Ok(()) };
            tracing::info!(stream = name.label, "reading events");
            self.report_new_stream(&name.label).await;
            let stream = event_stream(&self.streams, &name);
            let keys = stream.lease_keys(APPLICATION);
            let handler = Handler::new(self.delivery.deliverer.clone());
            let reports = self.observers.reports.clone();
            let (instance, leases, settings) = (&self.config.instance, self.leases.clone(), self.settings());
            let reader = Reader::new(instance, stream, leases, keys, handler, reports, settings);
            let reader = reader.map_err(|invalid| SetupError(invalid.to_string()))?;
            match Box::pin(reader.run(stop.cancelled())).await {
                Ended::StreamEnded => ended = Some(name.label),
                _ => return Ok(()),
            }
        }
    }

    /// Waits for a stream after the one that ended.
    async fn stream_after(&self, ended: Option<&str>) -> StreamName {
        let health = &self.observers.watch.health;
        loop {
            match dynamodb::stream_name(&self.client, &self.config.delivery.tables.events).await {
                Ok(Some(stream)) if ended != Some(stream.label.as_str()) => {
                    health.clear(Condition::Disabled);
                    health.clear(Condition::Stream);
                    return stream;
                }
                Ok(_) => health.raise(Condition::Disabled, "Disabled", "it is disabled: run `event-pipeline setup`"),
                Err(problem) => health.raise(Condition::Stream, "Unavailable", &problem.to_string()),
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Logs that events may be undelivered, if another stream was read before this one: nothing tells what was stored between
    /// them.
    async fn report_new_stream(&self, label: &str) {
        let labels = match self.labels().await {
            Ok(labels) => labels,
            // The reader retries, and its health shows the lease table.
            Err(error) => return tracing::warn!(%error, "cannot read the leases of earlier streams"),
        };
        let Some(earlier) = labels.last().filter(|_| !labels.contains(label)) else { return };
        tracing::error!(
            stream = label,
            earlier,
            "events may be undelivered: the table has a new stream; deliver them again with `event-pipeline events replay`"
        );
    }

    /// Returns the labels of the streams of the table that have leases.
    async fn labels(&self) -> Result<BTreeSet<String>, LeaseError> {
        let prefix = format!("{APPLICATION}/{}/", self.config.delivery.tables.events);
        let (mut labels, mut after) = (BTreeSet::new(), None);
        loop {
            let page = self.leases.scan(&prefix, after.as_ref()).await?;
            let found = page.leases.iter().filter_map(|lease| lease.key.strip_prefix(&prefix)?.split('/').next());
            labels.extend(found.map(str::to_owned));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(labels),
            }
        }
    }

    fn settings(&self) -> Settings {
        let DelivererConfig { poll_interval, checkpoint_interval, failover, shutdown_grace, .. } = self.config;
        let mut settings = Settings {
            start: Start::TrimHorizon,
            failover,
            checkpoint_interval,
            checkpoint_records: CHECKPOINT_RECORDS,
            handover_timeout: shutdown_grace,
            max_concurrency_per_shard: WAITING_RECORDS,
            max_records_per_shard: RECORDS,
            handle_timeout: HANDLE_TIMEOUT,
            ..Settings::default()
        };
        settings.discovery_interval = settings.discovery_interval.min(3 * failover);
        settings.waits.after_records = poll_interval;
        settings.waits.max_after_none = poll_interval;
        // An outage must not fill the dead-letter queue.
        settings.retries = Retries { max_attempts: u32::MAX, max_time: Duration::MAX, ..settings.retries };
        settings
    }

    /// Shows that this process is alive, and logs delayed conditions. Runs until it is dropped.
    pub async fn follow(&self, liveness: &Liveness) {
        let heartbeat = liveness.begin();
        let beat = async {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                heartbeat.beat();
                self.observers.watch.forget_old_failures();
            }
        };
        tokio::join!(beat, self.observers.watch.health.log_delayed());
    }
}
