//! The consumer with exactly the roles that running needs: it may read, publish and write, and not look.

use std::time::Duration;

use crate::support::dynamo::Dynamo;
use crate::support::front::{Front, Refuse};
use crate::support::pipeline::{Pipeline, good};
use crate::support::program::Launch;
use crate::support::unique;

/// Longer than an unanswered stream is doubted.
const IDLE: Duration = Duration::from_secs(11);

/// The consumer behind a Pub/Sub that refuses every *get*.
async fn without_looking(pipeline: &Pipeline, launch: Launch) -> (Launch, Front) {
    let front = Front::before(&pipeline.pubsub.address, Refuse::Looking).await;
    (launch.env("PUBSUB_EMULATOR_HOST", &front.address.to_string()), front)
}

#[tokio::test]
async fn a_refused_get_is_not_fatal() {
    let pipeline = Pipeline::new().await;
    let (launch, _front) = without_looking(&pipeline, pipeline.consumer()).await;
    pipeline.publish(good(0..10).chain(["poison".to_owned()])).await;

    let _consumer = launch.start();

    assert_eq!(pipeline.rows(10).await.len(), 10);
    pipeline.dead_letters(1).await;
    pipeline.drained().await;
}

#[tokio::test]
async fn a_missing_subscription_that_only_the_stream_shows_is_fatal() {
    let mut pipeline = Pipeline::new().await;
    pipeline.subscription.push_str("-missing");
    let (launch, _front) = without_looking(&pipeline, pipeline.consumer()).await;

    let exit = tokio::time::timeout(Duration::from_secs(15), launch.run()).await.expect("it ends soon");

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let said = exit.said.stderr.join("\n");
    let parts = [pipeline.subscription.as_str(), "--subscription", "does not exist", "mini-scan setup pubsub"];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

#[tokio::test]
async fn an_idle_subscription_that_answers_nothing_is_well() {
    let pipeline = Pipeline::new().await;
    let (launch, _front) = without_looking(&pipeline, pipeline.consumer()).await;
    let mut consumer = launch.start();
    consumer.line("consuming").await;

    assert!(tokio::time::timeout(IDLE, consumer.line("not ready")).await.is_err());

    pipeline.publish(good(0..1)).await;
    pipeline.rows(1).await;
}

#[tokio::test]
async fn a_missing_dead_letter_topic_that_only_a_letter_shows_holds_the_letter_until_it_is_there() {
    let mut pipeline = Pipeline::new().await;
    pipeline.dead_letter_topic = pipeline.pubsub.topic_name(&unique("late-topic"));
    let (launch, _front) = without_looking(&pipeline, pipeline.consumer()).await;
    let mut consumer = launch.start();

    pipeline.publish(["poison"]).await;

    let said = consumer.line("not ready").await;
    assert!(said.contains(&pipeline.dead_letter_topic) && said.contains("mini-scan setup pubsub"), "{said}");
    pipeline.publish(good(0..10)).await;
    assert_eq!(pipeline.rows(10).await.len(), 10);
    let create = pipeline.pubsub.topics.create_topic().set_name(&pipeline.dead_letter_topic);
    create.send().await.expect("the topic is created");
    pipeline.dead_letter_subscription = pipeline.pubsub.subscription(&pipeline.dead_letter_topic).await;
    let letter = pipeline.dead_letters(1).await.remove(0);
    assert_eq!(&letter.data[..], b"poison");
    consumer.line("well again").await;
    pipeline.drained().await;
}

#[tokio::test]
async fn a_refused_describe_table_is_not_fatal() {
    let pipeline = Pipeline::new().await;
    let front = Front::before(host(&pipeline.dynamo), Refuse::DescribeTable).await;
    pipeline.publish(good(0..10)).await;

    let _consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &front.url()).start();

    assert_eq!(pipeline.rows(10).await.len(), 10);
}

#[tokio::test]
async fn a_throttled_describe_table_is_said_and_not_fatal() {
    let pipeline = Pipeline::new().await;
    let front = Front::before(host(&pipeline.dynamo), Refuse::DescribeTableForNow).await;
    pipeline.publish(good(0..10)).await;

    let mut consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &front.url()).start();

    let said = consumer.line("cannot check the table").await;
    assert!(said.contains(&pipeline.table) && said.contains("ThrottlingException"), "{said}");
    assert_eq!(pipeline.rows(10).await.len(), 10);
}

#[tokio::test]
async fn a_missing_table_that_only_a_write_shows_is_said_and_the_scan_is_kept() {
    let mut pipeline = Pipeline::new().await;
    pipeline.table = unique("late-table");
    let front = Front::before(host(&pipeline.dynamo), Refuse::DescribeTable).await;
    pipeline.publish(good(0..20)).await;

    let mut consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &front.url()).start();

    let said = consumer.line("not ready").await;
    assert!(said.contains("DynamoDB") && said.contains("ResourceNotFoundException"), "{said}");
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");
    assert_eq!(pipeline.rows(20).await.len(), 20);
    pipeline.drained().await;
}

fn host(dynamo: &Dynamo) -> &str {
    dynamo.endpoint.trim_start_matches("http://")
}
