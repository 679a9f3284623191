//! The servers, the proxies before them, the consumers, and the faults that are injected into them.

use std::sync::Arc;
use std::time::Duration;

use google_cloud_pubsub::model::DeadLetterPolicy;
use pubsub_local::{Counts, Faults};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::checks::{self, Checks};
use super::fleet::{BEYOND_GRACE, Fleet, GRACE};
use super::log::{Event as LogEvent, Log};
use super::publisher::Publisher;
use super::schedule::{ConnectionFault, Event, Fault, Plan};
use super::store_faults::{Mode, StoreFaults};
use super::stream::Stream;
use crate::support::POLL_INTERVAL;
use crate::support::dynamo_proxy::DynamoProxy;
use crate::support::local_dynamo::LocalDynamo;
use crate::support::pipeline::Pipeline;
use crate::support::program::{Launch, Signal};
use crate::support::publish_router::PublishRouter;
use crate::support::pubsub::Pubsub;
use crate::support::tcp_proxy::TcpProxy;

/// The flags of each consumer.
const CONSUMERS: [&[&str]; 4] = [
    &["-c", "4"],
    &["-c", "2", "--threads", "2", "-m", "200"],
    &["-c", "1", "-m", "2000"],
    &["-c", "3", "--threads", "1", "-m", "50"],
];
const PUBSUB_REFUSED_FOR: Duration = Duration::from_secs(10);
const CONNECTION_DELAY: Duration = Duration::from_millis(100);
/// The probability that Pub/Sub ignores an acknowledgement.
const LOST_ACKS: f64 = 0.01;
/// Much longer than it takes until the leases of killed consumers end and the backlog is written.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// How much longer than planned a fault may last until it has an effect.
const EFFECT_WITHIN: Duration = Duration::from_secs(15);
/// Valid scans per poll while refused items are settled. The store must write others before it is known that it refuses
/// only some.
const OTHER_SCANS: u64 = 5;
const OTHER_SCANS_INTERVAL: Duration = Duration::from_millis(250);

pub(super) struct World {
    pub(super) pipeline: Arc<Pipeline>,
    store: LocalDynamo,
    store_address: watch::Sender<String>,
    store_proxy: DynamoProxy,
    store_faults: StoreFaults,
    pubsub_faults: Faults,
    /// One proxy per consumer, between it and Pub/Sub.
    proxies: Vec<Arc<TcpProxy>>,
    /// Behind those, for the connections that publish dead letters.
    dead_letter_proxy: Arc<TcpProxy>,
    _router: PublishRouter,
    fleet: Fleet,
    stream: Stream,
    log: Log,
    effective: Effective,
}

/// How many of the injected faults had an effect.
#[derive(Debug, Default)]
struct Effective {
    modes: Vec<Mode>,
    connections: usize,
    pubsub_refusals: usize,
    dead_letter_freezes: usize,
    stream_closes: usize,
    store_restarts: usize,
    recreations: usize,
}

/// The end of a fault that runs beside others.
enum Ended {
    Store(Mode),
    Connection,
    PubsubRefusal,
    DeadLetterFreeze,
    StreamClose,
    WithoutEffect,
}

/// The effect of an outage of the store on the subscription.
pub(super) struct Outage {
    pub(super) before: Counts,
    pub(super) during: Counts,
    pub(super) after: Counts,
    /// How long it took after the outage until all its messages were settled.
    pub(super) recovered_in: Duration,
}

