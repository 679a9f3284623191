//! Publishes generated messages at the rate of their consumption, and records the expected result of each.

use std::collections::BTreeMap;

use bytes::Bytes;
use google_cloud_pubsub::client::Publisher as Client;
use google_cloud_pubsub::model::Message;
use mini_scan::local::demo::truth::Truth;
use mini_scan::local::generator::{Generator, Kind, Shares};
use mini_scan::local::scanner::unix_now;
use mini_scan::scan::Reason;
use tokio::sync::watch;

use crate::support::pipeline::Pipeline;
use crate::support::{POLL_INTERVAL, with_timeout};

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
    /// The expected table.
    pub(super) truth: Truth,
    /// The broken messages by id.
    pub(super) broken: BTreeMap<String, (Reason, Bytes)>,
    total: u64,
    start: u64,
    progress: watch::Sender<u64>,
}

impl Publisher {
    /// Creates a publisher for `total` messages.
    pub(super) async fn new(pipeline: &Pipeline, seed: u64, total: u64) -> Publisher {
        Publisher {
            client: pipeline.pubsub.publisher(&pipeline.topic).build().await.expect("a publisher"),
            generator: Generator::new(seed, SHARES, total.div_ceil(SCANS_PER_KEY)),
            truth: Truth::default(),
            broken: BTreeMap::new(),
            total,
            start: unix_now() - SCANNED_SECONDS,
            progress: watch::Sender::new(0),
        }
    }

    /// Returns the number of published messages, as it changes.
    pub(super) fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Publishes `count` more messages, as fast as they are consumed.
    pub(super) async fn publish_paced(&mut self, count: u64, pipeline: &Pipeline) {
        let end = *self.progress.borrow() + count;
        while *self.progress.borrow() < end {
            while pipeline.counts().backlog() > MAX_BACKLOG {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            let rest = end - *self.progress.borrow();
            self.publish(rest.min(BATCH)).await;
        }
    }

    /// Publishes `count` more messages.
    pub(super) async fn publish(&mut self, count: u64) {
        let first = *self.progress.borrow();
        let mut sent = Vec::new();
        for nth in first..first + count {
            let message = self.generator.next_at(self.start + SCANNED_SECONDS * nth / self.total);
            sent.push((self.client.publish(Message::new().set_data(message.payload.clone())), message));
        }
        self.client.flush().await;
        for (result, message) in sent {
            let id = with_timeout("the result of a publish", result).await.expect("the message is accepted");
            match message.kind {
                Kind::Broken(reason) => drop(self.broken.insert(id, (reason, message.payload))),
                _ => self.truth.note(&message),
            }
        }
        self.progress.send_modify(|published| *published += count);
    }
}
