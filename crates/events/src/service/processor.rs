//! The processor: connects to its queues and tables, and stores events until it is stopped.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dynamodb::{Client, Problem};
use ops::Liveness;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::deliverer::{Delivery, DeliveryConfig, SetupError, storing_deliverer};
use super::schemas::SchemaDirectory;
use crate::buckets;
use crate::deliver::{self, Dispatcher};
use crate::names::Queues;
use crate::observe::USER_AGENT;
use crate::ports::Observer;
use crate::processor::health::Watch;
use crate::processor::{Ports, Processor, Settings};
use crate::queues::{self, DeadLetterQueue, EventQueue, Sqs};
use crate::schema::Schemas;
use crate::table::{EventTable, SPEC};

const TICK: Duration = Duration::from_secs(1);
/// One check takes at most this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The settings of a processor.
#[derive(Debug, Clone)]
pub struct ProcessorConfig {
    /// How events are delivered that are dispatched directly.
    pub delivery: DeliveryConfig,
    pub queues: Queues,
    pub schemas: Option<SchemaConfig>,
    /// How long events are kept. `None` for ever.
    pub ttl: Option<Duration>,
    pub settings: Settings,
}

/// The schemas of event types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaConfig {
    pub directory: PathBuf,
    /// Whether an event type needs a schema of its own.
    pub is_strict: bool,
}

/// Who is told what a processor does.
#[derive(Clone)]
pub struct ProcessorObservers {
    pub messages: Arc<dyn Observer>,
    pub deliveries: Arc<dyn deliver::Observer>,
    pub delivery_watch: Arc<deliver::Watch>,
}

/// A processor that is connected to its queues and tables.
pub struct ProcessorService {
    processor: Processor<EventQueue, EventTable, DeadLetterQueue, Dispatcher>,
    /// It runs the engine of direct dispatch.
    delivery: Option<Delivery>,
    schemas: Option<Mutex<SchemaDirectory>>,
    observer: Arc<dyn Observer>,
    delivery_watch: Arc<deliver::Watch>,
    shutdown_grace: Duration,
}

/// Connects to the queues and tables. Fails if one of them is missing or does not fit, or if a schema is wrong.
pub async fn connect(config: ProcessorConfig, observers: ProcessorObservers) -> Result<ProcessorService, SetupError> {
    let ProcessorConfig { delivery, queues, schemas, ttl, settings } = config;
    let (directory, schemas) = load_schemas(schemas)?;
    let (queue, dead_letters) = connect_queues(&delivery, &queues, &settings).await?;
    let events = connect_table(&delivery, ttl).await?;
    let ProcessorObservers { messages, deliveries, delivery_watch } = observers;
    let (engine, deliverer) = if settings.is_direct {
        let engine = Delivery::connect(&delivery, deliveries, delivery_watch.clone()).await?;
        let deliverer = engine.deliverer.clone();
        (Some(engine), deliverer)
    } else {
        (None, storing_deliverer(&delivery, deliveries, delivery_watch.clone()).await?)
    };
    let ports = Ports { queue, events, dead_letters, dispatch: Dispatcher::new(deliverer) };
    Ok(ProcessorService {
        processor: Processor::new(ports, schemas, messages.clone(), settings),
        delivery: engine,
        schemas: directory.map(Mutex::new),
        observer: messages,
        delivery_watch,
        shutdown_grace: settings.shutdown_grace,
    })
}

fn load_schemas(config: Option<SchemaConfig>) -> Result<(Option<SchemaDirectory>, Schemas), SetupError> {
    let Some(SchemaConfig { directory, is_strict }) = config else { return Ok((None, Schemas::default())) };
    let (directory, schemas) = SchemaDirectory::load(directory, is_strict).map_err(|error| {
        let why = anyhow::Error::new(error);
        SetupError(format!("cannot load the schemas (--schema-dir): {why:#}"))
    })?;
    tracing::info!(schemas = schemas.len(), "loaded the schemas");
    Ok((Some(directory), schemas))
}

