//! Three instances of `mini-scan changes` that are killed at random. The truth is what was written, and the table's own
//! stream, read by bare calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodbstreams::types::{OperationType, ShardIteratorType};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::support::dynamo::{Dynamo, Item, item, number, text};
use crate::support::dynamo_proxy::{Action, DynamoProxy};
use crate::support::program::{Launch, Program, Signal, mini_scan};
use crate::support::{unique, with_progress};

const INSTANCES: usize = 3;
/// The writers. Each has its own services, so that the order of the writes of a service is known.
const WRITERS: u32 = 16;
const FIRST_SCAN: u64 = 1_740_000_000;

struct Plan {
    services: u32,
    /// Writes to each service.
    writes: u32,
    /// The least number of kills. The instances are killed until all is written, and at least so often.
    kills: usize,
    /// The longest time between two kills.
    pause: Duration,
}

#[tokio::test]
async fn history_is_complete_although_its_readers_are_killed() {
    run(Plan { services: 160, writes: 12, kills: 3, pause: Duration::from_secs(2) }).await;
}

#[tokio::test]
#[ignore = "many minutes; run by `make check-slow`"]
async fn history_of_200_000_changes_is_complete_although_its_readers_are_killed() {
    run(Plan { services: 3_200, writes: 94, kills: 30, pause: Duration::from_secs(5) }).await;
}

/// What happened to a service, as history must have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    pk: String,
    /// The number of the event of its service, from 1.
    number: u64,
    event: &'static str,
    /// The scan's time, except of a closed service.
    time: Option<u64>,
}

async fn run(plan: Plan) {
    let world = World::new().await;
    let seed = rand::random();
    println!("seed {seed}");
    let written = watch::Sender::new(false);
    let writing = async {
        let events = futures_util::stream::iter(0..WRITERS).map(|writer| world.write(&plan, writer, seed));
        let events: Vec<_> = events.buffer_unordered(WRITERS as usize).collect().await;
        written.send_replace(true);
        events.into_iter().flatten().collect::<BTreeSet<_>>()
    };
    let (expected, kills) = tokio::join!(writing, world.kill(&plan, seed, written.subscribe()));
    let log = world.log().await;
    assert_eq!(log.len(), expected.len(), "the stream and the writers agree on the number of changes");
    let instance = world.instance().start();
    world.wait_for(expected.len()).await;
    instance.signal(Signal::Terminate).await;
    assert_eq!(instance.exit().await.code, Some(0));
    let entries = world.entries().await;
    let found: BTreeSet<_> = entries.iter().map(Found::event).collect();
    let missing: Vec<_> = expected.difference(&found).take(5).collect();
    let others: Vec<_> = found.difference(&expected).take(5).collect();
    assert!(missing.is_empty() && others.is_empty(), "missing: {missing:?}, not written: {others:?}");
    assert_eq!(found.len(), entries.len(), "an event has two entries");
    let sequences: BTreeSet<_> = entries.iter().map(|entry| (entry.pk.clone(), entry.sequence.clone())).collect();
    assert_eq!(sequences, log, "entries have the numbers of their records in the stream");
    let repeated = world.attempts.borrow().values().filter(|attempts| **attempts > 1).count();
    println!("{} changes, {kills} kills, {repeated} changes handled more than once", log.len());
    assert!(repeated > 0, "no kill came between a change and its checkpoint");
}

struct World {
    dynamo: Dynamo,
    proxy: DynamoProxy,
    /// The tables of the scans, of the history and of the leases.
    tables: [String; 3],
    /// How often the summary of a change was written, by the number of its record.
    attempts: watch::Sender<BTreeMap<String, u32>>,
}

/// An entry of the history.
#[derive(Debug)]
struct Found {
    pk: String,
    sequence: String,
    number: u64,
    event: &'static str,
    time: u64,
}

