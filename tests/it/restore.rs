//! The rehearsal of a restore: the steps of the runbook's section "Wiping, restoring or recreating a table", with the real
//! programs. The other tests leave out one step each, and find the scans that are missing then.
//!
//! The embedded Pub/Sub server has no retention by topics, so the subscription retains what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use google_cloud_pubsub::model::Subscription;
use google_cloud_wkt::{FieldMask, Timestamp};
use serde_json::json;

use crate::support::dynamo::{Dynamo, Item};
use crate::support::inbox::Inbox;
use crate::support::messages::CONSUMING;
use crate::support::pipeline::{Pipeline, ip, scan};
use crate::support::program::{Program, Signal, mini_scan};
use crate::support::pubsub::Pubsub;

const RUNBOOK: &str = include_str!("../../docs/runbook.md");

/// Keys whose newest scan is older than what can be replayed.
const OLD: Range<usize> = 0..20;
/// Keys whose newest scan waited in the backlog at the time of the backup.
const WAITING: Range<usize> = 20..40;
/// Keys whose newest scan came between the backup and the loss. Half of them are new.
const RECENT: Range<usize> = 40..80;
/// Keys of the first scans.
const FIRST: Range<usize> = 0..60;

/// The newest scan of each address.
type Newest = BTreeMap<String, u64>;

/// A pipeline whose table is about to be lost.
struct Rehearsal {
    pipeline: Pipeline,
    consumer: Option<Program>,
    /// Receives each message once more, to know when it was published.
    watch: Inbox,
    expected: Newest,
    backup: Vec<Item>,
    /// When the oldest message of the backlog at the time of the backup was published.
    backlog: Timestamp,
    /// The time of the backup.
    backed_up: Timestamp,
    /// A time after the loss.
    lost: Timestamp,
}

impl Rehearsal {
    /// Stores scans before and after a backup.
    async fn new() -> Rehearsal {
        let (pubsub, _) = Pubsub::dedicated().await;
        let pipeline = Pipeline::on(pubsub, Dynamo::connect()).await;
        let watch = pipeline.pubsub.subscription(&pipeline.topic).await;
        let mut rehearsal = Rehearsal {
            consumer: None,
            watch: pipeline.pubsub.open(&watch),
            expected: Newest::new(),
            backup: Vec::new(),
            backlog: Timestamp::default(),
            backed_up: Timestamp::default(),
            lost: Timestamp::default(),
            pipeline,
        };
        rehearsal.start().await;
        rehearsal.publish(FIRST, 10).await;
        rehearsal.pipeline.drained().await;
        rehearsal.retain().await;
        // The backlog of a consumer that is slow, or stopped.
        rehearsal.stop().await;
        let [backlog, backed_up] = rehearsal.publish(WAITING, 20).await;
        rehearsal.backup = rehearsal.pipeline.dynamo.scan(&rehearsal.pipeline.table).await.into_values().collect();
        rehearsal.start().await;
        let [_, lost] = rehearsal.publish(RECENT, 30).await;
        rehearsal.pipeline.drained().await;
        assert_eq!(rehearsal.stored().await, rehearsal.expected, "before the loss");
        Rehearsal { backlog, backed_up: later(backed_up), lost: later(lost), ..rehearsal }
    }

    /// Publishes a scan of each key, and returns the times of the first and the last message.
    async fn publish(&mut self, keys: Range<usize>, timestamp: u64) -> [Timestamp; 2] {
        let scans = keys.clone().map(|key| scan(&ip(key), timestamp, "response"));
        self.pipeline.publish(scans.collect::<Vec<_>>()).await;
        let mut times = BTreeSet::new();
        for _ in keys.clone() {
            let (message, handler) = self.watch.next().await;
            handler.ack();
            let time = message.publish_time.expect("the server sets the publish time");
            times.insert((time.seconds(), time.nanos()));
        }
        self.expected.extend(keys.map(|key| (ip(key), timestamp)));
        [times.first(), times.last()].map(|time| {
            let (seconds, nanos) = time.expect("a message was published");
            Timestamp::clamp(*seconds, *nanos)
        })
    }

    /// Retains messages that are acknowledged from now on.
    async fn retain(&self) {
        let changes = Subscription::new().set_name(&self.pipeline.subscription).set_retain_acked_messages(true);
        let mask = FieldMask::default().set_paths(["retain_acked_messages"]);
        let update = self.pipeline.pubsub.subscriptions.update_subscription().set_subscription(changes);
        update.set_update_mask(mask).send().await.expect("the subscription is changed");
    }

    /// Starts a consumer, and waits until it reads. Before that, a signal would end it at once.
    async fn start(&mut self) {
        let mut consumer = self.pipeline.consumer().start();
        consumer.wait_for_line(CONSUMING).await;
        self.consumer = Some(consumer);
    }

    async fn stop(&mut self) {
        let consumer = self.consumer.take().expect("the consumer runs");
        consumer.signal(Signal::Terminate).await;
        assert_eq!(consumer.exit().await.code, Some(0));
    }