async fn connect_queues(
    delivery: &DeliveryConfig,
    queues: &Queues,
    settings: &Settings,
) -> Result<(EventQueue, DeadLetterQueue), SetupError> {
    let sqs = Sqs::connect_without_retries(delivery.endpoints.sqs.as_deref()).await;
    let sqs = sqs.map_err(|problem| SetupError(format!("cannot connect to SQS: {problem}")))?;
    let find = async |name: &str| answer(sqs.find(name)).await.map_err(|problem| missing("queue", name, &problem));
    let (events, dead) = (find(&queues.events).await?, find(&queues.events_dead).await?);
    // Receiving needs no permission to read attributes.
    if answer(events.settings()).await.is_ok_and(|settings| settings.redrive.is_none()) {
        tracing::warn!(
            queue = queues.events,
            "the queue has no dead-letter queue, so SQS delivers a message that cannot be processed again and again; run \
             `event-pipeline setup`"
        );
    }
    let events = EventQueue::new(events, settings.limits.visibility, settings.shutdown_grace);
    Ok((events, DeadLetterQueue::new(dead)))
}

async fn connect_table(delivery: &DeliveryConfig, ttl: Option<Duration>) -> Result<EventTable, SetupError> {
    let client = dynamodb::connect(delivery.endpoints.dynamo.as_deref(), USER_AGENT).await;
    let client = client.map_err(|problem| SetupError(format!("cannot connect to DynamoDB: {problem}")))?;
    let table = delivery.tables.events.clone();
    match dynamodb::check_table(&client, &SPEC, &table).await {
        Ok(false) if ttl.is_some() => {
            tracing::warn!(table, "events do not expire, because the table has no expiry; run `event-pipeline setup`");
        }
        // Writing needs no permission to describe the table.
        Ok(_) | Err(Problem::Refused(_)) => {}
        Err(problem) => return Err(missing("table", &table, &problem)),
    }
    let buckets = current_buckets(&client, &delivery.tables.routes).await?;
    Ok(EventTable::new(client, table, ttl, buckets.current))
}

async fn current_buckets(client: &Client, routes: &str) -> Result<buckets::Buckets, SetupError> {
    buckets::read(client, routes).await.map_err(|problem| missing("table", routes, &problem))
}

fn missing(kind: &str, name: &str, problem: &impl fmt::Display) -> SetupError {
    SetupError(format!("the {kind} {name}: {problem}; create what is missing with `event-pipeline setup`"))
}

async fn answer<T>(call: impl Future<Output = Result<T, queues::Problem>>) -> Result<T, queues::Problem> {
    let late = |_| Err(queues::Problem::Unreachable(format!("no answer within {} s", ANSWER_WITHIN.as_secs())));
    timeout(ANSWER_WITHIN, call).await.unwrap_or_else(late)
}

impl ProcessorService {
    /// Stores events until `stop`, and then finishes what is in memory or returns it.
    pub async fn run(&self, stop: &CancellationToken) {
        // The engine stops last, because the messages in memory are dispatched by it.
        let stop_engine = CancellationToken::new();
        let processing = async {
            self.processor.run(stop).await;
            stop_engine.cancel();
        };
        let engine = async {
            let Some(delivery) = &self.delivery else { return };
            let end = async {
                stop.cancelled().await;
                let end = Instant::now() + self.shutdown_grace;
                stop_engine.cancelled().await;
                sleep_until(end).await;
            };
            delivery.run(stop_engine.cancelled(), end).await;
        };
        tokio::join!(Box::pin(processing), Box::pin(engine), stop.run_until_cancelled(self.reload_schemas()));
    }

    /// Loads changed schemas. While they are wrong, the earlier ones count.
    async fn reload_schemas(&self) {
        let Some(schemas) = &self.schemas else { return };
        let mut directory = schemas.lock().await;
        loop {
            match directory.changed().await {
                Ok(schemas) => {
                    tracing::info!(schemas = schemas.len(), "loaded changed schemas");
                    self.processor.set_schemas(schemas);
                }
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the changed schemas are wrong; the earlier ones count"
                    );
                    self.observer.schemas_refused();
                }
            }
        }
    }

    /// Shows that this process is alive, and logs delayed conditions. Runs until it is dropped.
    pub async fn follow(&self, liveness: &Liveness, watch: &Watch) {
        let heartbeat = liveness.begin();
        let beat = async {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                heartbeat.beat();
                watch.forget_old_failures();
                self.delivery_watch.forget_old_failures();
            }
        };
        tokio::join!(beat, watch.health.log_delayed(), self.delivery_watch.health.log_delayed());
    }
}
