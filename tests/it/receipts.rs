//! The receipts of a supervised stream: what the server does after each way to settle a message.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use google_cloud_pubsub::model::{DeadLetterPolicy, Message};
use mini_scan::consumer::Health;
use mini_scan::consumer::ports::{Delivery, Receipt, Source};
use mini_scan::observe::Metrics;
use mini_scan::pubsub::{Activity, Connection, StreamReceipt, StreamSettings, StreamSource};
use tokio::time::Instant;

use crate::support::pubsub::Pubsub;
use crate::support::with_timeout;

/// The shortest lease extension, which is also the ack deadline of the test subscriptions.
const LEASE: Duration = Duration::from_secs(10);

fn open(pubsub: &Pubsub, subscription: &str) -> StreamSource {
    let settings = StreamSettings {
        subscription: subscription.to_owned(),
        max_messages: 8,
        max_bytes: 1 << 20,
        max_lease_extension: LEASE,
        max_retry_time: Duration::from_secs(600),
        max_idle: Duration::from_secs(600),
    };
    let connection = Connection::new(Some(&pubsub.address));
    let (health, observer) = (Arc::<Health>::default(), Arc::<Metrics>::default());
    StreamSource::open(connection, settings, health, observer, 0, Arc::new(Activity::new(Instant::now())))
}

async fn next(source: &mut StreamSource) -> Delivery<StreamReceipt> {
    let next = with_timeout("a message of a supervised stream", source.next()).await;
    next.expect("the stream does not fail").expect("the stream was not stopped")
}

#[tokio::test]
async fn a_nacked_or_dropped_message_is_redelivered_and_an_acked_one_is_not() {
    let (pubsub, _) = Pubsub::dedicated().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let mut source = open(&pubsub, &subscription);
    pubsub.publish(&topic, ["payload"]).await;

    let first = next(&mut source).await;
    first.receipt.nack();
    let second = tokio::select! {
        second = next(&mut source) => second,
        () = pubsub.drained(&subscription) => panic!("a nacked message was acknowledged"),
    };
    drop(second.receipt);
    let third = next(&mut source).await;
    third.receipt.ack();
    pubsub.drained(&subscription).await;

    assert_eq!([&second.envelope.message_id, &third.envelope.message_id], [&first.envelope.message_id; 2]);
    let counts = pubsub.counts(&subscription);
    assert_eq!((counts.delivered, counts.nacked, counts.acknowledged, counts.expired), (3, 2, 1, 0));
}

#[tokio::test]
async fn an_envelope_has_all_that_pubsub_knows_of_its_message() {
    let (pubsub, _) = Pubsub::dedicated().await;
    let topic = pubsub.topic().await;
    let policy = DeadLetterPolicy::new().set_dead_letter_topic(pubsub.topic().await).set_max_delivery_attempts(5);
    let subscription = pubsub.subscription_with(&topic, |plain| plain.set_dead_letter_policy(policy)).await;
    let mut source = open(&pubsub, &subscription);
    let message = Message::new().set_data("payload").set_attributes([("source", "probe"), ("empty", "")]);
    let ids = pubsub.try_publish(&topic, [message]).await;

    for attempt in 1..=2 {
        let Delivery { envelope, receipt } = next(&mut source).await;
        assert_eq!(envelope.payload, "payload");
        assert_eq!((envelope.attributes.len(), &envelope.attributes["source"][..]), (2, "probe"));
        assert_eq!(Some(&envelope.message_id), ids[0].as_ref().ok());
        assert!(envelope.publish_time > SystemTime::UNIX_EPOCH);
        assert_eq!(envelope.delivery_attempt, Some(attempt));
        receipt.nack();
    }
}

#[tokio::test]
async fn an_unsettled_message_is_leased_beyond_its_ack_deadline() {
    let (pubsub, _) = Pubsub::dedicated().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    let mut source = open(&pubsub, &subscription);
    pubsub.publish(&topic, ["payload"]).await;

    let unsettled = next(&mut source).await;
    let redelivery = tokio::time::timeout(LEASE + Duration::from_secs(3), source.next()).await;

    assert!(redelivery.is_err(), "the message was redelivered while the consumer had it");
    unsettled.receipt.ack();
    pubsub.drained(&subscription).await;
    assert_eq!(pubsub.counts(&subscription).expired, 0);
}