impl World {
    pub(super) async fn start(seed: u64, plan: &Plan, log: Log) -> World {
        let store = LocalDynamo::start().await;
        let (pubsub, pubsub_faults) = Pubsub::dedicated().await;
        let pipeline = Arc::new(pipeline(pubsub, &store).await);
        pubsub_faults.seed(seed);
        pubsub_faults.deliver_twice(0.02);
        pubsub_faults.reorder(0.1);
        pubsub_faults.lose_acks(LOST_ACKS);
        log.listen(&pipeline);
        let store_faults = StoreFaults::new(seed);
        let (faults, responses) = (store_faults.clone(), log.clone());
        let decide = move |request: &_| faults.action(request);
        let observe = move |request: &_, response: Option<&_>| responses.observe(request, response);
        let store_proxy = DynamoProxy::observed(store.address(), decide, observe).await;
        let dead_letter_proxy = Arc::new(TcpProxy::before(&pipeline.pubsub.address));
        let router = PublishRouter::start(&dead_letter_proxy.address.to_string(), &pipeline.pubsub.address).await;
        let proxies: Vec<_> =
            CONSUMERS.iter().map(|_| Arc::new(TcpProxy::before(&router.address.to_string()))).collect();
        // A cache would remember the rows of a table that was deleted.
        let cache: &[&str] = if plan.recreations > 0 { &["--cache-entries", "0"] } else { &[] };
        let launches = CONSUMERS.iter().zip(&proxies).enumerate().map(|(number, (flags, proxy))| {
            let (pipeline, pubsub, store) = (pipeline.clone(), proxy.address.to_string(), store_proxy.url());
            let mode = write_mode(number);
            move || launch(&pipeline, &[flags, cache].concat(), &pubsub, &store).env("MINI_SCAN_WRITE_MODE", &mode)
        });
        let fleet = Fleet::start(launches.collect());
        let store_address = watch::Sender::new(store.address().to_owned());
        World {
            stream: Stream::read(&pipeline.table, store_address.subscribe()),
            _router: router,
            pipeline,
            store,
            store_address,
            store_proxy,
            store_faults,
            pubsub_faults,
            proxies,
            dead_letter_proxy,
            fleet,
            log,
            effective: Effective::default(),
        }
    }

    pub(super) fn consumers() -> usize {
        CONSUMERS.len()
    }

    /// Returns whether a consumer writes in batches.
    pub(super) fn writes_batches() -> bool {
        (0..CONSUMERS.len()).any(|consumer| write_mode(consumer) == "batch")
    }

    /// Injects each fault of the schedule when as many messages are published, and waits until all faults are over.
    pub(super) async fn run(mut self, schedule: &[Event], mut published: watch::Receiver<u64>) -> World {
        let mut running = JoinSet::new();
        for Event { at, fault } in schedule {
            published.wait_for(|published| published >= at).await.expect("the publisher exists");
            match fault.clone() {
                Fault::Restart { consumer, gracefully, pause } => self.fleet.restart(consumer, gracefully, pause),
                Fault::RestartStore => self = self.restart_store().await,
                Fault::RecreateTable { missing_for } => self.recreate_table(missing_for).await,
                Fault::RefusePubsub => drop(running.spawn(refuse(self.proxies.clone()))),
                Fault::Connection { consumer, fault, lasts } => {
                    let proxy = self.proxies[consumer].clone();
                    running.spawn(async move { Ended::when(disturb(&proxy, fault, lasts).await, Ended::Connection) });
                }
                Fault::FreezeDeadLetters { lasts } => {
                    let proxy = self.dead_letter_proxy.clone();
                    running.spawn(async move {
                        let freeze = disturb(&proxy, ConnectionFault::FreezeAll, lasts);
                        Ended::when(freeze.await, Ended::DeadLetterFreeze)
                    });
                }
                Fault::Store { mode, lasts } => drop(running.spawn(fail_store(self.store_faults.clone(), mode, lasts))),
                Fault::CloseStreams => {
                    drop(running.spawn(close_streams(self.pipeline.clone(), self.pubsub_faults.clone())));
                }
            }
        }
        for ended in running.join_all().await {
            match ended {
                Ended::Store(mode) => self.effective.modes.push(mode),
                Ended::Connection => self.effective.connections += 1,
                Ended::PubsubRefusal => self.effective.pubsub_refusals += 1,
                Ended::DeadLetterFreeze => self.effective.dead_letter_freezes += 1,
                Ended::StreamClose => self.effective.stream_closes += 1,
                Ended::WithoutEffect => {}
            }
        }
        self.fleet.restarted().await;
        self
    }

