//! Outage of the dead-letter topic while poison messages arrive.

use std::collections::BTreeSet;

use google_cloud_pubsub::model::RetryPolicy;
use google_cloud_wkt::Duration as WireDuration;

use super::count_lines;
use crate::support::dynamo::Dynamo;
use crate::support::messages::{CONSUMING, UNHEALTHY};
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::publish_router::PublishRouter;
use crate::support::pubsub::Pubsub;
use crate::support::tcp_proxy::TcpProxy;

#[tokio::test]
async fn valid_scans_are_stored_while_the_dead_letter_topic_hangs_and_no_dead_letter_is_lost() {
    const POISON: usize = 200;
    let (pubsub, _faults) = Pubsub::dedicated().await;
    let mut pipeline = Pipeline::on(pubsub, Dynamo::connect()).await;
    let seconds = |seconds| WireDuration::clamp(seconds, 0);
    let policy = RetryPolicy::new().set_minimum_backoff(seconds(1)).set_maximum_backoff(seconds(2));
    let subscription = pipeline.pubsub.subscription_with(&pipeline.topic, |plain| plain.set_retry_policy(policy));
    pipeline.subscription = subscription.await;
    let proxy = TcpProxy::before(&pipeline.pubsub.address);
    let router = PublishRouter::start(&proxy.address.to_string(), &pipeline.pubsub.address).await;
    // There are more poison messages than permits for outstanding messages.
    let launch = pipeline.consumer().arguments(["-m", "100"]);
    let mut consumer = launch.env("PUBSUB_EMULATOR_HOST", &router.address.to_string()).start();
    consumer.wait_for_line(CONSUMING).await;

    proxy.freeze();
    pipeline.publish((0..POISON).map(|n| format!("poison {n}"))).await;
    pipeline.publish(valid_scans(0..500)).await;
    assert_eq!(pipeline.rows(500).await.len(), 500);
    let line = consumer.wait_for_line(&format!("{UNHEALTHY}: the dead-letter topic")).await;
    assert!(line.contains(&pipeline.dead_letter_topic), "{line}");
    pipeline.publish(valid_scans(500..1_000)).await;
    assert_eq!(pipeline.rows(1_000).await.len(), 1_000);
    // No scan waited for a dead letter, because there is none yet.
    assert_eq!(pipeline.pubsub.counts(&pipeline.dead_letter_subscription).published, 0);
    assert!(count_lines(consumer.log(), UNHEALTHY) == 1, "{:#?}", consumer.log());
    proxy.thaw();

    pipeline.drained().await;
    let count = pipeline.pubsub.counts(&pipeline.dead_letter_subscription).published;
    let dead_letters = pipeline.dead_letters(usize::try_from(count).expect("a small number")).await;
    let distinct: BTreeSet<_> = dead_letters.into_iter().map(|dead_letter| dead_letter.data).collect();
    assert_eq!(distinct, (0..POISON).map(|n| format!("poison {n}").into()).collect());
}
