//! Everything that a consumer needs, ready to use: a topic with a subscription, a dead-letter topic with one, a table.

use std::collections::BTreeMap;
use std::ops::Range;

use google_cloud_pubsub::model::Message;
use pubsub_local::{Counts, Faults};
use serde_json::json;

use super::dynamo::{Dynamo, Item};
use super::program::{Launch, mini_scan};
use super::pubsub::Pubsub;
use super::{LOOKING, within_patience};

/// A payload of version 2 as the scanner sends it.
pub(crate) fn scan(ip: &str, timestamp: u64, response: &str) -> String {
    let data = json!({"response_str": response});
    json!({"ip": ip, "port": 80, "service": "HTTP", "timestamp": timestamp, "data_version": 2, "data": data})
        .to_string()
}

/// The address of the key number `n`.
pub(crate) fn ip(n: usize) -> String {
    format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)
}

/// Good scans of as many keys.
pub(crate) fn good(keys: Range<usize>) -> impl Iterator<Item = String> {
    keys.map(|key| scan(&ip(key), 7, "good"))
}

/// One test's own resources on the chosen servers, by full name.
pub(crate) struct Pipeline {
    pub(crate) pubsub: Pubsub,
    pub(crate) dynamo: Dynamo,
    pub(crate) topic: String,
    pub(crate) subscription: String,
    pub(crate) dead_letter_topic: String,
    pub(crate) dead_letter_subscription: String,
    pub(crate) table: String,
}

impl Pipeline {
    pub(crate) async fn new() -> Pipeline {
        Pipeline::on(Pubsub::connect().await, Dynamo::connect()).await
    }

    /// One whose Pub/Sub server is this test's own and can be made to misbehave.
    pub(crate) async fn with_faults() -> (Pipeline, Faults) {
        let (pubsub, faults) = Pubsub::own().await;
        (Pipeline::on(pubsub, Dynamo::connect()).await, faults)
    }

    pub(crate) async fn on(pubsub: Pubsub, dynamo: Dynamo) -> Pipeline {
        let (topic, subscription) = pubsub.pair().await;
        let (dead_letter_topic, dead_letter_subscription) = pubsub.pair().await;
        let table = dynamo.table().await;
        Pipeline { pubsub, dynamo, topic, subscription, dead_letter_topic, dead_letter_subscription, table }
    }

    /// `mini-scan consumer` on all of it.
    pub(crate) fn consumer(&self) -> Launch {
        self.consumer_without_letters().arguments(["--dead-letter-topic", &self.dead_letter_topic])
    }

    /// The same without a dead-letter topic.
    pub(crate) fn consumer_without_letters(&self) -> Launch {
        let own = ["--subscription", &self.subscription, "--table", &self.table, "--project", &self.pubsub.project];
        mini_scan(["consumer"]).arguments(own).against(&self.pubsub, &self.dynamo)
    }

    pub(crate) async fn publish<P: Into<bytes::Bytes>>(&self, payloads: impl IntoIterator<Item = P>) {
        self.pubsub.publish(&self.topic, payloads).await;
    }

    /// Every row by its key, as soon as there are `count`.
    pub(crate) async fn rows(&self, count: usize) -> BTreeMap<String, Item> {
        let enough = async {
            loop {
                let rows = self.dynamo.scan(&self.table).await;
                if rows.len() >= count {
                    return rows;
                }
                tokio::time::sleep(LOOKING).await;
            }
        };
        within_patience(&format!("{count} rows"), enough).await
    }

    /// The first `count` dead letters, acked.
    pub(crate) async fn dead_letters(&self, count: usize) -> Vec<Message> {
        let mut inbox = self.pubsub.open(&self.dead_letter_subscription);
        let mut letters = Vec::with_capacity(count);
        // Each at once: a stream gives no more than its limit unsettled.
        while letters.len() < count {
            let (letter, handler) = inbox.next().await;
            handler.ack();
            letters.push(letter);
        }
        inbox.close().await;
        letters
    }

    /// What the embedded server has counted on the subscription.
    pub(crate) fn counts(&self) -> Counts {
        self.pubsub.counts(&self.subscription)
    }

    /// Waits until the subscription holds nothing any more.
    pub(crate) async fn drained(&self) {
        self.pubsub.drained(&self.subscription).await;
    }
}
