//! Three instances of `mini-scan changes` that are killed at random. The truth is what was written, and the table's own
//! stream, read by bare calls.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use aws_sdk_dynamodb::types::{DeleteRequest, PutRequest, WriteRequest};
use aws_sdk_dynamodbstreams::types::{OperationType, ShardIteratorType};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::dynamo::{Dynamo, Item, item, number, text};
use crate::support::dynamo_proxy::{Action, DynamoProxy, Request, Response};
use crate::support::program::{Launch, Program, Signal, mini_scan};
use crate::support::{unique, with_progress};

const INSTANCES: usize = 3;
/// The writers. Each has its own services, so that the order of the writes of a service is known.
const WRITERS: u32 = 16;
/// The most writes of a BatchWriteItem.
const BATCH: usize = 25;
/// An instance logs it when it begins to read.
const READING: &str = "took a lease";
const FIRST_SCAN: u64 = 1_740_000_000;

struct Plan {
    services: u32,
    /// Writes to each service. Seven of ten change something.
    writes: u32,
    /// The largest number of changes between two kills.
    stride: usize,
}

#[tokio::test]
async fn history_is_complete_although_its_readers_are_killed() {
    run(Plan { services: 160, writes: 12, stride: 1_000 }).await;
}

#[tokio::test]
#[ignore = "many minutes; run by `make check-slow`"]
async fn history_of_200_000_changes_is_complete_although_its_readers_are_killed() {
    run(Plan { services: 3_200, writes: 90, stride: 10_000 }).await;
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
    let began = Instant::now();
    let world = World::new().await;
    let seed = rand::random();
    println!("seed {seed}");
    let written = watch::Sender::new(None);
    let writing = async {
        let events = futures_util::stream::iter(0..WRITERS).map(|writer| world.write(&plan, writer, seed));
        let events: Vec<_> = events.buffer_unordered(WRITERS as usize).collect().await;
        let events: BTreeSet<_> = events.into_iter().flatten().collect();
        println!("{} changes written after {:?}", events.len(), began.elapsed());
        written.send_replace(Some(events.len()));
        events
    };
    let (expected, kills) = tokio::join!(writing, world.kill(&plan, seed, written.subscribe()));
    let mut instance = world.instance().start();
    instance.wait_for_line(READING).await;
    world.wait_for(expected.len()).await;
    instance.signal(Signal::Terminate).await;
    assert_eq!(instance.exit().await.code, Some(0));
    println!("history is complete after {:?}", began.elapsed());
    let log = world.log().await;
    assert_eq!(log.len(), expected.len(), "the stream and the writers agree on the number of changes");
    let entries = world.entries().await;
    let found: BTreeSet<_> = entries.iter().map(Found::event).collect();
    let missing: Vec<_> = expected.difference(&found).take(5).collect();
    let others: Vec<_> = found.difference(&expected).take(5).collect();
    assert!(missing.is_empty() && others.is_empty(), "missing: {missing:?}, not written: {others:?}");
    assert_eq!(found.len(), entries.len(), "an event has two entries");
    let sequences: BTreeSet<_> = entries.iter().map(|entry| (entry.pk.clone(), entry.sequence.clone())).collect();
    assert_eq!(sequences, log, "entries have the numbers of their records in the stream");
    let repeated = world.seen.borrow().attempts.values().filter(|attempts| **attempts > 1).count();
    println!("{} changes, {kills} kills, {repeated} changes handled more than once, {:?}", log.len(), began.elapsed());
    assert!(repeated > 0, "no kill came between a change and its checkpoint");
}

struct World {
    dynamo: Dynamo,
    proxy: DynamoProxy,
    /// The tables of the scans, of the history and of the leases.
    tables: [String; 3],
    seen: watch::Sender<Seen>,
}

/// What the instances have sent to the history.
#[derive(Default)]
struct Seen {
    /// How often the summary of a change was written, by the number of its record.
    attempts: HashMap<String, u32>,
    /// The keys of the entries that are stored.
    entries: HashSet<String>,
}

