//! Two processors and two deliverers that are killed at random, while the store and an endpoint are away for some time. The
//! truth is what was sent.

mod endpoints;
mod found;
mod instances;
mod messages;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::program::{Launch, event_pipeline};
use crate::support::proxy::Proxy;
use crate::support::servers::Servers;
use crate::support::with_timeout;
use endpoints::Endpoints;
use found::{DeadLetters, Found};
use instances::{Counts, keep};
use messages::{CLIENTS, Messages};

const SEED: &str = "EVENT_PIPELINE_SEED";
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const BATCH: usize = 10;
/// The longest time without progress. A killed instance may have claimed deliveries for a minute, and a webhook that failed
/// twice waits for up to six minutes.
const PATIENCE: Duration = Duration::from_secs(420);
/// How long a start takes at most. If one takes longer, it fails in the outage of the store, which is allowed.
const STARTED_WITHIN: Duration = Duration::from_secs(3);

struct Plan {
    events: usize,
    /// How long the producers take to send all.
    sending: Duration,
    kills: usize,
    /// The longest time between two kills.
    pause: Duration,
    store_away: Outage,
    endpoint_away: Outage,
    /// How long an endpoint takes for a webhook. In this time, its sender may be killed.
    latency: Duration,
}

/// When something goes away, and for how long.
struct Outage {
    after: Duration,
    time: Duration,
}

const fn outage(after: u64, seconds: u64) -> Outage {
    Outage { after: Duration::from_secs(after), time: Duration::from_secs(seconds) }
}

#[tokio::test]
async fn each_message_ends_in_its_place_although_the_instances_are_killed() {
    // The endpoint goes away after the kills, because a killed instance may have claimed its deliveries for a minute.
    run(Plan {
        events: 1_500,
        sending: Duration::from_secs(18),
        kills: 4,
        pause: Duration::from_secs(3),
        store_away: outage(10, 3),
        endpoint_away: outage(14, 3),
        latency: Duration::from_millis(200),
    })
    .await;
}

#[tokio::test]
#[ignore = "many minutes; run by `make check-slow`"]
async fn all_of_200_000_messages_end_in_their_places_although_the_instances_are_killed() {
    run(Plan {
        events: 200_000,
        sending: Duration::from_secs(240),
        kills: 80,
        pause: Duration::from_secs(6),
        store_away: outage(120, 60),
        endpoint_away: outage(30, 60),
        latency: Duration::ZERO,
    })
    .await;
}

async fn run(plan: Plan) {
    let began = Instant::now();
    let seed = seed();
    println!("seed {seed}; {SEED}={seed} sends the same messages and chooses the same kills");
    let messages = Messages::new(plan.events, seed);
    let world = World::start(plan.latency).await;
    let (killers, kills): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel(1)).unzip();
    let [first, second, third, fourth] = <[_; 4]>::try_from(kills).expect("four instances");
    let scenario = world.scenario(&plan, &messages, killers, seed);
    let (found, first, second, third, fourth) = tokio::join!(
        scenario,
        world.keep(&["processor", "--visibility", "10s"], first),
        world.keep(&["processor", "--visibility", "10s", "--direct-dispatch"], second),
        world.keep(&["deliver", "--failover", "3s"], third),
        world.keep(&["deliver", "--failover", "3s"], fourth),
    );
    let (ids, dead) = found;
    println!("nothing is left to do after {:.0} s", began.elapsed().as_secs_f64());
    let found = Found::read(&world, dead).await;
    found.check(&messages, &ids, &world.endpoints.notes());
    report(&messages, &found, &[first, second, third, fourth], &world, began);
}

fn report(messages: &Messages, found: &Found, counts: &[Counts], world: &World, began: Instant) {
    let (kills, starts) =
        counts.iter().fold((0, 0), |(kills, starts), counts| (kills + counts.kills, starts + counts.failed_starts));
    let notes = world.endpoints.notes();
    println!(
        "{} messages sent, of which {} are repeats",
        messages.order.len(),
        messages.order.len() - messages.all.len()
    );
    println!(
        "{} events stored, of which {} with direct dispatch, {} received, {} dead letters",
        found.stored(),
        found.direct(),
        notes.accepted.len(),
        found.dead()
    );
    println!("{kills} kills, {starts} starts failed because the store was away");
    println!(
        "{} webhooks refused, {} received again, {} dead letters again",
        notes.refused,
        notes.duplicates,
        found.repeated()
    );
    println!("{:.0} s", began.elapsed().as_secs_f64());
    assert!(notes.refused > 0, "the endpoint was away");
}

fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test has no flags")]
    let given = std::env::var(SEED).ok().filter(|given| !given.is_empty());
    given.map_or_else(rand::random, |given| given.parse().expect("the seed is a whole number"))
}

struct World {
    servers: Servers,
    /// In front of the table.
    proxy: Proxy,
    endpoints: Endpoints,
}

impl World {
    async fn start(latency: Duration) -> World {
        let servers = Servers::start().await;
        // No message may move to the dead-letter queue because its processors were killed.
        event_pipeline(["setup", "--max-receives", "100"]).against(&servers).succeed().await;
        let proxy = Proxy::start(servers.dynamo.endpoint.trim_start_matches("http://")).await;
        let world = World { servers, proxy, endpoints: Endpoints::start(latency).await };
        for number in 0..CLIENTS {
            let client = format!("client-{number}");
            let url = format!("http://{}/{client}", world.endpoints.address);
            let put = world.servers.dynamo.client.put_item().table_name("routes");
            let put = put.item("client_id", AttributeValue::S(client)).item("target_url", AttributeValue::S(url));
            put.send().await.expect("the table exists");
        }
        world
    }

