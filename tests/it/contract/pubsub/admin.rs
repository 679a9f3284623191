//! Topics and subscriptions, as `setup` and the start checks use them.

use std::time::Duration;

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::model::{DeadLetterPolicy, ExpirationPolicy, RetryPolicy, Subscription};

use crate::support::pubsub::{Pubsub, code};
use crate::support::servers::PubsubServer;
use crate::support::unique;

fn seconds(seconds: u64) -> google_cloud_wkt::Duration {
    Duration::from_secs(seconds).try_into().expect("a few seconds")
}

#[tokio::test]
async fn creating_a_topic_twice_fails_with_already_exists() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic().await;

    let again = pubsub.topics.create_topic().set_name(&topic).send().await.expect_err("the topic exists");

    assert_eq!(code(&again), Some(Code::AlreadyExists), "{again:?}");
    let found = pubsub.topics.get_topic().set_topic(&topic).send().await.expect("the topic still exists");
    assert_eq!(found.name, topic);
}

#[tokio::test]
async fn creating_a_subscription_twice_fails_with_already_exists() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;

    let create = pubsub.subscriptions.create_subscription().set_name(&subscription).set_topic(&topic);
    let again = create.send().await.expect_err("the subscription exists");

    assert_eq!(code(&again), Some(Code::AlreadyExists), "{again:?}");
}

#[tokio::test]
async fn one_of_two_concurrent_creates_succeeds_and_the_other_finds_the_topic() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic_name(&unique("topic"));

    let create = || pubsub.topics.create_topic().set_name(&topic).send();
    let results: [_; 2] = tokio::join!(create(), create()).into();

    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).map(code).collect();
    assert_eq!(failed, [Some(Code::AlreadyExists)]);
}

#[tokio::test]
async fn calls_for_a_missing_topic_or_subscription_fail_with_not_found() {
    let pubsub = Pubsub::connect().await;
    let topic = pubsub.topic_name(&unique("missing"));
    let subscription = pubsub.subscription_name(&unique("missing"));

    let got_topic = pubsub.topics.get_topic().set_topic(&topic).send().await.expect_err("missing");
    let deleted_topic = pubsub.topics.delete_topic().set_topic(&topic).send().await.expect_err("missing");
    let get = pubsub.subscriptions.get_subscription().set_subscription(&subscription);
    let got_subscription = get.send().await.expect_err("missing");
    let delete = pubsub.subscriptions.delete_subscription().set_subscription(&subscription);
    let deleted_subscription = delete.send().await.expect_err("missing");
    let create = pubsub.subscriptions.create_subscription().set_name(&subscription).set_topic(&topic);
    let subscribed = create.send().await.expect_err("its topic is missing");

    for error in [got_topic, deleted_topic, got_subscription, deleted_subscription, subscribed] {
        assert_eq!(code(&error), Some(Code::NotFound), "{error:?}");
    }
}

#[tokio::test]
async fn a_deleted_topic_or_subscription_is_gone_and_a_subscription_can_be_created_again() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, ["before"]).await;

    let delete = pubsub.subscriptions.delete_subscription().set_subscription(&subscription);
    delete.send().await.expect("the subscription is deleted");
    let get = pubsub.subscriptions.get_subscription().set_subscription(&subscription);
    assert_eq!(code(&get.send().await.expect_err("gone")), Some(Code::NotFound));

    let create = pubsub.subscriptions.create_subscription().set_name(&subscription).set_topic(&topic);
    create.send().await.expect("the name is free again");
    pubsub.publish(&topic, ["after"]).await;
    let (message, handler) = pubsub.open(&subscription).next().await;
    handler.ack();
    assert_eq!(message.data, "after", "a new subscription starts empty");

    pubsub.topics.delete_topic().set_topic(&topic).send().await.expect("the topic is deleted");
    let get = pubsub.topics.get_topic().set_topic(&topic);
    assert_eq!(code(&get.send().await.expect_err("gone")), Some(Code::NotFound));
}