impl Seen {
    fn note(&mut self, request: &Request, response: Option<&Response>) {
        if let Some(sequence) = request.value(":last_sequence") {
            *self.attempts.entry(sequence).or_default() += 1;
        }
        let is_stored = response.is_some_and(|response| response.status() == 200);
        let [ip, entry, event] = ["ip", "entry", "event"].map(|name| request.attribute(name));
        // Other items of the history are no events.
        if let (true, Some(ip), Some(entry), Some(_)) = (is_stored, ip, entry, event) {
            self.entries.insert(format!("{ip} {entry}"));
        }
    }
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

fn put(record: Item) -> WriteRequest {
    let put = PutRequest::builder().set_item(Some(record)).build().expect("a complete request");
    WriteRequest::builder().put_request(put).build()
}

fn deletion(ip: &str) -> WriteRequest {
    let delete = DeleteRequest::builder().key("pk", text(format!("{ip}#80#HTTP"))).build().expect("a complete request");
    WriteRequest::builder().delete_request(delete).build()
}

impl World {
    async fn new() -> World {
        let dynamo = Dynamo::connect();
        let seen = watch::Sender::new(Seen::default());
        let noted = seen.clone();
        let server = dynamo.endpoint.trim_start_matches("http://").to_owned();
        let proxy = DynamoProxy::observed(
            &server,
            |_| Action::Forward,
            move |request, response| noted.send_modify(|seen| seen.note(request, response)),
        );
        let tables = ["scans", "history", "leases"].map(unique);
        let world = World { proxy: proxy.await, dynamo, tables, seen };
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
            let mut requests = Vec::new();
            for ip in &ips {
                let time = FIRST_SCAN + u64::from(write);
                let old = stored.get(ip.as_str()).copied();
                let (request, event) = match (old, random.random_range(0..10)) {
                    (Some(_), 0) => {
                        stored.remove(ip.as_str());
                        (deletion(ip), Some(("closed", None)))
                    }
                    (Some(same), 1..4) => (put(record(ip, time, same)), None),
                    (old, _) => {
                        stored.insert(ip, write);
                        let event = if old.is_some() { "changed" } else { "opened" };
                        (put(record(ip, time, write)), Some((event, Some(time))))
                    }
                };
                requests.push(request);
                if let Some((event, time)) = event {
                    let number = numbers.entry(ip).or_default();
                    *number += 1;
                    events.push(Event { pk: format!("{ip}#80#HTTP"), number: *number, event, time });
                }
            }
            self.write_all(&requests).await;
        }
        events
    }

    async fn write_all(&self, requests: &[WriteRequest]) {
        for batch in requests.chunks(BATCH) {
            let write = self.dynamo.client.batch_write_item().request_items(&self.tables[0], batch.to_vec());
            let left = write.send().await.expect("the records are written").unprocessed_items.unwrap_or_default();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    /// Kills instances and starts others, until they have handled every change at least once.
    async fn kill(&self, plan: &Plan, seed: u64, written: watch::Receiver<Option<usize>>) -> usize {
        let mut random = StdRng::seed_from_u64(seed);
        let mut instances: Vec<Program> = (0..INSTANCES).map(|_| self.instance().start()).collect();
        let mut kills = 0;
        loop {
            // At the moment of a write, so that records are repeated.
            let next = self.seen.borrow().attempts.len() + random.random_range(1..=plan.stride);
            let is_over = with_progress("a change on its way to the history", async || {
                let (handled, all) = (self.seen.borrow().attempts.len(), *written.borrow());
                match all {
                    _ if handled >= next => Ok(false),
                    Some(all) if handled >= all => Ok(true),
                    _ => Err((handled, self.lease().await)),
                }
            });
            if is_over.await {
                return kills;
            }
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

    /// Waits until this many entries are stored.
    async fn wait_for(&self, entries: usize) {
        with_progress("all entries", async || {
            let stored = self.seen.borrow().entries.len();
            if stored >= entries { Ok(()) } else { Err((stored, self.lease().await)) }
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