impl Found {
    fn new(item: &Item) -> Found {
        let text = |name: &str| item[name].as_s().expect("text").as_str();
        let sort: Vec<_> = text("entry").splitn(4, '#').collect();
        let [time, port, sequence, service] = sort[..] else { panic!("{sort:?} is no key of an entry") };
        let port: u16 = port.parse().expect("a port");
        let event = ["opened", "changed", "closed"].into_iter().find(|event| *event == text("event"));
        Found {
            pk: format!("{}#{port}#{service}", text("ip")),
            sequence: sequence.to_owned(),
            number: item["number"].as_n().expect("a number").parse().expect("a number"),
            event: event.expect("an event"),
            time: time.parse().expect("a time"),
        }
    }

    fn event(&self) -> Event {
        let time = (self.event != "closed").then_some(self.time);
        Event { pk: self.pk.clone(), number: self.number, event: self.event, time }
    }
}

fn record(ip: &str, timestamp: u64, response: u32) -> Item {
    item([
        ("pk", text(format!("{ip}#80#HTTP"))),
        ("ip", text(ip)),
        ("port", number(80)),
        ("service", text("HTTP")),
        ("timestamp", number(timestamp)),
        ("response", text(format!("response {response}"))),
        ("data_version", number(2)),
    ])
}

impl World {
    async fn new() -> World {
        let dynamo = Dynamo::connect();
        let attempts = watch::Sender::new(BTreeMap::new());
        let counted = attempts.clone();
        let server = dynamo.endpoint.trim_start_matches("http://").to_owned();
        let proxy = DynamoProxy::before(&server, move |request| {
            if let Some(sequence) = request.value(":last_sequence") {
                counted.send_modify(|attempts| *attempts.entry(sequence).or_insert(0) += 1);
            }
            Action::Forward
        });
        let tables = ["scans", "history", "leases"].map(unique);
        let world = World { proxy: proxy.await, dynamo, tables, attempts };
        for part in ["table", "changes"] {
            let exit = world.launch(["setup", part]).run().await;
            assert_eq!(exit.code, Some(0), "{exit:#?}");
        }
        world
    }