    async fn restart_store(mut self) -> World {
        let store = self.store.restart(Signal::Kill).await;
        self.store_proxy.redirect_to(store.address());
        self.store_address.send_replace(store.address().to_owned());
        self.effective.store_restarts += 1;
        World { store, ..self }
    }

    /// Deletes the table, and creates another of the same name after this time.
    async fn recreate_table(&mut self, missing_for: Duration) {
        let (dynamo, table) = (&self.store.dynamo, &self.pipeline.table);
        // Without writes in flight, each response and each record of the stream belongs to one table.
        let paused = self.store_proxy.pause().await;
        self.stream.before_deletion().await;
        dynamo.client.delete_table().table_name(table).send().await.expect("the table is deleted");
        self.log.add(LogEvent::TableDeleted);
        let entries = self.log.entries().len();
        drop(paused);
        sleep(missing_for).await;
        let has_effect = until(|| self.log.table_was_missing_since(entries)).await;
        dynamo.create(table).send().await.expect("the table is created");
        self.effective.recreations += usize::from(has_effect);
    }

    /// Ends all faults and waits until all messages are settled. Meanwhile, valid scans are published if the store
    /// refuses items.
    pub(super) async fn stop_faults(&self, plan: &Plan, publisher: &mut Publisher) {
        self.store_faults.end_background();
        self.pubsub_faults.clear();
        let start = Instant::now();
        while plan.refused_items > 0 && self.pipeline.counts().backlog() > 0 && start.elapsed() < SETTLED_WITHIN {
            publisher.publish(OTHER_SCANS).await;
            sleep(OTHER_SCANS_INTERVAL).await;
        }
        self.settled().await;
    }

    /// Waits until all messages are settled, and returns how long it took. Panics if it takes too long.
    async fn settled(&self) -> Duration {
        let start = Instant::now();
        let settled = async {
            while self.pipeline.counts().backlog() > 0 {
                sleep(POLL_INTERVAL).await;
            }
        };
        let in_time = timeout(SETTLED_WITHIN, settled).await.is_ok();
        assert!(in_time, "not settled within {SETTLED_WITHIN:?}: {:?}", self.pipeline.counts());
        start.elapsed()
    }

    /// Stops the store for this time, and publishes `messages` messages meanwhile.
    pub(super) async fn outage(&self, publisher: &mut Publisher, messages: u64, lasts: Duration) -> Outage {
        let before = self.pipeline.counts();
        let start = Instant::now();
        self.store.signal(Signal::Stop).await;
        publisher.publish(messages).await;
        tokio::time::sleep_until(start + lasts).await;
        let during = self.pipeline.counts();
        self.store.signal(Signal::Continue).await;
        let recovered_in = self.settled().await;
        Outage { before, during, after: self.pipeline.counts(), recovered_in }
    }

