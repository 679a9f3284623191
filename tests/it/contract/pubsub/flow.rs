//! Flow control: the unsettled messages and bytes that a stream receives at most.

use crate::support::inbox::{Delivery, Inbox};
use crate::support::pubsub::Pubsub;
use crate::support::servers::PubsubServer;

/// Takes `count` messages on a new stream. They must be all that the other streams have not received, so a stream that
/// exceeds its limit leaves too few.
async fn others(pubsub: &Pubsub, subscription: &str, count: usize) -> (Inbox, Vec<Delivery>) {
    let mut inbox = pubsub.open(subscription);
    let others = inbox.take(count).await;
    assert_eq!(pubsub.counts(subscription).ready, 0);
    (inbox, others)
}

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
    unsettled.drain(..2).for_each(|(_, handler)| handler.ack());
    unsettled.extend(inbox.take(2).await);
    unsettled.drain(..2).for_each(|(_, handler)| handler.nack());
    unsettled.extend(inbox.take(2).await);

    // Two messages are acked and five are unsettled.
    let _others = others(&pubsub, &subscription, 13).await;
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

    let _others = others(&pubsub, &subscription, 10).await;
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

    let mut unsettled = inbox.take(3).await;
    for _ in 0..4 {
        unsettled.remove(0).1.ack();
        unsettled.push(inbox.next().await);
    }

    let _others = others(&pubsub, &subscription, 3).await;
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