    fn launch<const N: usize>(&self, arguments: [&str; N]) -> Launch {
        let [scans, history, leases] = &self.tables;
        mini_scan(arguments)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &self.proxy.url())
            .env("AWS_REGION", "us-east-1")
            .env("MINI_SCAN_TABLE", scans)
            .env("MINI_SCAN_HISTORY_TABLE", history)
            .env("MINI_SCAN_LEASE_TABLE", leases)
    }

    fn instance(&self) -> Launch {
        self.launch(["changes", "--failover", "3s"])
    }

    /// Writes the services of one writer. Returns the events.
    async fn write(&self, plan: &Plan, writer: u32, seed: u64) -> Vec<Event> {
        let mut random = StdRng::seed_from_u64(seed ^ u64::from(writer));
        let services = (0..plan.services).filter(|service| service % WRITERS == writer);
        let ips: Vec<_> = services.map(|service| format!("10.0.{}.{}", service / 256, service % 256)).collect();
        let mut stored: BTreeMap<&str, u32> = BTreeMap::new();
        let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
        let mut events = Vec::new();
        for write in 0..plan.writes {
            for ip in &ips {
                let time = FIRST_SCAN + u64::from(write);
                let old = stored.get(ip.as_str()).copied();
                let event = match (old, random.random_range(0..10)) {
                    (Some(_), 0) => {
                        self.delete(ip).await;
                        stored.remove(ip.as_str());
                        Some(("closed", None))
                    }
                    (Some(same), 1..4) => {
                        self.dynamo.put(&self.tables[0], record(ip, time, same)).await;
                        None
                    }
                    (old, _) => {
                        self.dynamo.put(&self.tables[0], record(ip, time, write)).await;
                        stored.insert(ip, write);
                        Some((if old.is_some() { "changed" } else { "opened" }, Some(time)))
                    }
                };
                if let Some((event, time)) = event {
                    let number = numbers.entry(ip).or_default();
                    *number += 1;
                    events.push(Event { pk: format!("{ip}#80#HTTP"), number: *number, event, time });
                }
            }
        }
        events
    }

    async fn delete(&self, ip: &str) {
        let delete = self.dynamo.client.delete_item().table_name(&self.tables[0]);
        delete.key("pk", text(format!("{ip}#80#HTTP"))).send().await.expect("the record is deleted");
    }

    /// Kills instances and starts others, until all is written.
    async fn kill(&self, plan: &Plan, seed: u64, written: watch::Receiver<bool>) -> usize {
        let mut random = StdRng::seed_from_u64(seed);
        let mut instances: Vec<Program> = (0..INSTANCES).map(|_| self.instance().start()).collect();
        let mut kills = 0;
        while kills < plan.kills || !*written.borrow() {
            if kills > 0 {
                sleep(random.random_range(Duration::ZERO..plan.pause)).await;
            }
            // At the moment of a write, so that the record is repeated.
            let before = self.attempts.borrow().values().sum::<u32>();
            with_progress("a change on its way to the history", async || {
                let now = self.attempts.borrow().values().sum::<u32>();
                if now > before || kills > 0 && *written.borrow() { Ok(()) } else { Err(self.lease().await) }
            })
            .await;
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

    /// Returns the counter of the shard's lease, which tells whether an instance owns it.
    async fn lease(&self) -> Option<u64> {
        let page = self.dynamo.client.scan().table_name(&self.tables[2]).send().await.expect("the leases are read");
        let counter = |row: &Item| row.get("leaseCounter")?.as_n().ok()?.parse::<u64>().ok();
        page.items().iter().filter_map(counter).max()
    }

    /// Reads the stream of the scans with bare calls. Returns the records that change something.
    async fn log(&self) -> BTreeSet<(String, String)> {
        let client = self.dynamo.streams();
        let streams = client.list_streams().table_name(&self.tables[0]).send().await.expect("the streams are listed");
        let arn = streams.streams()[0].stream_arn().expect("a stream has an ARN");
        let description = client.describe_stream().stream_arn(arn).send().await.expect("the stream is described");
        let shards = description.stream_description.expect("a description").shards.expect("shards");
        let shard = shards[0].shard_id().expect("a shard has an id");
        assert_eq!(shards.len(), 1, "these servers do not split a shard");
        let iterator = client.get_shard_iterator().stream_arn(arn).shard_id(shard);
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.expect("an iterator");
        let (mut iterator, mut log) = (iterator.shard_iterator, BTreeSet::new());
        loop {
            let page = client.get_records().set_shard_iterator(iterator).send().await.expect("a page");
            let records = page.records.unwrap_or_default();
            if records.is_empty() {
                return log;
            }
            for record in records {
                let event = record.event_name.expect("a record has an event");
                let change = record.dynamodb.expect("a record has a change");
                let response = |image: &Option<_>| {
                    let image: &BTreeMap<String, _> = &image.clone().into_iter().flatten().collect();
                    image.get("response").cloned()
                };
                if event == OperationType::Modify && response(&change.old_image) == response(&change.new_image) {
                    continue;
                }
                let key = change.keys.expect("a record has a key")["pk"].as_s().expect("a string").clone();
                let number = change.sequence_number.expect("a record has a number");
                assert!(log.insert((key, format!("{number:0>40}"))), "the stream has a number twice");
            }
            iterator = page.next_shard_iterator;
        }
    }

    /// Waits until the history has this many entries.
    async fn wait_for(&self, entries: usize) {
        with_progress("all entries", async || match self.entries().await.len() {
            found if found >= entries => Ok(()),
            found => Err(found),
        })
        .await;
    }

    async fn entries(&self) -> Vec<Found> {
        let scan = self.dynamo.client.scan().table_name(&self.tables[1]).consistent_read(true);
        let items = scan.filter_expression("attribute_exists(created)").into_paginator().items().send();
        let items: Vec<_> = items.collect::<Result<Vec<_>, _>>().await.expect("the history is read");
        items.iter().map(Found::new).collect()
    }
}
