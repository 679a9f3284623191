//! A table with another key schema or a deleted table, which is then replaced.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_dynamodb::types::{BillingMode, KeyType, ScalarAttributeType};

use super::count_lines;
use crate::support::dynamo::{Dynamo, attribute, key};
use crate::support::http_proxy::{HttpProxy, Reject};
use crate::support::messages::{RECOVERED, UNHEALTHY};
use crate::support::pipeline::{Pipeline, ip, scan, valid_scans};
use crate::support::pubsub::Pubsub;
use crate::support::unique;

impl Dynamo {
    async fn create_with_another_key(&self, name: &str) {
        let create = self.client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        let create = create.attribute_definitions(attribute("id", ScalarAttributeType::S));
        create.key_schema(key("id", KeyType::Hash)).send().await.expect("the table is created");
    }

    async fn delete(&self, name: &str) {
        self.client.delete_table().table_name(name).send().await.expect("the table is deleted");
    }
}

fn dead_letters(pipeline: &Pipeline) -> u64 {
    pipeline.pubsub.counts(&pipeline.dead_letter_subscription).published
}

async fn pipeline() -> Pipeline {
    let (pubsub, _faults) = Pubsub::dedicated().await;
    Pipeline::on(pubsub, Dynamo::connect()).await
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
    let server = pipeline.dynamo.endpoint.trim_start_matches("http://");
    let proxy = HttpProxy::before(server, Reject::DescribeTable).await;
    let launch = pipeline.consumer().arguments(["-m", mismatch.max_outstanding]);
    let mut consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();
    pipeline.publish(valid_scans(0..mismatch.messages)).await;

    let line = consumer.wait_for_line(UNHEALTHY).await;

    assert!(line.contains("refuses every write") && line.contains(&pipeline.table), "{line}");
    tokio::time::sleep(mismatch.lasts).await;
    pipeline.dynamo.delete(&pipeline.table).await;
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");
    assert_eq!(pipeline.rows(mismatch.messages).await.len(), mismatch.messages);
    pipeline.drained().await;
    assert_eq!(dead_letters(&pipeline), 0);
    assert_eq!(count_lines(consumer.log(), "refuses every write"), 1, "{:#?}", consumer.log());
}

#[tokio::test]
async fn a_table_with_another_key_schema_is_logged_once_and_can_be_replaced() {
    test_mismatch(Mismatch { max_outstanding: "20", messages: 30, lasts: Duration::ZERO }).await;
}

/// There are enough parking permits, and enough time, for most messages to be rejected three times.
#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn a_table_with_another_key_schema_causes_no_dead_letters() {
    test_mismatch(Mismatch { max_outstanding: "1000", messages: 110, lasts: Duration::from_secs(35) }).await;
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
