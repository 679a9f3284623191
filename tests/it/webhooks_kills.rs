//! Three instances of `mini-scan changes --webhooks` that are killed at random, while an endpoint fails for some time. The
//! truth is what was written, and what the receivers noted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use webhooks::{SIGNATURE, SIGNED_ID, Secret, TIMESTAMP, verify};

use crate::support::dynamo::{Dynamo, Item, item, number, text};
use crate::support::program::{Launch, Program, Signal, mini_scan};
use crate::support::{POLL_INTERVAL, unique};

const INSTANCES: usize = 3;
const WRITERS: u32 = 16;
const FIRST_SCAN: u64 = 1_740_000_000;
/// The network of the second subscription. Every other service is in it.
const NETWORK: &str = "10.1.0.0/16";
/// How far the signed time may be from the time of the receipt, on one machine that may be slow.
const TOLERANCE: Duration = Duration::from_secs(60);

struct Plan {
    services: u32,
    /// Changes of each service.
    changes: u32,
    kills: usize,
    /// The longest time between two kills.
    pause: Duration,
    /// How long the first endpoint fails, from its first webhook on.
    fails: Duration,
    /// The longest time without a new webhook. A killed instance may have claimed some for a minute, and a webhook that failed
    /// twice waits for five minutes.
    patience: Duration,
}

#[tokio::test]
async fn every_webhook_arrives_although_the_instances_are_killed() {
    let (pause, fails, patience) = (Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(420));
    run(Plan { services: 64, changes: 6, kills: 3, pause, fails, patience }).await;
}

#[tokio::test]
#[ignore = "many minutes; run by `make check-slow`"]
async fn all_of_100_000_webhooks_arrive_although_the_instances_are_killed() {
    let (pause, fails, patience) = (Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(420));
    run(Plan { services: 3_200, changes: 21, kills: 30, pause, fails, patience }).await;
}

/// The address of a service and the number of its change, from 1.
type Change = (String, u64);

async fn run(plan: Plan) {
    let mut world = World::new(plan.fails).await;
    let seed = rand::random();
    println!("seed {seed}");
    let written = watch::Sender::new(false);
    let writing = async {
        let writers = futures_util::stream::iter(0..WRITERS).map(|writer| world.write(&plan, writer));
        writers.buffer_unordered(WRITERS as usize).collect::<Vec<()>>().await;
        written.send_replace(true);
    };
    let ((), kills) = tokio::join!(writing, world.kill(&plan, seed, written.subscribe()));
    let instance = world.instance().start();
    let expected = [plan.all(|_| true), plan.all(|service| service % 2 == 1)];
    world.wait_for(&expected, plan.patience).await;
    instance.signal(Signal::Terminate).await;
    assert_eq!(instance.exit().await.code, Some(0));
    let (mut webhooks, mut duplicates, mut failed) = (0, 0, 0);
    for (receiver, expected) in world.receivers.iter().zip(&expected) {
        let notes = receiver.notes();
        let found: Vec<_> = notes.accepted.keys().cloned().collect();
        assert_eq!(&found, expected, "each change arrived, and no other one");
        webhooks += expected.len();
        duplicates += notes.accepted.values().map(|times| times - 1).sum::<usize>();
        failed += notes.failed;
    }
    println!("{webhooks} webhooks, {kills} kills, {failed} failed attempts, {duplicates} duplicates");
    assert!(failed > 0, "the first endpoint failed for some time");
    world.tasks.shutdown().await;
}

fn ip(service: u32) -> String {
    // Odd services are in the network of the second subscription.
    format!("10.{}.{}.{}", service % 2, service / 256, service % 256)
}

impl Plan {
    /// Returns the changes of some services, sorted.
    fn all(&self, is_selected: impl Fn(u32) -> bool) -> Vec<Change> {
        let services = (0..self.services).filter(|service| is_selected(*service));
        let mut changes: Vec<_> = services
            .flat_map(|service| (1..=u64::from(self.changes)).map(move |number| (ip(service), number)))
            .collect();
        changes.sort();
        changes
    }
}

struct World {
    dynamo: Dynamo,
    /// The tables of the scans, the history, the leases, the subscriptions and the deliveries.
    tables: [String; 5],
    receivers: [Receiver; 2],
    key: tempfile::NamedTempFile,
    tasks: JoinSet<()>,
}

/// What a receiver noted.
#[derive(Default)]
struct Notes {
    secret: Option<Secret>,
    first: Option<Instant>,
    failed: usize,
    /// How often each change was accepted.
    accepted: BTreeMap<Change, usize>,
}

#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    fails: Duration,
    notes: Arc<Mutex<Notes>>,
}

