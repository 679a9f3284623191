//! Flow control: the unsettled messages and bytes that a stream receives at most.

use crate::support::QUIET_PERIOD;
use crate::support::inbox::Inbox;
use crate::support::pubsub::Pubsub;
use crate::support::servers::PubsubServer;

#[tokio::test]
async fn a_stream_receives_no_more_unsettled_messages_than_its_limit() {
    let pubsub = Pubsub::connect().await;
    if pubsub.skips(PubsubServer::GoogleEmulator, "a stream receives no more messages than its limit") {
        return;
    }
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, (0..20).map(|n| n.to_string())).await;
    let mut inbox = Inbox::open(pubsub.subscribe(&subscription).set_max_outstanding_messages(5));

    let mut unsettled = inbox.take(5).await;
    assert!(inbox.next_within(QUIET_PERIOD).await.is_none(), "a sixth message came while five were unsettled");

    unsettled.drain(..2).for_each(|(_, handler)| handler.ack());
    unsettled.extend(inbox.take(2).await);
    assert!(inbox.next_within(QUIET_PERIOD).await.is_none(), "more than two messages came after two acks");

    unsettled.drain(..2).for_each(|(_, handler)| handler.nack());
    unsettled.extend(inbox.take(2).await);
    assert_eq!(unsettled.len(), 5, "two messages come after two nacks");
}

#[tokio::test]
async fn every_stream_has_its_own_limit() {
    let pubsub = Pubsub::connect().await;
    if pubsub.skips(PubsubServer::GoogleEmulator, "a stream receives no more messages than its limit") {
        return;
    }
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, (0..20).map(|n| n.to_string())).await;
    let limited = || Inbox::open(pubsub.subscribe(&subscription).set_max_outstanding_messages(5));
    let (mut one, mut two) = (limited(), limited());

    let _unsettled = (one.take(5).await, two.take(5).await);

    assert!(one.next_within(QUIET_PERIOD).await.is_none());
    assert!(two.next_within(QUIET_PERIOD).await.is_none());
}

/// A message may exceed the limit if the bytes before it are below the limit.
#[tokio::test]
async fn a_stream_receives_no_message_while_its_unsettled_bytes_are_at_the_limit() {
    let pubsub = Pubsub::connect().await;
    if pubsub.skips(PubsubServer::GoogleEmulator, "a stream receives no more bytes than its limit") {
        return;
    }
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, (0..10).map(|_| vec![b'x'; 100_000])).await;
    let mut inbox = Inbox::open(pubsub.subscribe(&subscription).set_max_outstanding_bytes(250_000));

    let mut unsettled = inbox.take(2).await;
    unsettled.extend(inbox.next_within(QUIET_PERIOD).await);
    assert!(inbox.next_within(QUIET_PERIOD).await.is_none(), "a fourth message came above the limit of bytes");

    for _ in unsettled.len()..10 {
        unsettled.remove(0).1.ack();
        unsettled.push(inbox.next().await);
    }
}

#[tokio::test]
async fn a_single_message_above_the_limit_of_bytes_is_delivered() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.topic_with_subscription().await;
    pubsub.publish(&topic, [vec![b'x'; 100_000]]).await;
    let mut inbox = Inbox::open(pubsub.subscribe(&subscription).set_max_outstanding_bytes(1_000));

    let (message, handler) = inbox.next().await;

    handler.ack();
    assert_eq!(message.data.len(), 100_000);
}