#[tokio::test]
async fn get_returns_the_settings_of_create() {
    let pubsub = Pubsub::connect().await;
    let (topic, dead_letter_topic) = (pubsub.topic().await, pubsub.topic().await);
    let retry = RetryPolicy::new().set_minimum_backoff(seconds(10)).set_maximum_backoff(seconds(600));
    let dead = DeadLetterPolicy::new().set_dead_letter_topic(&dead_letter_topic).set_max_delivery_attempts(100);

    let name = pubsub
        .subscription_with(&topic, |subscription: Subscription| {
            subscription
                .set_ack_deadline_seconds(60)
                .set_message_retention_duration(seconds(24 * 3600))
                .set_expiration_policy(ExpirationPolicy::new())
                .set_retry_policy(retry.clone())
                .set_dead_letter_policy(dead.clone())
        })
        .await;

    let get = pubsub.subscriptions.get_subscription().set_subscription(&name);
    let found = get.send().await.expect("the subscription exists");
    assert_eq!(found.name, name);
    assert_eq!(found.topic, topic);
    assert_eq!(found.ack_deadline_seconds, 60);
    assert_eq!(found.message_retention_duration, Some(seconds(24 * 3600)));
    assert_eq!(found.expiration_policy, Some(ExpirationPolicy::new()), "without a ttl it never expires");
    assert_eq!(found.retry_policy, Some(retry));
    assert_eq!(found.dead_letter_policy, Some(dead));
    assert!(!found.enable_exactly_once_delivery && !found.enable_message_ordering);
}

#[tokio::test]
async fn a_retention_of_31_days_is_accepted() {
    let pubsub = Pubsub::connect().await;
    if pubsub.skips(PubsubServer::GoogleEmulator, "a retention of 31 days is accepted (its maximum is 7)") {
        return;
    }
    let (topic, month) = (pubsub.topic().await, seconds(31 * 24 * 3600));

    let name = pubsub.subscription_with(&topic, |plain| plain.set_message_retention_duration(month)).await;

    let get = pubsub.subscriptions.get_subscription().set_subscription(&name);
    assert_eq!(get.send().await.expect("the subscription exists").message_retention_duration, Some(month));
}

#[tokio::test]
async fn by_default_a_subscription_keeps_messages_for_7_days_and_expires_after_31() {
    let pubsub = Pubsub::connect().await;
    let (_, name) = pubsub.topic_with_subscription().await;

    let get = pubsub.subscriptions.get_subscription().set_subscription(&name);
    let found = get.send().await.expect("the subscription exists");

    assert_eq!(found.message_retention_duration, Some(seconds(7 * 24 * 3600)));
    let month = ExpirationPolicy::new().set_ttl(seconds(31 * 24 * 3600));
    let skipped = pubsub.skips(PubsubServer::GoogleEmulator, "by default a subscription expires after 31 days");
    assert!(skipped || found.expiration_policy == Some(month), "{found:?}");
    assert_eq!(found.retry_policy, None);
    assert_eq!(found.dead_letter_policy, None);
}

#[tokio::test]
async fn settings_out_of_range_are_rejected() {
    let pubsub = Pubsub::connect().await;
    if pubsub.skips(PubsubServer::GoogleEmulator, "settings out of range are rejected") {
        return;
    }
    let topic = pubsub.topic().await;
    let create = || {
        let name = pubsub.subscription_name(&unique("sub"));
        pubsub.subscriptions.create_subscription().set_name(name).set_topic(&topic)
    };
    let attempts = |attempts| DeadLetterPolicy::new().set_dead_letter_topic(&topic).set_max_delivery_attempts(attempts);

    let rejected = [
        ("an ack deadline of 9 s", create().set_ack_deadline_seconds(9).send().await),
        ("an ack deadline of 601 s", create().set_ack_deadline_seconds(601).send().await),
        ("4 delivery attempts", create().set_dead_letter_policy(attempts(4)).send().await),
        ("101 delivery attempts", create().set_dead_letter_policy(attempts(101)).send().await),
    ];

    for (what, result) in rejected {
        assert_eq!(result.as_ref().err().and_then(code), Some(Code::InvalidArgument), "{what}: {result:?}");
    }
}
