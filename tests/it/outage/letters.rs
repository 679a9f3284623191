//! A dead-letter topic that does not answer while poison comes.

use std::collections::BTreeSet;
use std::time::Duration;

use google_cloud_pubsub::model::RetryPolicy;
use google_cloud_wkt::Duration as WireDuration;
use tokio::time::Instant;

use super::lines;
use crate::support::dynamo::Dynamo;
use crate::support::fork::Fork;
use crate::support::pipeline::{Pipeline, good};
use crate::support::pubsub::Pubsub;
use crate::support::wire::Wire;

#[tokio::test]
async fn while_the_dead_letter_topic_is_frozen_good_scans_flow_and_after_it_every_letter_is_there() {
    const POISON: usize = 200;
    let (pubsub, _faults) = Pubsub::own().await;
    let mut pipeline = Pipeline::on(pubsub, Dynamo::connect()).await;
    let seconds = |seconds| WireDuration::clamp(seconds, 0);
    let policy = RetryPolicy::new().set_minimum_backoff(seconds(1)).set_maximum_backoff(seconds(2));
    let spaced = pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_retry_policy(policy));
    pipeline.subscription = spaced.await;
    let letters = Wire::before(&pipeline.pubsub.address);
    let fork = Fork::between(&letters.address.to_string(), &pipeline.pubsub.address).await;
    // Fewer places than poison.
    let launch = pipeline.consumer().arguments(["-m", "100"]);
    let mut consumer = launch.env("PUBSUB_EMULATOR_HOST", &fork.address.to_string()).start();
    consumer.line("consuming").await;

    letters.freeze();
    pipeline.publish((0..POISON).map(|n| format!("poison {n}"))).await;
    let published = Instant::now();
    pipeline.publish(good(0..500)).await;
    assert_eq!(pipeline.rows(500).await.len(), 500);
    assert!(published.elapsed() < Duration::from_secs(15), "it took {:?}", published.elapsed());
    let said = consumer.line("unhealthy: the dead-letter topic").await;
    assert!(said.contains(&pipeline.dead_letter_topic), "{said}");
    let published = Instant::now();
    pipeline.publish(good(500..1_000)).await;
    assert_eq!(pipeline.rows(1_000).await.len(), 1_000);
    assert!(published.elapsed() < Duration::from_secs(5), "it took {:?}", published.elapsed());
    assert!(lines(consumer.log(), "unhealthy") == 1, "{:#?}", consumer.log());
    letters.thaw();

    pipeline.drained().await;
    let count = pipeline.pubsub.counts(&pipeline.dead_letter_subscription).published;
    let letters = pipeline.dead_letters(usize::try_from(count).expect("few")).await;
    let distinct: BTreeSet<_> = letters.into_iter().map(|letter| letter.data).collect();
    assert_eq!(distinct, (0..POISON).map(|n| format!("poison {n}").into()).collect());
}