    /// Stops the consumers. Checks that the planned faults happened, every acknowledgement, the table, its stream and the
    /// dead letters.
    pub(super) async fn check(self, plan: &Plan, publisher: &Publisher, checks: &mut Checks) {
        let fleet = self.fleet.stop().await;
        let observed = self.stream.end().await;
        let counts = self.pipeline.counts();
        let sent = self.pipeline.pubsub.counts(&self.pipeline.dead_letter_subscription).published;
        let dead_letters = self.pipeline.dead_letters(usize::try_from(sent).expect("a small number")).await;
        let rows: Vec<_> = self.store.dynamo.scan(&self.pipeline.table).await.into_values().collect();

        println!("  Seen\n");
        println!("  {:>9}  starts, {} stopped before they consumed", fleet.starts, fleet.early_stops);
        println!("  {:>9}  failed starts, because a server did not respond", fleet.failed_starts);
        for (action, count) in self.store_faults.counts() {
            println!("  {count:>9}  requests to the store {action}");
        }
        println!("  {:>9}  messages published, {} delivered", counts.published, counts.delivered);
        println!("  {:>9}  acks lost, {} nacks, {} leases expired", counts.lost_acks, counts.nacked, counts.expired);
        println!("  {:>9}  highest delivery attempt\n", counts.highest_attempt);

        println!("  Faults\n");
        let count = |count: usize| u64::try_from(count).expect("a small number");
        checks.happened("consumers killed while they consumed", count(fleet.kills), plan.kills);
        checks.happened("consumers terminated while they consumed", count(fleet.terminations), plan.terminations);
        // The lease of each lost acknowledgement expires as well.
        let expired = counts.expired.saturating_sub(counts.lost_acks);
        checks.happened("leases of messages expired whose ack was not lost", expired, plan.expired_leases);
        checks.happened("acknowledgements lost", counts.lost_acks, plan.lost_acks);
        for mode in &plan.modes {
            let happened = self.effective.modes.iter().filter(|other| *other == mode).count();
            println!("    {happened:>7} periods of the store: {mode:?}");
        }
        checks.happened("periods of the store with an effect", count(self.effective.modes.len()), plan.store_faults);
        let failed = self.store_faults.failed_statements();
        checks.happened("statements of batches failed", failed, plan.failed_statements());
        checks.happened("connections to Pub/Sub disturbed", count(self.effective.connections), plan.connection_faults);
        checks.happened("periods without Pub/Sub", count(self.effective.pubsub_refusals), plan.pubsub_refusals);
        checks.happened(
            "times that Pub/Sub closed the streams",
            count(self.effective.stream_closes),
            plan.stream_closes,
        );
        let freezes = count(self.effective.dead_letter_freezes);
        checks.happened("periods without the dead-letter topic", freezes, plan.dead_letter_freezes);
        checks.happened("restarts of the store", count(self.effective.store_restarts), plan.store_restarts);
        checks.happened("tables deleted while consumers wrote", count(self.effective.recreations), plan.recreations);
        let refused = count(self.log.audit().dead_lettered_for("refused_by_store"));
        checks.happened("refused items with a dead letter", refused, plan.refused_items);

        println!("\n  Checks\n");
        let exits =
            format_args!("every consumer exited only when told to, at SIGTERM within {GRACE:?} + {BEYOND_GRACE:?}");
        checks.no_differences(exits, &fleet.problems);
        checks.that(counts.backlog() == 0, "the subscription is drained");
        checks.that(counts.dead_lettered == 0, "Pub/Sub forwarded no message because of its delivery attempts");
        checks::check_acknowledgements(checks, &self.log, &observed);
        if plan.recreations == 0 {
            checks::check_newest(checks, publisher, &rows);
        }
        checks::check_stream(checks, &rows, &observed);
        checks::check_dead_letters(checks, publisher, &dead_letters);
    }
}

async fn pipeline(pubsub: Pubsub, store: &LocalDynamo) -> Pipeline {
    let mut pipeline = Pipeline::on(pubsub, store.dynamo.clone()).await;
    // A new topic, because the plain subscription of the pipeline's topic would keep every message.
    pipeline.topic = pipeline.pubsub.topic().await;
    // Pub/Sub counts delivery attempts only with a dead-letter policy. The limit is never reached.
    let policy = DeadLetterPolicy::new().set_dead_letter_topic(&pipeline.dead_letter_topic);
    let policy = policy.set_max_delivery_attempts(100);
    let counted = pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_dead_letter_policy(policy));
    pipeline.subscription = counted.await;
    pipeline
}

