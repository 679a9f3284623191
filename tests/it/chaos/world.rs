//! The servers, what stands before them, the consumers, and all that is done to them.

use std::sync::Arc;
use std::time::Duration;

use google_cloud_pubsub::model::DeadLetterPolicy;
use pubsub_local::{Counts, Faults};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::fleet::{Fleet, GRACE};
use super::publisher::Publisher;
use super::script::{Event, What, WireFault};
use super::verdict::{self, Decision};
use super::weather::{Sky, Weather};
use super::witness::{Witnessed, witness};
use crate::support::LOOKING;
use crate::support::fork::Fork;
use crate::support::local_dynamo::LocalDynamo;
use crate::support::pipeline::Pipeline;
use crate::support::program::{Launch, Signal};
use crate::support::pubsub::Pubsub;
use crate::support::store_front::StoreFront;
use crate::support::wire::Wire;

/// The flags of each consumer.
const CONSUMERS: [&[&str]; 4] = [
    &["-c", "4"],
    &["-c", "2", "--threads", "2", "-m", "200"],
    &["-c", "1", "-m", "2000"],
    &["-c", "3", "--threads", "1", "-m", "50"],
];
const REFUSED_FOR: Duration = Duration::from_secs(10);
const SLOW_WIRE: Duration = Duration::from_millis(100);
/// The leases of killed consumers end, and what waits is written, in far less.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

pub(super) struct World {
    pub(super) pipeline: Arc<Pipeline>,
    store: LocalDynamo,
    store_address: watch::Sender<String>,
    front: StoreFront,
    sky: Sky,
    faults: Faults,
    /// One before each consumer's Pub/Sub.
    wires: Vec<Arc<Wire>>,
    /// Behind them, for what is published.
    letters: Arc<Wire>,
    _fork: Fork,
    fleet: Fleet,
    end: watch::Sender<bool>,
    witness: JoinSet<Witnessed>,
}

/// What a time without the store did to the subscription.
pub(super) struct Outage {
    pub(super) before: Counts,
    pub(super) during: Counts,
    pub(super) after: Counts,
    /// How long the messages of that time took once the store was back.
    pub(super) recovered: Duration,
}

impl World {
    pub(super) async fn begin(seed: u64) -> World {
        let store = LocalDynamo::start().await;
        let (pubsub, faults) = Pubsub::own().await;
        let pipeline = Arc::new(pipeline(pubsub, &store).await);
        faults.seed(seed);
        faults.deliver_twice(0.02);
        faults.reorder(0.1);
        faults.lose_acks(0.01);
        let sky = Sky::new(seed);
        let above = sky.clone();
        let front = StoreFront::before(store.address(), move |request| above.fate(request)).await;
        let letters = Arc::new(Wire::before(&pipeline.pubsub.address));
        let fork = Fork::between(&letters.address.to_string(), &pipeline.pubsub.address).await;
        let wires: Vec<_> = CONSUMERS.iter().map(|_| Arc::new(Wire::before(&fork.address.to_string()))).collect();
        let launches = CONSUMERS.iter().zip(&wires).enumerate().map(|(number, (flags, wire))| {
            let (pipeline, pubsub, store) = (pipeline.clone(), wire.address.to_string(), front.url());
            move || launch(&pipeline, flags, &pubsub, &store).env("MINI_SCAN_WRITE_MODE", &write_mode(number))
        });
        let fleet = Fleet::start(launches.collect());
        let (store_address, end) = (watch::Sender::new(store.address().to_owned()), watch::Sender::new(false));
        let mut witnesses = JoinSet::new();
        witnesses.spawn(witness(pipeline.table.clone(), store_address.subscribe(), end.subscribe()));
        World {
            witness: witnesses,
            _fork: fork,
            pipeline,
            store,
            store_address,
            front,
            sky,
            faults,
            wires,
            letters,
            fleet,
            end,
        }
    }

    pub(super) fn consumers() -> usize {
        CONSUMERS.len()
    }

    /// Does what the script says when it says so, and gives the world back when all of it is over.
    pub(super) async fn play(mut self, script: &[Event], mut published: watch::Receiver<u64>) -> World {
        let mut passing = JoinSet::new();
        for Event { at, what } in script {
            published.wait_for(|published| published >= at).await.expect("the publisher is there");
            match what.clone() {
                What::End { consumer, gently, pause } => self.fleet.end(consumer, gently, pause),
                What::RestartStore => self = self.restart_store().await,
                What::RefusePubsub => drop(passing.spawn(refuse(self.wires.clone()))),
                What::Wire { consumer, fault, lasts } => {
                    drop(passing.spawn(disturb(self.wires[consumer].clone(), fault, lasts)));
                }
                What::FreezeLetters { lasts } => {
                    drop(passing.spawn(disturb(self.letters.clone(), WireFault::FreezeAll, lasts)));
                }
                What::Weather { weather, lasts } => {
                    let sky = self.sky.clone();
                    passing.spawn(async move {
                        sky.set(weather);
                        sleep(lasts).await;
                        sky.set(Weather::Usual);
                    });
                }
            }
        }
        passing.join_all().await;
        self
    }