    async fn keep(&self, arguments: &[&str], kills: mpsc::Receiver<()>) -> Counts {
        let launch = || -> Launch {
            event_pipeline(arguments.iter().copied())
                .against(&self.servers)
                .env("AWS_ENDPOINT_URL_DYNAMODB", &self.proxy.endpoint)
                .env("EVENT_PIPELINE_ALLOW_HTTP", "true")
                .env("EVENT_PIPELINE_ALLOW_TARGET", &self.endpoints.address.to_string())
        };
        keep(launch, kills, self.proxy.subscribe()).await
    }

    /// Sends all messages, with faults, and waits until each is where it must be. Returns the ids that SQS gave to the messages,
    /// and the dead letters. The instances stop afterwards.
    async fn scenario(
        &self,
        plan: &Plan,
        messages: &Messages,
        killers: Vec<mpsc::Sender<()>>,
        seed: u64,
    ) -> (HashMap<usize, String>, DeadLetters) {
        let (ids, (), (), ()) = tokio::join!(
            self.send(plan, messages),
            self.kill(plan, &killers, seed),
            away(&plan.store_away, |is_away| self.proxy.set_open(!is_away)),
            away(&plan.endpoint_away, |is_away| self.endpoints.set_away(is_away)),
        );
        println!("the faults are over: {} events received", self.endpoints.notes().accepted.len());
        let mut dead = DeadLetters::default();
        self.wait(messages, &mut dead).await;
        (ids, dead)
    }

    async fn send(&self, plan: &Plan, messages: &Messages) -> HashMap<usize, String> {
        let url = self.servers.sqs.url("events").await;
        let batches = messages.order.chunks(BATCH);
        let (began, count) = (Instant::now(), u32::try_from(batches.len()).expect("a count"));
        let mut ids = HashMap::new();
        for (index, batch) in (0..).zip(batches) {
            sleep_until(began + plan.sending * index / count).await;
            let entries = batch.iter().enumerate().map(|(position, number)| {
                let entry = SendMessageBatchRequestEntry::builder().id(position.to_string());
                entry.message_body(&messages.all[*number].body).build().expect("a complete entry")
            });
            let send =
                self.servers.sqs.client.send_message_batch().queue_url(&url).set_entries(Some(entries.collect()));
            let sent = send.send().await.expect("SQS answers");
            assert_eq!(sent.successful.len(), batch.len(), "{:?}", sent.failed);
            for sent in sent.successful {
                let position: usize = sent.id.parse().expect("the id of an entry");
                ids.insert(batch[position], sent.message_id);
            }
        }
        ids
    }

    /// Kills the instances one after the other, each round in another order. While the store is away, no instance can start, so
    /// one of each kind is spared.
    async fn kill(&self, plan: &Plan, killers: &[mpsc::Sender<()>], seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let (began, mut round, mut kills) = (Instant::now(), Vec::new(), 0);
        let Outage { after, time } = plan.store_away;
        let sparing = after.saturating_sub(STARTED_WITHIN)..after + time;
        let working = async {
            while self.endpoints.notes().accepted.is_empty() {
                sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout("the first webhook", working).await;
        let spared: [usize; 2] = [random.random_range(0..2), random.random_range(2..4)];
        while kills < plan.kills {
            sleep(random.random_range(Duration::ZERO..plan.pause)).await;
            if round.is_empty() {
                round = (0..killers.len()).collect();
                round.shuffle(&mut random);
            }
            let instance = round.pop().expect("an instance");
            if !(sparing.contains(&began.elapsed()) && spared.contains(&instance)) {
                // One that waits for the store is killed afterwards.
                _ = killers[instance].try_send(());
                kills += 1;
            }
        }
    }

    /// Waits until nothing is left to do.
    async fn wait(&self, messages: &Messages, dead: &mut DeadLetters) {
        let (stored, received) = (messages.stored(), messages.received());
        let expected = (received, messages.all.len() - stored, stored - received);
        let (mut last, mut since) = ((0, 0, 0), Instant::now());
        loop {
            dead.collect(&self.servers.sqs).await;
            let now = (self.endpoints.notes().accepted.len(), dead.of_events.len(), dead.of_deliveries.len());
            let left = self.left().await;
            if now == expected && left == (0, 0) {
                return;
            }
            if now != last {
                (last, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "received and dead: {now:?} of {expected:?}; left: {left:?}");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns how many messages are in the queue, and how many deliveries wait.
    async fn left(&self) -> (usize, usize) {
        let attributes = self.servers.sqs.attributes("events").await;
        let count = |name: QueueAttributeName| attributes[&name].parse::<usize>().expect("a number");
        let messages = count(QueueAttributeName::ApproximateNumberOfMessages)
            + count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            + count(QueueAttributeName::ApproximateNumberOfMessagesDelayed);
        // Reading all deliveries takes long while there are many.
        if messages > 0 { (messages, 0) } else { (0, found::waiting(&self.servers.dynamo).await) }
    }
}

async fn away(outage: &Outage, set_away: impl Fn(bool)) {
    sleep(outage.after).await;
    set_away(true);
    sleep(outage.time).await;
    set_away(false);
}