/// Returns the write mode of a consumer. The modes alternate, so that both write to one table, unless the environment
/// chooses one.
#[expect(clippy::disallowed_methods, reason = "the tests have no flags; the environment may choose the write mode")]
fn write_mode(consumer: usize) -> String {
    let given = std::env::var("WRITE_MODE").ok().filter(|given| !given.is_empty());
    given.unwrap_or_else(|| ["put", "batch"][consumer % 2].to_owned())
}

fn launch(pipeline: &Pipeline, flags: &[&str], pubsub: &str, store: &str) -> Launch {
    let grace = format!("{}s", GRACE.as_secs());
    let launch = pipeline.consumer().arguments(flags.iter().copied());
    // The default for a local server would keep idle streams. In production, they are replaced.
    let launch =
        launch.arguments(["--max-lease-extension", "10s", "--shutdown-grace", &grace, "--stream-max-idle", "60s"]);
    launch.env("PUBSUB_EMULATOR_HOST", pubsub).env("AWS_ENDPOINT_URL_DYNAMODB", store)
}

/// Waits until a fault has an effect. Returns false if it has none in time.
async fn until(has_effect: impl Fn() -> bool) -> bool {
    let effect = async {
        while !has_effect() {
            sleep(POLL_INTERVAL).await;
        }
    };
    timeout(EFFECT_WITHIN, effect).await.is_ok()
}

/// Makes the store fail in this way for this time, and longer if no request has met the fault by then.
async fn fail_store(faults: StoreFaults, mode: Mode, lasts: Duration) -> Ended {
    let before = faults.injected(mode);
    faults.begin(mode);
    sleep(lasts).await;
    let has_effect = until(|| faults.injected(mode) > before).await;
    faults.end(mode);
    Ended::when(has_effect, Ended::Store(mode))
}

/// Closes all streams of the subscription, as soon as there is one.
async fn close_streams(pipeline: Arc<Pipeline>, faults: Faults) -> Ended {
    until(|| pipeline.counts().streams > 0).await;
    let before = pipeline.counts().closed_streams;
    faults.close_streams();
    Ended::when(until(|| pipeline.counts().closed_streams > before).await, Ended::StreamClose)
}

async fn refuse(proxies: Vec<Arc<TcpProxy>>) -> Ended {
    let closed = || proxies.iter().map(|proxy| proxy.disturbed()).sum::<usize>();
    let before = closed();
    for proxy in &proxies {
        proxy.refuse().await;
        proxy.close_open();
    }
    sleep(PUBSUB_REFUSED_FOR).await;
    let has_effect = closed() > before;
    for proxy in &proxies {
        proxy.accept().await;
    }
    Ended::when(has_effect, Ended::PubsubRefusal)
}

/// Disturbs the connections through a proxy for this time, and longer if nothing was disturbed by then. Returns whether
/// something was.
async fn disturb(proxy: &TcpProxy, fault: ConnectionFault, lasts: Duration) -> bool {
    let before = proxy.disturbed();
    let is_disturbed = || proxy.disturbed() > before;
    match fault {
        ConnectionFault::Close => {
            return until(|| {
                proxy.close_open();
                is_disturbed()
            })
            .await;
        }
        ConnectionFault::Delay => proxy.delay(CONNECTION_DELAY),
        ConnectionFault::FreezeOpen => proxy.freeze_open(),
        ConnectionFault::FreezeAll => proxy.freeze(),
    }
    sleep(lasts).await;
    let has_effect = until(|| {
        // No connection may have been open before.
        if fault == ConnectionFault::FreezeOpen && !is_disturbed() {
            proxy.freeze_open();
        }
        is_disturbed()
    })
    .await;
    match fault {
        ConnectionFault::Delay => proxy.delay(Duration::ZERO),
        _ => proxy.thaw(),
    }
    has_effect
}

impl Ended {
    fn when(has_effect: bool, ended: Ended) -> Ended {
        if has_effect { ended } else { Ended::WithoutEffect }
    }
}
