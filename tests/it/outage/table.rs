//! A table that does not fit, or is gone, and another in its place.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_dynamodb::types::{BillingMode, KeyType, ScalarAttributeType};

use super::lines;
use crate::support::dynamo::{Dynamo, attribute, key};
use crate::support::front::{Front, Refuse};
use crate::support::pipeline::{Pipeline, good, ip, scan};
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

fn letters(pipeline: &Pipeline) -> u64 {
    pipeline.pubsub.counts(&pipeline.dead_letter_subscription).published
}

async fn pipeline() -> Pipeline {
    let (pubsub, _faults) = Pubsub::own().await;
    Pipeline::on(pubsub, Dynamo::connect()).await
}

/// How many messages, for how many slots, and how long the table stays as it is once the consumer has said so.
struct Unfit {
    slots: &'static str,
    messages: usize,
    lasts: Duration,
}

async fn an_unfit_table(unfit: Unfit) {
    let mut pipeline = pipeline().await;
    pipeline.table = unique("unfit");
    pipeline.dynamo.create_with_another_key(&pipeline.table).await;
    // Or the start checks would find it.
    let server = pipeline.dynamo.endpoint.trim_start_matches("http://");
    let front = Front::before(server, Refuse::DescribeTable).await;
    let launch = pipeline.consumer().arguments(["-m", unfit.slots]);
    let mut consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &front.url()).start();
    pipeline.publish(good(0..unfit.messages)).await;

    let said = consumer.line("unhealthy").await;

    assert!(said.contains("refuses every write") && said.contains(&pipeline.table), "{said}");
    tokio::time::sleep(unfit.lasts).await;
    pipeline.dynamo.delete(&pipeline.table).await;
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");
    assert_eq!(pipeline.rows(unfit.messages).await.len(), unfit.messages);
    pipeline.drained().await;
    assert_eq!(letters(&pipeline), 0);
    assert_eq!(lines(consumer.log(), "refuses every write"), 1, "{:#?}", consumer.log());
}

#[tokio::test]
async fn a_table_whose_key_does_not_fit_is_said_once_and_may_be_mended() {
    an_unfit_table(Unfit { slots: "20", messages: 30, lasts: Duration::ZERO }).await;
}

/// So long, and with so many places among the held, that most of them are refused three times.
#[tokio::test]
#[ignore = "a minute; run by `make check-slow`"]
async fn a_table_whose_key_does_not_fit_condemns_nothing() {
    an_unfit_table(Unfit { slots: "1000", messages: 110, lasts: Duration::from_secs(35) }).await;
}

#[tokio::test]
async fn into_a_table_that_was_deleted_and_made_anew_goes_every_scan_that_was_not_acked_and_every_newer_one() {
    let pipeline = pipeline().await;
    let mut consumer = pipeline.consumer().start();
    let acked = |keys: Range<usize>| keys.map(|n| scan(&ip(n), 10, "acked"));
    pipeline.publish(acked(0..70)).await;
    pipeline.rows(70).await;
    pipeline.drained().await;

    pipeline.dynamo.delete(&pipeline.table).await;
    // Newer ones of the same keys, the newest in no order; and keys that nobody has seen.
    let newer = (0..50).flat_map(|n| [12, 20, 11].map(|timestamp| scan(&ip(n), timestamp, "newer")));
    pipeline.publish(newer.chain((70..100).map(|n| scan(&ip(n), 5, "first")))).await;
    let said = consumer.line("unhealthy: DynamoDB").await;
    assert!(said.contains(&pipeline.table) && said.contains("ResourceNotFoundException"), "{said}");
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");

    consumer.line("recovered: DynamoDB").await;
    // What is known to have been durable was forgotten with the table.
    pipeline.publish(acked(50..70)).await;
    pipeline.drained().await;
    let rows = pipeline.rows(100).await;
    let timestamp = |n: usize| rows[&format!("{}#80#HTTP", ip(n))]["timestamp"].as_n().expect("a number").as_str();
    for (keys, expected) in [(0..50, "20"), (50..70, "10"), (70..100, "5")] {
        keys.for_each(|n| assert_eq!(timestamp(n), expected, "{}", ip(n)));
    }
    assert_eq!(letters(&pipeline), 0);
    // Once, and once more where answers that were under way when it was made come after the first that is well.
    assert!(lines(consumer.log(), "unhealthy") <= 2, "{:#?}", consumer.log());
}