    /// Deletes the table and creates it again, with these rows.
    async fn lose(&self, restored: impl IntoIterator<Item = Item>) {
        let Pipeline { pubsub, dynamo, table, .. } = &self.pipeline;
        dynamo.client.delete_table().table_name(table).send().await.expect("the table is deleted");
        let created = mini_scan(["setup", "table", "--table", table]).against(pubsub, dynamo).run().await;
        assert_eq!(created.code, Some(0), "{created:#?}");
        dynamo.put_all(table, restored).await;
    }

    /// Does what `gcloud pubsub subscriptions seek --time` does.
    async fn seek(&self, time: Timestamp) {
        let time = String::from(time);
        let (status, body) =
            self.pipeline.pubsub.rest(&self.pipeline.subscription, "seek", json!({"time": time})).await;
        assert_eq!((status, body), (200, json!({})));
    }

    async fn stored(&self) -> Newest {
        let rows = self.pipeline.dynamo.scan(&self.pipeline.table).await.into_values();
        let text = |item: &Item| item["ip"].as_s().expect("the address is a string").clone();
        let time = |item: &Item| item["timestamp"].as_n().expect("a number").parse().expect("a timestamp");
        rows.map(|item| (text(&item), time(&item))).collect()
    }

    /// Stops the consumer when the backlog is empty. Returns the keys whose newest scan is missing. Other differences fail.
    async fn missing(mut self) -> BTreeSet<String> {
        self.pipeline.drained().await;
        self.stop().await;
        let stored = self.stored().await;
        let newer = stored.iter().find(|(key, time)| self.expected.get(*key).is_none_or(|newest| *time > newest));
        assert_eq!(newer, None, "the table has a scan that was never published");
        assert_eq!(self.pipeline.pubsub.counts(&self.pipeline.dead_letter_subscription).published, 0);
        self.expected.into_iter().filter(|(key, newest)| stored.get(key) != Some(newest)).map(|(key, _)| key).collect()
    }
}

/// Returns a time just after this one.
fn later(time: Timestamp) -> Timestamp {
    Timestamp::clamp(time.seconds(), time.nanos() + 1_000)
}

fn keys(ranges: impl IntoIterator<Item = Range<usize>>) -> BTreeSet<String> {
    ranges.into_iter().flatten().map(ip).collect()
}

#[test]
fn the_rehearsal_has_the_steps_of_the_runbook() {
    let (_, section) = RUNBOOK.split_once("### Wiping, restoring or recreating a table\n").expect("the section exists");
    let (section, _) = section.split_once("\n### ").expect("another section follows");
    let steps = section.lines().filter_map(|line| line.split_once(". **")?.1.split_once("**"));
    let steps: Vec<_> = steps.map(|(step, _)| step).collect();
    assert_eq!(
        steps,
        [
            "Find out two times.",
            "Stop the consumers.",
            "Bring the rows back.",
            "Seek.",
            "Start the consumers.",
            "Compare."
        ]
    );
}

#[tokio::test]
async fn a_lost_table_is_restored_from_a_backup_and_a_replay() {
    let mut rehearsal = Rehearsal::new().await;
    let (backup, oldest) = (rehearsal.backup.clone(), rehearsal.backlog);

    rehearsal.stop().await;
    rehearsal.lose(backup).await;
    rehearsal.seek(oldest).await;
    rehearsal.start().await;

    assert_eq!(rehearsal.missing().await, keys([]));
}

#[tokio::test]
async fn a_replay_from_after_the_loss_misses_what_the_backup_lacks() {
    let mut rehearsal = Rehearsal::new().await;
    let (backup, after) = (rehearsal.backup.clone(), rehearsal.lost);

    rehearsal.stop().await;
    rehearsal.lose(backup).await;
    rehearsal.seek(after).await;
    rehearsal.start().await;

    assert_eq!(rehearsal.missing().await, keys([WAITING, RECENT]));
}

#[tokio::test]
async fn a_replay_from_the_time_of_the_backup_misses_the_backlog_of_that_time() {
    let mut rehearsal = Rehearsal::new().await;
    let (backup, time) = (rehearsal.backup.clone(), rehearsal.backed_up);

    rehearsal.stop().await;
    rehearsal.lose(backup).await;
    rehearsal.seek(time).await;
    rehearsal.start().await;

    assert_eq!(rehearsal.missing().await, keys([WAITING]));
}

#[tokio::test]
async fn a_replay_without_a_backup_misses_what_is_no_longer_retained() {
    let mut rehearsal = Rehearsal::new().await;

    rehearsal.stop().await;
    rehearsal.lose([]).await;
    rehearsal.seek(Timestamp::default()).await;
    rehearsal.start().await;

    assert_eq!(rehearsal.missing().await, keys([OLD]));
}

#[tokio::test]
async fn a_consumer_that_was_not_stopped_does_not_store_again_what_it_remembers() {
    let rehearsal = Rehearsal::new().await;
    let (backup, oldest) = (rehearsal.backup.clone(), rehearsal.backlog);

    rehearsal.lose(backup).await;
    rehearsal.seek(oldest).await;

    assert_eq!(rehearsal.missing().await, keys([WAITING, RECENT]));
}
