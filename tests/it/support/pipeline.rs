//! The resources of a consumer: a topic and a dead-letter topic, a subscription to each, and a table.

use std::collections::BTreeMap;
use std::ops::Range;

use google_cloud_pubsub::model::Message;
use pubsub_local::{Counts, Faults};
use serde_json::json;

use super::dynamo::{Dynamo, Item};
use super::program::{Launch, mini_scan};
use super::pubsub::Pubsub;
use super::with_progress;

/// Returns a payload of version 2, as the scanner publishes it.
pub(crate) fn scan(ip: &str, timestamp: u64, response: &str) -> String {
    let data = json!({"response_str": response});
    json!({"ip": ip, "port": 80, "service": "HTTP", "timestamp": timestamp, "data_version": 2, "data": data})
        .to_string()
}

/// Returns the address of key number `n`.
pub(crate) fn ip(n: usize) -> String {
    format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)
}

/// Returns one valid scan for each of these keys.
pub(crate) fn valid_scans(keys: Range<usize>) -> impl Iterator<Item = String> {
    keys.map(|key| scan(&ip(key), 7, "good"))
}

/// One test's own resources on the chosen servers, by their full names.
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

    /// Creates a pipeline on a Pub/Sub server of its own, into which the test can inject faults.
    pub(crate) async fn with_faults() -> (Pipeline, Faults) {
        let (pubsub, faults) = Pubsub::dedicated().await;
        (Pipeline::on(pubsub, Dynamo::connect()).await, faults)
    }

    /// Creates a pipeline on these servers.
    pub(crate) async fn on(pubsub: Pubsub, dynamo: Dynamo) -> Pipeline {
        let (topic, subscription) = pubsub.topic_with_subscription().await;
        let (dead_letter_topic, dead_letter_subscription) = pubsub.topic_with_subscription().await;
        let table = dynamo.table().await;
        Pipeline { pubsub, dynamo, topic, subscription, dead_letter_topic, dead_letter_subscription, table }
    }

    /// Returns `mini-scan consumer` for these resources.
    pub(crate) fn consumer(&self) -> Launch {
        self.consumer_without_dead_letter_topic().arguments(["--dead-letter-topic", &self.dead_letter_topic])
    }

    /// Returns `mini-scan consumer` without a dead-letter topic.
    pub(crate) fn consumer_without_dead_letter_topic(&self) -> Launch {
        let flags = ["--subscription", &self.subscription, "--table", &self.table, "--project", &self.pubsub.project];
        mini_scan(["consumer"]).arguments(flags).against(&self.pubsub, &self.dynamo)
    }

    pub(crate) async fn publish<P: Into<bytes::Bytes>>(&self, payloads: impl IntoIterator<Item = P>) {
        self.pubsub.publish(&self.topic, payloads).await;
    }

    /// Waits until the table has `count` rows, and returns all of them by key.
    pub(crate) async fn rows(&self, count: usize) -> BTreeMap<String, Item> {
        let has_rows = async || match self.dynamo.count(&self.table).await {
            rows if rows >= count => Ok(()),
            rows => Err(rows),
        };
        with_progress(&format!("{count} rows"), has_rows).await;
        self.dynamo.scan(&self.table).await
    }

    /// Takes `count` dead letters and acknowledges them.
    pub(crate) async fn dead_letters(&self, count: usize) -> Vec<Message> {
        let mut inbox = self.pubsub.open(&self.dead_letter_subscription);
        let mut dead_letters = Vec::with_capacity(count);
        // Each is acknowledged immediately, because a stream delivers only as many unsettled messages as its limit.
        while dead_letters.len() < count {
            let (dead_letter, handler) = inbox.next().await;
            handler.ack();
            dead_letters.push(dead_letter);
        }
        inbox.close().await;
        dead_letters
    }

    /// Returns the embedded server's counts of the subscription.
    pub(crate) fn counts(&self) -> Counts {
        self.pubsub.counts(&self.subscription)
    }

    /// Waits until the subscription is empty.
    pub(crate) async fn drained(&self) {
        self.pubsub.drained(&self.subscription).await;
    }
}