    async fn restart_store(self) -> World {
        let store = self.store.restart(Signal::Kill).await;
        self.front.stand_before(store.address());
        self.store_address.send_replace(store.address().to_owned());
        World { store, ..self }
    }

    /// No more faults: everything is settled, or this says what is not.
    pub(super) async fn calm_down(&self) {
        self.sky.set(Weather::Clear);
        self.faults.clear();
        self.settled().await;
    }

    async fn settled(&self) -> Duration {
        let start = Instant::now();
        let settled = async {
            while self.pipeline.counts().backlog() > 0 {
                sleep(LOOKING).await;
            }
        };
        let in_time = timeout(SETTLED_WITHIN, settled).await.is_ok();
        assert!(in_time, "not settled within {SETTLED_WITHIN:?}: {:?}", self.pipeline.counts());
        start.elapsed()
    }

    /// Stops the store for as long, with so many messages published meanwhile.
    pub(super) async fn outage(&self, publisher: &mut Publisher, messages: u64, lasts: Duration) -> Outage {
        let before = self.pipeline.counts();
        let start = Instant::now();
        self.store.signal(Signal::Stop).await;
        publisher.publish(messages).await;
        tokio::time::sleep_until(start + lasts).await;
        let during = self.pipeline.counts();
        self.store.signal(Signal::Continue).await;
        let recovered = self.settled().await;
        Outage { before, during, after: self.pipeline.counts(), recovered }
    }

    /// Ends the consumers, says what was done, and looks at all that is left.
    pub(super) async fn classify(self, publisher: &Publisher, verdict: &mut Decision) {
        let kept = self.fleet.stop().await;
        self.end.send_replace(true);
        let witnessed = self.witness.join_all().await.remove(0);
        let counts = self.pipeline.counts();
        let sent = self.pipeline.pubsub.counts(&self.pipeline.dead_letter_subscription).published;
        let letters = self.pipeline.dead_letters(usize::try_from(sent).expect("few")).await;
        let rows: Vec<_> = self.store.dynamo.scan(&self.pipeline.table).await.into_values().collect();

        println!("Done\n");
        println!("  {:>9}  SIGKILL, {} SIGTERM, {} starts", kept.kills, kept.terminations, kept.starts);
        println!("  {:>9}  starts in vain, because a server did not answer", kept.in_vain);
        for (what, times) in self.sky.done() {
            println!("  {times:>9}  requests to the store {what}");
        }
        println!("  {:>9}  messages published, {} delivered", counts.published, counts.delivered);
        println!("  {:>9}  leases ended, {} nacked, {} acks lost", counts.expired, counts.nacked, counts.lost_acks);
        println!("  {:>9}  was the highest delivery attempt\n", counts.highest_attempt);
        println!("Decision\n");
        verdict.holds(format_args!("consumers ended as told, at SIGTERM within {GRACE:?} and 3 s"), &kept.wrong);
        verdict.is_so(counts.backlog() == 0, "the subscription is drained");
        verdict.is_so(counts.dead_lettered == 0, "Pub/Sub forwarded nothing for its attempts");
        verdict::table(verdict, publisher, &rows, &witnessed);
        verdict::letters(verdict, publisher, &letters);
    }
}

async fn pipeline(pubsub: Pubsub, store: &LocalDynamo) -> Pipeline {
    let mut pipeline = Pipeline::on(pubsub, store.dynamo.clone()).await;
    // A topic of its own: the plain subscription of a pipeline would keep every message.
    pipeline.topic = pipeline.pubsub.topic().await;
    // With it Pub/Sub counts the attempts; it never comes to the last.
    let policy = DeadLetterPolicy::new().set_dead_letter_topic(&pipeline.dead_letter_topic);
    let policy = policy.set_max_delivery_attempts(100);
    let counted = pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_dead_letter_policy(policy));
    pipeline.subscription = counted.await;
    pipeline
}

/// Every other consumer writes in batches, so that both modes meet at one table, unless the environment chooses.
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

async fn refuse(wires: Vec<Arc<Wire>>) {
    for wire in &wires {
        wire.refuse().await;
        wire.cut();
    }
    sleep(REFUSED_FOR).await;
    for wire in &wires {
        wire.accept().await;
    }
}

async fn disturb(wire: Arc<Wire>, fault: WireFault, lasts: Duration) {
    match fault {
        WireFault::Cut => return wire.cut(),
        WireFault::Delay => wire.delay(SLOW_WIRE),
        WireFault::FreezeOpen => wire.freeze_open(),
        WireFault::FreezeAll => wire.freeze(),
    }
    sleep(lasts).await;
    match fault {
        WireFault::Delay => wire.delay(Duration::ZERO),
        _ => wire.thaw(),
    }
}
