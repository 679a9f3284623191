//! How the consumer stops: on time, with its numbers, and with nothing kept from others.

use std::net::TcpListener;
use std::time::Duration;

use google_cloud_pubsub::model::RetryPolicy;
use google_cloud_wkt::Duration as WireDuration;
use tokio::time::Instant;

use crate::support::front::{Front, Refuse};
use crate::support::pipeline::{Pipeline, good};
use crate::support::program::{Exit, Program, Signal};

/// As many writes are in flight at first, whatever the number of cores.
const UNSETTLED: usize = 32;

/// A consumer that has scans in hand for a DynamoDB that has fallen silent, after one that was stored.
async fn stuck(pipeline: &Pipeline, arguments: &[&str]) -> (Program, Front) {
    let front = Front::before(pipeline.dynamo.endpoint.trim_start_matches("http://"), Refuse::Nothing).await;
    let launch = pipeline.consumer().arguments(arguments.iter().copied());
    let consumer = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &front.url()).start();
    pipeline.publish(good(0..1)).await;
    pipeline.rows(1).await;
    pipeline.drained().await;
    front.fall_silent();
    pipeline.publish(good(1..1 + UNSETTLED)).await;
    front.holds(UNSETTLED).await;
    (consumer, front)
}

fn closing(exit: &Exit) -> Option<&str> {
    exit.said.stdout.last().map(String::as_str)
}

/// A stop with receipts of several threads in hand, and how soon another consumer has stored them.
async fn handed_over(pipeline: &Pipeline) -> Duration {
    let (consumer, _front) = stuck(pipeline, &["--shutdown-grace", "2s", "-c", "6", "--threads", "2"]).await;
    let asked = Instant::now();

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert!(asked.elapsed() < Duration::from_secs(2 + 3), "it took {:?}", asked.elapsed());
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(closing(&exit), Some("Consumer stopped. Final stats - Processed: 1, Failed: 0"), "{exit:#?}");
    let last = exit.said.stderr.last().map(String::as_str).unwrap_or_default();
    assert!(last.contains(r#""message":"Released at shutdown: 32""#), "{exit:#?}");
    let _other = pipeline.consumer().start();
    let started = Instant::now();
    assert_eq!(pipeline.rows(1 + UNSETTLED).await.len(), 1 + UNSETTLED);
    started.elapsed()
}

#[tokio::test]
async fn while_dynamodb_is_silent_a_stop_takes_the_grace_and_hands_everything_back() {
    let took = handed_over(&Pipeline::new().await).await;
    // Sooner than any lease ends.
    assert!(took < Duration::from_secs(8), "it took {took:?}");
}

#[tokio::test]
async fn what_is_handed_back_comes_to_another_after_the_least_backoff_of_the_subscription() {
    let mut pipeline = Pipeline::new().await;
    let seconds = |seconds| WireDuration::clamp(seconds, 0);
    let policy = RetryPolicy::new().set_minimum_backoff(seconds(3)).set_maximum_backoff(seconds(600));
    let spaced = pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_retry_policy(policy));
    pipeline.subscription = spaced.await;

    let took = handed_over(&pipeline).await;

    assert!(took < Duration::from_secs(3 + 3), "it took {took:?}");
}

#[tokio::test]
async fn a_stop_finishes_what_dynamodb_answers_within_the_grace() {
    let pipeline = Pipeline::new().await;
    let (mut consumer, front) = stuck(&pipeline, &[]).await;

    consumer.signal(Signal::Terminate).await;
    consumer.line("stopping").await;
    front.speak();

    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(closing(&exit), Some("Consumer stopped. Final stats - Processed: 33, Failed: 0"), "{exit:#?}");
    pipeline.drained().await;
}

#[tokio::test]
async fn a_second_signal_stops_at_once_with_its_own_exit_code() {
    for (second, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
        let pipeline = Pipeline::new().await;
        let (mut consumer, _front) = stuck(&pipeline, &[]).await;
        consumer.signal(Signal::Terminate).await;
        consumer.line("stopping").await;
        let asked = Instant::now();

        consumer.signal(second).await;

        let exit = consumer.exit().await;
        assert_eq!(exit.code, Some(code), "{exit:#?}");
        assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    }
}

/// A stop while the servers that these variables name take connections and answer nothing.
async fn stopped_at_start(silent: &[&str]) {
    let pipeline = Pipeline::new().await;
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", server.local_addr().expect("a bound listener"));
    let launch = silent.iter().fold(pipeline.consumer_without_letters(), |launch, name| launch.env(name, &url));
    let mut consumer = launch.arguments(["--log-levels", "debug"]).start();
    consumer.line("").await;
    let asked = Instant::now();

    consumer.signal(Signal::Terminate).await;

    let exit = consumer.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
    assert_eq!(closing(&exit), Some("Consumer stopped. Final stats - Processed: 0, Failed: 0"), "{exit:#?}");
    assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_stop_during_the_start_checks_ends_it_at_once_whichever_server_is_silent() {
    let (pubsub, dynamo) = ("PUBSUB_EMULATOR_HOST", "AWS_ENDPOINT_URL_DYNAMODB");
    for silent in [&[dynamo][..], &[pubsub], &[pubsub, dynamo]] {
        stopped_at_start(silent).await;
    }
}
