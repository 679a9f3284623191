//! Publishes what the generator makes, no faster than it is consumed, and notes what must become of it.

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
use crate::support::{LOOKING, within_patience};

const SHARES: Shares = Shares { duplicates: 0.1, late: 0.1, broken: 0.01 };
/// Each key is scanned so often in the mean.
const SCANS_PER_KEY: u64 = 20;
/// The time that the messages are spread over, so that their timestamps differ.
const SCANNED_SECONDS: u64 = 60 * 60;
const BATCH: u64 = 200;
/// So many may be published and not settled. More than killed consumers keep until their leases end.
const MOST_UNSETTLED: usize = 15_000;

pub(super) struct Publisher {
    client: Client,
    generator: Generator,
    /// Of all scans; broken messages are noted by their ids.
    pub(super) truth: Truth,
    pub(super) broken: BTreeMap<String, (Reason, Bytes)>,
    total: u64,
    start: u64,
    progress: watch::Sender<u64>,
}

impl Publisher {
    /// For so many messages in all.
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

    /// How many are published.
    pub(super) fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Publishes so many more, as fast as they are consumed.
    pub(super) async fn publish_paced(&mut self, count: u64, pipeline: &Pipeline) {
        let end = *self.progress.borrow() + count;
        while *self.progress.borrow() < end {
            while pipeline.counts().backlog() > MOST_UNSETTLED {
                tokio::time::sleep(LOOKING).await;
            }
            let rest = end - *self.progress.borrow();
            self.publish(rest.min(BATCH)).await;
        }
    }

    /// Publishes so many more.
    pub(super) async fn publish(&mut self, count: u64) {
        let first = *self.progress.borrow();
        let mut sent = Vec::new();
        for nth in first..first + count {
            let message = self.generator.next_at(self.start + SCANNED_SECONDS * nth / self.total);
            sent.push((self.client.publish(Message::new().set_data(message.payload.clone())), message));
        }
        self.client.flush().await;
        for (answer, message) in sent {
            let id = within_patience("an answer to a publish", answer).await.expect("the message is accepted");
            match message.kind {
                Kind::Broken(reason) => drop(self.broken.insert(id, (reason, message.payload))),
                _ => self.truth.note(&message),
            }
        }
        self.progress.send_modify(|published| *published += count);
    }
}
