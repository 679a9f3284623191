//! Flow control: how much a stream is given before something of it is settled.

use crate::support::QUIET;
use crate::support::inbox::Inbox;
use crate::support::pubsub::Pubsub;
use crate::support::servers::PubsubServer;

#[tokio::test]
async fn a_stream_gets_no_more_unsettled_messages_than_its_limit() {
    let pubsub = Pubsub::connect().await;
    if pubsub.excuses(PubsubServer::GoogleEmulator, "a stream gets no more messages than its limit") {
        return;
    }
    let (topic, subscription) = pubsub.pair().await;
    pubsub.publish(&topic, (0..20).map(|n| n.to_string())).await;
    let mut inbox = Inbox::open(pubsub.subscribe(&subscription).set_max_outstanding_messages(5));

    let mut held = inbox.take(5).await;
    assert!(inbox.next_within(QUIET).await.is_none(), "a sixth message came while five were unsettled");

    held.drain(..2).for_each(|(_, handler)| handler.ack());
    held.extend(inbox.take(2).await);
    assert!(inbox.next_within(QUIET).await.is_none(), "two acks made room for more than two messages");

    held.drain(..2).for_each(|(_, handler)| handler.nack());
    held.extend(inbox.take(2).await);
    assert_eq!(held.len(), 5, "nacks make room as well");
}

#[tokio::test]
async fn every_stream_has_a_limit_of_its_own() {
    let pubsub = Pubsub::connect().await;
    if pubsub.excuses(PubsubServer::GoogleEmulator, "a stream gets no more messages than its limit") {
        return;
    }
    let (topic, subscription) = pubsub.pair().await;
    pubsub.publish(&topic, (0..20).map(|n| n.to_string())).await;
    let limited = || Inbox::open(pubsub.subscribe(&subscription).set_max_outstanding_messages(5));
    let (mut one, mut two) = (limited(), limited());

    let _held = (one.take(5).await, two.take(5).await);

    assert!(one.next_within(QUIET).await.is_none());
    assert!(two.next_within(QUIET).await.is_none());
}

/// A message may start below the limit and end above it; none starts at or above it.
#[tokio::test]
async fn a_stream_gets_no_message_while_its_unsettled_bytes_are_at_their_limit() {
    let pubsub = Pubsub::connect().await;
    if pubsub.excuses(PubsubServer::GoogleEmulator, "a stream gets no more bytes than its limit") {
        return;
    }
    let (topic, subscription) = pubsub.pair().await;
    pubsub.publish(&topic, (0..10).map(|_| vec![b'x'; 100_000])).await;
    let mut inbox = Inbox::open(pubsub.subscribe(&subscription).set_max_outstanding_bytes(250_000));

    let mut held = inbox.take(2).await;
    held.extend(inbox.next_within(QUIET).await);
    assert!(inbox.next_within(QUIET).await.is_none(), "a fourth message came above the limit of bytes");

    for _ in held.len()..10 {
        held.remove(0).1.ack();
        held.push(inbox.next().await);
    }
}

#[tokio::test]
async fn a_message_above_the_limit_of_bytes_is_delivered_all_the_same() {
    let pubsub = Pubsub::connect().await;
    let (topic, subscription) = pubsub.pair().await;
    pubsub.publish(&topic, [vec![b'x'; 100_000]]).await;
    let mut inbox = Inbox::open(pubsub.subscribe(&subscription).set_max_outstanding_bytes(1_000));

    let (message, handler) = inbox.next().await;

    handler.ack();
    assert_eq!(message.data.len(), 100_000);
}
