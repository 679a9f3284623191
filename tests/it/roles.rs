//! The consumer with only the roles that it needs to run: it may read, publish and write, but not describe resources.

use serde_json::json;

use crate::support::dynamo::Dynamo;
use crate::support::http_proxy::{Answer, HttpProxy, Reject};
use crate::support::messages::{CONSUMING, RECOVERED, UNHEALTHY};
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::program::Launch;
use crate::support::{unique, with_timeout};

/// Sends the consumer to a Pub/Sub that rejects every *get*.
async fn without_gets(pipeline: &Pipeline, launch: Launch) -> (Launch, HttpProxy) {
    let proxy = HttpProxy::before(&pipeline.pubsub.address, Reject::Gets).await;
    (launch.env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string()), proxy)
}

#[tokio::test]
async fn a_rejected_get_is_not_fatal() {
    let pipeline = Pipeline::new().await;
    let (launch, _proxy) = without_gets(&pipeline, pipeline.consumer()).await;
    pipeline.publish(valid_scans(0..10).chain(["poison".to_owned()])).await;

    let _consumer = launch.start();

    assert_eq!(pipeline.rows(10).await.len(), 10);
    pipeline.dead_letters(1).await;
    pipeline.drained().await;
}

#[tokio::test]
async fn a_quota_or_a_fault_of_pubsub_is_logged_at_the_start_and_not_fatal() {
    let faults = [
        ("429 Too Many Requests", 429, "RESOURCE_EXHAUSTED"),
        ("500 Internal Server Error", 500, "INTERNAL"),
        ("409 Conflict", 409, "ABORTED"),
        ("500 Internal Server Error", 500, "UNKNOWN"),
    ];
    for (status, code, name) in faults {
        let pipeline = Pipeline::new().await;
        let message = format!("not now: {name}");
        let body = json!({"error": {"code": code, "message": message, "status": name}}).to_string();
        let proxy =
            HttpProxy::answering(&pipeline.pubsub.address, vec![Answer { to: "GET /v1/".into(), status, body }]);
        pipeline.publish(valid_scans(0..10).chain(["poison".to_owned()])).await;

        let mut consumer = pipeline.consumer().env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string()).start();

        let line = consumer.wait_for_line("cannot check the subscription").await;
        assert!(line.contains(&pipeline.subscription) && line.contains(&message), "{line}");
        let line = consumer.wait_for_line("cannot check the dead-letter topic").await;
        assert!(line.contains(&pipeline.dead_letter_topic) && line.contains(&message), "{line}");
        assert_eq!(pipeline.rows(10).await.len(), 10);
        pipeline.dead_letters(1).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_pubsub_is_fatal() {
    let pipeline = Pipeline::new().await;
    for (status, body) in [
        ("404 Not Found", "404 page not found"),
        ("405 Method Not Allowed", r#"{"error":{"code":405,"message":"Method Not Allowed"}}"#),
        ("503 Service Unavailable", r#"{"error":{"code":503,"message":"no upstream","status":"UNAVAILABLE"}}"#),
    ] {
        let answer = Answer { to: "GET /v1/".into(), status, body: body.into() };
        let proxy = HttpProxy::answering(&pipeline.pubsub.address, vec![answer]);

        let exit = pipeline.consumer().env("PUBSUB_EMULATOR_HOST", &proxy.address.to_string()).run().await;

        assert_eq!(exit.code, Some(1), "{exit:#?}");
        let stderr = exit.output.stderr.join("\n");
        assert!(stderr.contains(&pipeline.subscription), "{stderr}");
    }
}

#[tokio::test]
async fn a_missing_subscription_that_only_the_stream_reports_is_fatal() {
    let mut pipeline = Pipeline::new().await;
    pipeline.subscription.push_str("-missing");
    let (launch, _proxy) = without_gets(&pipeline, pipeline.consumer()).await;

    let exit = with_timeout("the end of the consumer", launch.run()).await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let stderr = exit.output.stderr.join("\n");
    let parts = [pipeline.subscription.as_str(), "--subscription", "does not exist", "mini-scan setup pubsub"];
    assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr}");
}

#[tokio::test]
async fn the_consumer_of_an_idle_subscription_is_healthy_and_makes_no_call_that_needs_more_than_its_roles() {
    let pipeline = Pipeline::new().await;
    let (launch, proxy) = without_gets(&pipeline, pipeline.consumer()).await;
    let quick = ["--stream-max-idle", "5s", "--consumers", "1", "--log-levels", "warn,mini_scan=debug"];
    let mut consumer = launch.arguments(quick).start();
    consumer.wait_for_line(CONSUMING).await;
    let rejected = proxy.answered();

    // By then, the consumer has replaced an idle stream and has probed Pub/Sub.
    let line = consumer.wait_for_line("stream replaced").await;

    assert!(line.contains(r#""cause":"idle""#), "{line}");
    assert!(!consumer.log().iter().any(|line| line.contains(UNHEALTHY)), "{:#?}", consumer.log());
    assert_eq!(proxy.answered(), rejected);
    pipeline.publish(valid_scans(0..1)).await;
    pipeline.rows(1).await;
}

#[tokio::test]
async fn a_message_waits_for_a_missing_dead_letter_topic_that_only_a_publish_reports() {
    let mut pipeline = Pipeline::new().await;
    pipeline.dead_letter_topic = pipeline.pubsub.topic_name(&unique("late-topic"));
    let (launch, _proxy) = without_gets(&pipeline, pipeline.consumer()).await;
    let mut consumer = launch.start();

    pipeline.publish(["poison"]).await;

    let line = consumer.wait_for_line(UNHEALTHY).await;
    assert!(line.contains(&pipeline.dead_letter_topic) && line.contains("mini-scan setup pubsub"), "{line}");
    pipeline.publish(valid_scans(0..10)).await;
    assert_eq!(pipeline.rows(10).await.len(), 10);
    let create = pipeline.pubsub.topics.create_topic().set_name(&pipeline.dead_letter_topic);
    create.send().await.expect("the topic is created");
    pipeline.dead_letter_subscription = pipeline.pubsub.subscription(&pipeline.dead_letter_topic).await;
    let dead_letter = pipeline.dead_letters(1).await.remove(0);
    assert_eq!(&dead_letter.data[..], b"poison");
    consumer.wait_for_line(RECOVERED).await;
    pipeline.drained().await;
}

#[tokio::test]
async fn a_rejected_describe_table_is_not_fatal() {
    let pipeline = Pipeline::new().await;
    let proxy = HttpProxy::before(host(&pipeline.dynamo), Reject::DescribeTable).await;
    pipeline.publish(valid_scans(0..10)).await;

    let _consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();

    assert_eq!(pipeline.rows(10).await.len(), 10);
}

#[tokio::test]
async fn a_throttled_describe_table_is_logged_and_not_fatal() {
    let pipeline = Pipeline::new().await;
    let proxy = HttpProxy::before(host(&pipeline.dynamo), Reject::ThrottleDescribeTable).await;
    pipeline.publish(valid_scans(0..10)).await;

    let mut consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();

    let line = consumer.wait_for_line("cannot check the table").await;
    assert!(line.contains(&pipeline.table) && line.contains("ThrottlingException"), "{line}");
    assert_eq!(pipeline.rows(10).await.len(), 10);
}

#[tokio::test]
async fn a_missing_table_that_only_a_write_reports_is_logged_and_the_scans_wait_for_it() {
    let mut pipeline = Pipeline::new().await;
    pipeline.table = unique("late-table");
    let proxy = HttpProxy::before(host(&pipeline.dynamo), Reject::DescribeTable).await;
    pipeline.publish(valid_scans(0..20)).await;

    let mut consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).start();

    let line = consumer.wait_for_line(UNHEALTHY).await;
    assert!(line.contains("DynamoDB") && line.contains("ResourceNotFoundException"), "{line}");
    pipeline.dynamo.create(&pipeline.table).send().await.expect("the table is created");
    assert_eq!(pipeline.rows(20).await.len(), 20);
    pipeline.drained().await;
}

fn host(dynamo: &Dynamo) -> &str {
    dynamo.endpoint.trim_start_matches("http://")
}
