//! Publishes generated messages, and announces and records the expected result of each.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use google_cloud_pubsub::client::Publisher as Client;
use google_cloud_pubsub::model::Message;
use mini_scan::local::demo::truth::Truth;
use mini_scan::local::generator::{self, Generator, Kind, Shares};
use mini_scan::local::scanner::unix_now;
use mini_scan::scan::Reason;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Interval, interval, sleep};

use super::log::{Expected, Log, hash};
use super::schedule::Plan;
use crate::support::dynamo_proxy::Row;
use crate::support::pipeline::Pipeline;
use crate::support::{POLL_INTERVAL, with_timeout};

/// The service of the scans whose items the store refuses.
pub(super) const REFUSED_SERVICE: &str = "REFUSED";

const SHARES: Shares = Shares { duplicates: 0.1, late: 0.1, broken: 0.01 };
/// The mean number of scans of each key.
const SCANS_PER_KEY: u64 = 20;
/// The time over which the timestamps are spread.
const SCANNED_SECONDS: u64 = 60 * 60;
const BATCH: u64 = 200;
/// The publisher pauses above this backlog. It exceeds the messages that killed consumers keep until their leases end.
const MAX_BACKLOG: usize = 15_000;

pub(super) struct Publisher {
    client: Client,
    generator: Generator,
    log: Log,
    /// The expected table.
    pub(super) truth: Truth,
    /// The broken and the refused messages by id.
    pub(super) rejected: BTreeMap<String, (Reason, Bytes)>,
    total: u64,
    start: u64,
    progress: watch::Sender<u64>,
}

impl Publisher {
    /// Creates a publisher for the messages of a plan.
    pub(super) async fn new(pipeline: &Pipeline, seed: u64, plan: &Plan, log: Log) -> Publisher {
        let total = plan.messages + plan.outage_messages;
        Publisher {
            client: pipeline.pubsub.publisher(&pipeline.topic).build().await.expect("a publisher"),
            generator: Generator::new(seed, SHARES, total.div_ceil(SCANS_PER_KEY)),
            log,
            truth: Truth::default(),
            rejected: BTreeMap::new(),
            total,
            start: unix_now() - SCANNED_SECONDS,
            progress: watch::Sender::new(0),
        }
    }

    /// Returns the number of published messages, as it changes.
    pub(super) fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Publishes the messages of a plan before the outage, at the planned rate at most and no faster than they are
    /// consumed.
    pub(super) async fn publish_paced(&mut self, plan: &Plan, pipeline: &Pipeline) {
        let mut pace = interval(Duration::from_secs(BATCH) / plan.messages_per_second);
        self.publish_until(plan.before_refused_items(), pipeline, &mut pace).await;
        self.publish_refused(plan.refused_items).await;
        self.publish_until(plan.messages, pipeline, &mut pace).await;
    }

    async fn publish_until(&mut self, end: u64, pipeline: &Pipeline, pace: &mut Interval) {
        while *self.progress.borrow() < end {
            pace.tick().await;
            while pipeline.counts().backlog() > MAX_BACKLOG {
                sleep(POLL_INTERVAL).await;
            }
            let rest = end - *self.progress.borrow();
            self.publish(rest.min(BATCH)).await;
        }
    }

    /// Publishes `count` more messages.
    pub(super) async fn publish(&mut self, count: u64) {
        let first = *self.progress.borrow();
        let now = |nth| self.start + SCANNED_SECONDS * nth / self.total;
        let messages: Vec<_> = (first..first + count).map(|nth| self.generator.next_at(now(nth))).collect();
        let ids = self.send(messages.iter().map(|message| (&message.payload, expected(message)))).await;
        for (message, id) in messages.into_iter().zip(ids) {
            match message.kind {
                Kind::Broken(reason) => drop(self.rejected.insert(id, (reason, message.payload))),
                _ => self.truth.note(&message),
            }
        }
        self.progress.send_modify(|published| *published += count);
    }

    /// Publishes `count` valid scans of different keys, whose items the store refuses.
    async fn publish_refused(&mut self, count: usize) {
        let scan = |port| {
            let data = json!({ "response_str": "refused" });
            let service = REFUSED_SERVICE;
            json!({ "ip": "1.1.2.1", "port": port, "service": service, "timestamp": self.start, "data_version": 2, "data": data })
        };
        let payloads: Vec<Bytes> = (1..=count).map(|port| scan(port).to_string().into()).collect();
        let reason = Reason::RefusedByStore;
        let expected = |payload: &Bytes| Expected::DeadLetter { reason: reason.as_str(), payload: hash(payload) };
        let ids = self.send(payloads.iter().map(|payload| (payload, expected(payload)))).await;
        self.rejected.extend(ids.into_iter().zip(payloads).map(|(id, payload)| (id, (reason, payload))));
    }

    /// Announces and publishes payloads, and returns their ids.
    async fn send(&self, messages: impl Iterator<Item = (&Bytes, Expected)>) -> Vec<String> {
        let mut results = Vec::new();
        for (payload, expected) in messages {
            self.log.expect(payload, expected);
            results.push(self.client.publish(Message::new().set_data(payload.clone())));
        }
        self.client.flush().await;
        let mut ids = Vec::with_capacity(results.len());
        for result in results {
            ids.push(with_timeout("the result of a publish", result).await.expect("the message is accepted"));
        }
        ids
    }
}

fn expected(message: &generator::Message) -> Expected {
    match &message.kind {
        Kind::New(record) | Kind::Duplicate(record) | Kind::Late(record) => {
            Expected::Scan(Row { key: record.key(), timestamp: record.timestamp })
        }
        Kind::Broken(reason) => Expected::DeadLetter { reason: reason.as_str(), payload: hash(&message.payload) },
    }
}
