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
use super::observer::{Observed, observe};
use super::publisher::Publisher;
use super::schedule::{ConnectionFault, Event, Fault};
use super::store_faults::{Mode, StoreFaults};
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
/// Much longer than it takes until the leases of killed consumers end and the backlog is written.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

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
    end: watch::Sender<bool>,
    observer: JoinSet<Observed>,
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
    pub(super) async fn start(seed: u64) -> World {
        let store = LocalDynamo::start().await;
        let (pubsub, pubsub_faults) = Pubsub::dedicated().await;
        let pipeline = Arc::new(pipeline(pubsub, &store).await);
        pubsub_faults.seed(seed);
        pubsub_faults.deliver_twice(0.02);
        pubsub_faults.reorder(0.1);
        pubsub_faults.lose_acks(0.01);
        let store_faults = StoreFaults::new(seed);
        let faults = store_faults.clone();
        let store_proxy = DynamoProxy::before(store.address(), move |request| faults.action(request)).await;
        let dead_letter_proxy = Arc::new(TcpProxy::before(&pipeline.pubsub.address));
        let router = PublishRouter::start(&dead_letter_proxy.address.to_string(), &pipeline.pubsub.address).await;
        let proxies: Vec<_> =
            CONSUMERS.iter().map(|_| Arc::new(TcpProxy::before(&router.address.to_string()))).collect();
        let launches = CONSUMERS.iter().zip(&proxies).enumerate().map(|(number, (flags, proxy))| {
            let (pipeline, pubsub, store) = (pipeline.clone(), proxy.address.to_string(), store_proxy.url());
            move || launch(&pipeline, flags, &pubsub, &store).env("MINI_SCAN_WRITE_MODE", &write_mode(number))
        });
        let fleet = Fleet::start(launches.collect());
        let (store_address, end) = (watch::Sender::new(store.address().to_owned()), watch::Sender::new(false));
        let mut observer = JoinSet::new();
        observer.spawn(observe(pipeline.table.clone(), store_address.subscribe(), end.subscribe()));
        World {
            observer,
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
            end,
        }
    }

    pub(super) fn consumers() -> usize {
        CONSUMERS.len()
    }

    /// Injects each fault of the schedule when as many messages are published, and waits until all faults are over.
    pub(super) async fn run(mut self, schedule: &[Event], mut published: watch::Receiver<u64>) -> World {
        let mut running = JoinSet::new();
        for Event { at, fault } in schedule {
            published.wait_for(|published| published >= at).await.expect("the publisher exists");
            match fault.clone() {
                Fault::Restart { consumer, gracefully, pause } => self.fleet.restart(consumer, gracefully, pause),
                Fault::RestartStore => self = self.restart_store().await,
                Fault::RefusePubsub => drop(running.spawn(refuse(self.proxies.clone()))),
                Fault::Connection { consumer, fault, lasts } => {
                    drop(running.spawn(disturb(self.proxies[consumer].clone(), fault, lasts)));
                }
                Fault::FreezeDeadLetters { lasts } => {
                    drop(running.spawn(disturb(self.dead_letter_proxy.clone(), ConnectionFault::FreezeAll, lasts)));
                }
                Fault::Store { mode, lasts } => {
                    let faults = self.store_faults.clone();
                    running.spawn(async move {
                        faults.set(mode);
                        sleep(lasts).await;
                        faults.set(Mode::Background);
                    });
                }
            }
        }
        running.join_all().await;
        self
    }

    async fn restart_store(self) -> World {
        let store = self.store.restart(Signal::Kill).await;
        self.store_proxy.redirect_to(store.address());
        self.store_address.send_replace(store.address().to_owned());
        World { store, ..self }
    }

    /// Ends all faults and waits until all messages are settled.
    pub(super) async fn stop_faults(&self) {
        self.store_faults.set(Mode::Off);
        self.pubsub_faults.clear();
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

    /// Stops the consumers, prints the injected faults, and checks the table, its stream and the dead letters.
    pub(super) async fn check(self, publisher: &Publisher, checks: &mut Checks) {
        let fleet = self.fleet.stop().await;
        self.end.send_replace(true);
        let observed = self.observer.join_all().await.remove(0);
        let counts = self.pipeline.counts();
        let sent = self.pipeline.pubsub.counts(&self.pipeline.dead_letter_subscription).published;
        let dead_letters = self.pipeline.dead_letters(usize::try_from(sent).expect("a small number")).await;
        let rows: Vec<_> = self.store.dynamo.scan(&self.pipeline.table).await.into_values().collect();

        println!("Faults\n");
        println!("  {:>9}  SIGKILL, {} SIGTERM, {} starts", fleet.kills, fleet.terminations, fleet.starts);
        println!("  {:>9}  failed starts, because a server did not respond", fleet.failed_starts);
        for (action, count) in self.store_faults.counts() {
            println!("  {count:>9}  requests to the store {action}");
        }
        println!("  {:>9}  messages published, {} delivered", counts.published, counts.delivered);
        println!("  {:>9}  leases expired, {} nacks, {} acks lost", counts.expired, counts.nacked, counts.lost_acks);
        println!("  {:>9}  highest delivery attempt\n", counts.highest_attempt);
        println!("Checks\n");
        let exits =
            format_args!("every consumer exited only when told to, at SIGTERM within {GRACE:?} + {BEYOND_GRACE:?}");
        checks.no_differences(exits, &fleet.problems);
        checks.that(counts.backlog() == 0, "the subscription is drained");
        checks.that(counts.dead_lettered == 0, "Pub/Sub forwarded no message because of its delivery attempts");
        checks::check_table(checks, publisher, &rows, &observed);
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
    let launch = launch.arguments(["--max-lease-extension", "10s", "--shutdown-grace", &grace]);
    launch.env("PUBSUB_EMULATOR_HOST", pubsub).env("AWS_ENDPOINT_URL_DYNAMODB", store)
}

async fn refuse(proxies: Vec<Arc<TcpProxy>>) {
    for proxy in &proxies {
        proxy.refuse().await;
        proxy.close_open();
    }
    sleep(PUBSUB_REFUSED_FOR).await;
    for proxy in &proxies {
        proxy.accept().await;
    }
}

async fn disturb(proxy: Arc<TcpProxy>, fault: ConnectionFault, lasts: Duration) {
    match fault {
        ConnectionFault::Close => return proxy.close_open(),
        ConnectionFault::Delay => proxy.delay(CONNECTION_DELAY),
        ConnectionFault::FreezeOpen => proxy.freeze_open(),
        ConnectionFault::FreezeAll => proxy.freeze(),
    }
    sleep(lasts).await;
    match fault {
        ConnectionFault::Delay => proxy.delay(Duration::ZERO),
        _ => proxy.thaw(),
    }
}
