//! A table that does not fit, a table that refuses one kind of item, and a deleted table.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    CreateGlobalSecondaryIndexAction, DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate, KeyType,
    Projection, ProjectionType, ScalarAttributeType,
};
use tokio::time::{Instant, interval, sleep};

use super::count_lines;
use crate::support::dynamo::{Dynamo, attribute, key};
use crate::support::dynamo_proxy::{Action, DynamoProxy, Request};
use crate::support::messages::{RECOVERED, UNHEALTHY};
use crate::support::pipeline::{Pipeline, ip, scan, valid_scans};
use crate::support::pubsub::Pubsub;
use crate::support::unique;

impl Dynamo {
    async fn create_index(&self, table: &str, attribute_name: &str, kind: ScalarAttributeType) {
        let projection = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
        let index = CreateGlobalSecondaryIndexAction::builder().index_name("by_test").projection(projection);
        let index = index.key_schema(key(attribute_name, KeyType::Hash)).build().expect("a complete index");
        let update =
            self.client.update_table().table_name(table).attribute_definitions(attribute(attribute_name, kind));
        let update = update.global_secondary_index_updates(GlobalSecondaryIndexUpdate::builder().create(index).build());
        update.send().await.expect("the index is created");
    }

    async fn delete_index(&self, table: &str) {
        let index = DeleteGlobalSecondaryIndexAction::builder().index_name("by_test").build().expect("a name");
        let update = GlobalSecondaryIndexUpdate::builder().delete(index).build();
        let update = self.client.update_table().table_name(table).global_secondary_index_updates(update);
        update.send().await.expect("the index is deleted");
    }

    async fn delete(&self, name: &str) {
        self.client.delete_table().table_name(name).send().await.expect("the table is deleted");
    }
}

fn dead_letters(pipeline: &Pipeline) -> u64 {
    pipeline.pubsub.counts(&pipeline.dead_letter_subscription).published
}

/// Checks that there are this many records in the end, and no dead letter.
async fn assert_all_stored(pipeline: &Pipeline, records: usize) {
    assert_eq!(pipeline.rows(records).await.len(), records);
    pipeline.drained().await;
    assert_eq!(dead_letters(pipeline), 0);
}

async fn pipeline() -> Pipeline {
    let (pubsub, _faults) = Pubsub::dedicated().await;
    Pipeline::on(pubsub, Dynamo::connect()).await
}

/// Returns a proxy that denies every DescribeTable.
async fn deny_describe(pipeline: &Pipeline) -> DynamoProxy {
    let server = pipeline.dynamo.endpoint.trim_start_matches("http://");
    let decide = |request: &Request| if request.is_describe() { Action::access_denied() } else { Action::Forward };
    DynamoProxy::before(server, decide).await
}

struct Mismatch {
    max_outstanding: &'static str,
    messages: usize,
    /// How long the mismatch lasts after the consumer has logged it.
    lasts: Duration,
}

async fn test_mismatch(mismatch: Mismatch) {
    let mut pipeline = pipeline().await;
    pipeline.table = unique("mismatch");
    pipeline.dynamo.create_with_another_key(&pipeline.table).await;
    // Without this proxy the start checks would notice the mismatch.
    let proxy = deny_describe(&pipeline).await;
    let launch = pipeline.consumer().arguments(["-m", mismatch.max_outstanding]);
    let mut consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    pipeline.publish(valid_scans(0..mismatch.messages)).await;

    let line = consumer.wait_for_line(UNHEALTHY).await;

    assert!(line.contains("refuses every write") && line.contains(&pipeline.table), "{line}");
    tokio::time::sleep(mismatch.lasts).await;
    pipeline.dynamo.delete(&pipeline.table).await;
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");
    assert_all_stored(&pipeline, mismatch.messages).await;
    assert_eq!(count_lines(consumer.log(), "refuses every write"), 1, "{:#?}", consumer.log());
}

#[tokio::test]
async fn a_table_with_another_key_schema_is_logged_once_and_can_be_replaced() {
    test_mismatch(Mismatch { max_outstanding: "20", messages: 30, lasts: Duration::ZERO }).await;
}

/// There are enough parking permits, and enough time, for most messages to be retried three times.
#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn a_table_with_another_key_schema_causes_no_dead_letters() {
    test_mismatch(Mismatch { max_outstanding: "100", messages: 110, lasts: Duration::from_secs(35) }).await;
}

#[tokio::test]
async fn a_table_that_is_replaced_by_one_with_another_key_makes_the_instance_unready_until_it_is_fixed() {
    let pipeline = pipeline().await;
    let mut consumer = pipeline.consumer().start();
    pipeline.publish(valid_scans(0..1)).await;
    pipeline.rows(1).await;
    pipeline.dynamo.delete(&pipeline.table).await;
    pipeline.dynamo.create_with_another_key(&pipeline.table).await;
    pipeline.publish(valid_scans(1..30)).await;

    let line = consumer.wait_for_line(&format!("{UNHEALTHY}: the table")).await;

    assert!(line.contains(&pipeline.table) && line.contains("its key is HASH id (S)"), "{line}");
    pipeline.dynamo.delete(&pipeline.table).await;
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");
    consumer.wait_for_line(&format!("{RECOVERED}: the table")).await;
    assert_all_stored(&pipeline, 29).await;
}