impl Receiver {
    async fn start(fails: Duration, tasks: &mut JoinSet<()>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let receiver = Receiver { address, fails, notes: Arc::default() };
        let router = Router::new().route("/", post(receive)).with_state(receiver.clone());
        tasks.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        receiver
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes a webhook before it is answered. A wrong signature fails the test, because the change is then missing.
async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut notes = receiver.notes();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed = (header(SIGNED_ID), header(TIMESTAMP), header(SIGNATURE));
    #[expect(clippy::disallowed_methods, reason = "a receiver compares the signed time with its own")]
    let now = SystemTime::now();
    if verify(notes.secret.as_slice(), signed, &body, now, TOLERANCE).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    if notes.first.get_or_insert_with(Instant::now).elapsed() < receiver.fails {
        notes.failed += 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let body: Value = serde_json::from_slice(&body).expect("a body is JSON");
    let ip = body["data"]["ip"].as_str().expect("an address").to_owned();
    let number = body["data"]["number"].as_u64().expect("a number");
    *notes.accepted.entry((ip, number)).or_default() += 1;
    StatusCode::NO_CONTENT
}

fn record(ip: &str, number: u32) -> Item {
    item([
        ("pk", text(format!("{ip}#80#HTTP"))),
        ("ip", text(ip)),
        ("port", self::number(80)),
        ("service", text("HTTP")),
        ("timestamp", self::number(FIRST_SCAN + u64::from(number))),
        ("response", text(format!("response {number}"))),
        ("data_version", self::number(2)),
    ])
}

impl World {
    async fn new(fails: Duration) -> World {
        let mut tasks = JoinSet::new();
        let receivers = [Receiver::start(fails, &mut tasks).await, Receiver::start(Duration::ZERO, &mut tasks).await];
        let key = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(key.path(), "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").expect("the key is written");
        let tables = ["scans", "history", "leases", "webhooks", "deliveries"].map(unique);
        let world = World { dynamo: Dynamo::connect(), tables, receivers, key, tasks };
        for part in ["table", "changes", "webhooks"] {
            let exit = world.launch(["setup", part]).run().await;
            assert_eq!(exit.code, Some(0), "{exit:#?}");
        }
        for (receiver, filter) in world.receivers.iter().zip([&[][..], &["--network", NETWORK]]) {
            let url = format!("http://{}/", receiver.address);
            let add = world.launch(["webhooks", "add", "--json", "--url", &url]).arguments(filter.iter().copied());
            let exit = add.run().await;
            assert_eq!(exit.code, Some(0), "{exit:#?}");
            let added: Value = serde_json::from_str(&exit.output.stdout.concat()).expect("JSON");
            let secret = Secret::parse(added["secret"].as_str().expect("a secret")).expect("a valid secret");
            receiver.notes().secret = Some(secret);
        }
        world
    }

    fn launch<const N: usize>(&self, arguments: [&str; N]) -> Launch {
        let [scans, history, leases, webhooks, deliveries] = &self.tables;
        let targets = self.receivers.each_ref().map(|receiver| receiver.address.to_string()).join(",");
        mini_scan(arguments)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint)
            .env("AWS_REGION", "us-east-1")
            .env("MINI_SCAN_TABLE", scans)
            .env("MINI_SCAN_HISTORY_TABLE", history)
            .env("MINI_SCAN_LEASE_TABLE", leases)
            .env("MINI_SCAN_WEBHOOKS_TABLE", webhooks)
            .env("MINI_SCAN_DELIVERIES_TABLE", deliveries)
            .env("MINI_SCAN_SECRET_KEY_FILE", self.key.path().to_str().expect("UTF-8"))
            .env("MINI_SCAN_ALLOW_HTTP", "true")
            .env("MINI_SCAN_ALLOW_TARGET", &targets)
    }

    fn instance(&self) -> Launch {
        self.launch(["changes", "--webhooks", "--failover", "3s"])
    }

    /// Writes the services of one writer, in order.
    async fn write(&self, plan: &Plan, writer: u32) {
        for number in 0..plan.changes {
            for service in (0..plan.services).filter(|service| service % WRITERS == writer) {
                self.dynamo.put(&self.tables[0], record(&ip(service), number)).await;
            }
        }
    }

    /// Kills instances and starts others, until all is written.
    async fn kill(&self, plan: &Plan, seed: u64, written: watch::Receiver<bool>) -> usize {
        let mut random = StdRng::seed_from_u64(seed);
        let mut instances: Vec<Program> = (0..INSTANCES).map(|_| self.instance().start()).collect();
        let mut kills = 0;
        while kills < plan.kills || !*written.borrow() {
            // The first kill comes when webhooks arrive.
            while kills == 0 && self.receivers[0].notes().first.is_none() {
                sleep(POLL_INTERVAL).await;
            }
            sleep(random.random_range(Duration::ZERO..plan.pause)).await;
            // All at once, because two of three do not own the only shard.
            let killed = if kills == 0 || random.random() { 0..INSTANCES } else { 0..1 };
            for instance in &mut instances[killed] {
                let dead = std::mem::replace(instance, self.instance().start());
                dead.signal(Signal::Kill).await;
                assert_eq!(dead.exit().await.code, None, "it ended before it was killed");
                kills += 1;
            }
            instances.rotate_left(1);
        }
        kills
    }

    /// Waits until the receivers have these changes.
    async fn wait_for(&self, expected: &[Vec<Change>; 2], patience: Duration) {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let counts = self.receivers.each_ref().map(|receiver| receiver.notes().accepted.len());
            if counts == expected.each_ref().map(Vec::len) {
                return;
            }
            if counts.iter().sum::<usize>() != last {
                (last, since) = (counts.iter().sum(), Instant::now());
            }
            assert!(since.elapsed() < patience, "no webhook for {patience:?}: {counts:?} of {}", expected[0].len());
            sleep(POLL_INTERVAL).await;
        }
    }
}