#[tokio::test]
async fn an_index_of_another_type_that_is_added_while_running_dead_letters_nothing() {
    let pipeline = pipeline().await;
    let mut consumer = pipeline.consumer().start();
    pipeline.publish(valid_scans(0..30)).await;
    pipeline.rows(30).await;
    pipeline.dynamo.create_index(&pipeline.table, "port", ScalarAttributeType::S).await;
    pipeline.publish(valid_scans(30..60)).await;

    let line = consumer.wait_for_line(&format!("{UNHEALTHY}: the table")).await;

    assert!(line.contains("its index by_test needs port (S); scans have port (N)"), "{line}");
    pipeline.dynamo.delete_index(&pipeline.table).await;
    consumer.wait_for_line(&format!("{RECOVERED}: the table")).await;
    assert_all_stored(&pipeline, 60).await;
}

/// Publishes 400 messages per second for this time. The table refuses every second one because of an index on `response`.
/// Returns the number of good scans.
async fn publish_half_refused(pipeline: &Pipeline, time: Duration) -> usize {
    const PER_BATCH: usize = 40;
    pipeline.dynamo.create_index(&pipeline.table, "response", ScalarAttributeType::S).await;
    let mut ticks = interval(Duration::from_millis(100));
    let start = Instant::now();
    let mut published = 0;
    while start.elapsed() < time {
        ticks.tick().await;
        let next = published..published + PER_BATCH;
        pipeline.publish(next.map(|n| scan(&ip(n), 7, if n % 2 == 0 { "good" } else { "" }))).await;
        published += PER_BATCH;
    }
    published / 2
}

/// Checks that refused items become dead letters while others are stored: with `rate`, at this number per second.
async fn test_half_refused(write_mode: &str, time: Duration, rate: Option<u64>) {
    let pipeline = pipeline().await;
    let mut consumer = pipeline.consumer().arguments(["--write-mode", write_mode]).start();
    let good = publish_half_refused(&pipeline, time).await;
    if let Some(rate) = rate {
        let dead_lettered = dead_letters(&pipeline);
        assert!(dead_lettered >= rate * time.as_secs(), "{dead_lettered} in {time:?}: {:#?}", consumer.log());
    }
    assert_eq!(pipeline.rows(good).await.len(), good);
    // A dead letter needs a stored write of another key.
    for n in 0.. {
        if dead_letters(&pipeline) >= good as u64 {
            break;
        }
        assert!(n < 600, "{} of {good} dead letters: {:#?}", dead_letters(&pipeline), consumer.log());
        pipeline.publish([scan(&ip(100_000 + n), 7, "good")]).await;
        sleep(Duration::from_millis(100)).await;
    }
    pipeline.drained().await;
    assert_eq!(count_lines(consumer.log(), UNHEALTHY), 0, "{:#?}", consumer.log());
}

#[tokio::test]
async fn items_that_an_index_refuses_are_dead_lettered_while_the_others_are_stored() {
    test_half_refused("put", Duration::from_secs(2), None).await;
}

#[tokio::test]
async fn items_that_an_index_refuses_in_batches_are_dead_lettered_while_the_others_are_stored() {
    test_half_refused("batch", Duration::from_secs(2), None).await;
}

#[tokio::test]
#[ignore = "measures a rate, so it needs the machine alone; run by `make check-slow`"]
async fn items_that_an_index_refuses_are_dead_lettered_at_100_per_second() {
    for write_mode in ["put", "batch"] {
        test_half_refused(write_mode, Duration::from_secs(8), Some(100)).await;
    }
}

#[tokio::test]
async fn items_that_an_index_refuses_are_parked_while_the_table_may_not_be_described() {
    let pipeline = pipeline().await;
    let proxy = deny_describe(&pipeline).await;
    let mut consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    let good = publish_half_refused(&pipeline, Duration::from_secs(2)).await;
    assert_eq!(pipeline.rows(good).await.len(), good);
    consumer.wait_for_line("cannot describe the table").await;
    assert_eq!(dead_letters(&pipeline), 0);
    assert_eq!(count_lines(consumer.log(), UNHEALTHY), 0, "{:#?}", consumer.log());
}

#[tokio::test]
async fn a_recreated_table_gets_every_scan_that_is_unacknowledged_or_published_again() {
    let pipeline = pipeline().await;
    let mut consumer = pipeline.consumer().start();
    let acked = |keys: Range<usize>| keys.map(|n| scan(&ip(n), 10, "acked"));
    pipeline.publish(acked(0..70)).await;
    pipeline.rows(70).await;
    pipeline.drained().await;

    pipeline.dynamo.delete(&pipeline.table).await;
    // Newer scans of the same keys, not in the order of their timestamps, and scans of new keys.
    let newer = (0..50).flat_map(|n| [12, 20, 11].map(|timestamp| scan(&ip(n), timestamp, "newer")));
    pipeline.publish(newer.chain((70..100).map(|n| scan(&ip(n), 5, "first")))).await;
    let line = consumer.wait_for_line(&format!("{UNHEALTHY}: DynamoDB")).await;
    assert!(line.contains(&pipeline.table) && line.contains("ResourceNotFoundException"), "{line}");
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");

    consumer.wait_for_line(&format!("{RECOVERED}: DynamoDB")).await;
    // The consumer cleared its cache, so it writes scans that the deleted table already had.
    pipeline.publish(acked(50..70)).await;
    pipeline.drained().await;
    let rows = pipeline.rows(100).await;
    let timestamp = |n: usize| rows[&format!("{}#80#HTTP", ip(n))]["timestamp"].as_n().expect("a number").as_str();
    for (keys, expected) in [(0..50, "20"), (50..70, "10"), (70..100, "5")] {
        keys.for_each(|n| assert_eq!(timestamp(n), expected, "{}", ip(n)));
    }
    assert_eq!(dead_letters(&pipeline), 0);
    // A second time if errors of calls in flight arrive after the first success.
    assert!(count_lines(consumer.log(), UNHEALTHY) <= 2, "{:#?}", consumer.log());
}
