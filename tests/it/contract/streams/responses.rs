//! What the server's responses mean: listings, records, and errors that must not be confused.

use dynamodb_streams::{
    DynamoDbStream, IteratorPosition, SequenceNumber, ShardId, ShardIterator, Stream, StreamErrorKind,
};

use super::source::Source;
use crate::support::servers::DynamoServer;
use crate::support::with_timeout;

async fn only_shard(stream: &DynamoDbStream) -> ShardId {
    let listing = with_timeout("a listing", stream.describe(None)).await.expect("the stream is described");
    assert!(listing.next.is_none() && listing.is_enabled, "{listing:?}");
    assert_eq!(listing.shards.len(), 1, "{listing:?}");
    listing.shards[0].id.clone()
}

#[tokio::test]
async fn a_page_contains_the_records_in_order_up_to_the_limit() {
    let source = Source::new().await;
    source.write(0..10).await;
    let stream = source.stream().await;
    let shard = only_shard(&stream).await;

    let iterator = stream.iterator(&shard, &IteratorPosition::TrimHorizon).await.expect("an iterator");
    let first = stream.read(&shard, &iterator, 4).await.expect("a page");
    let second = stream.read(&shard, &first.next.expect("an open shard"), 1000).await.expect("a page");

    assert_eq!((first.records.len(), second.records.len()), (4, 6));
    let records: Vec<_> = first.records.iter().chain(&second.records).collect();
    assert!(records.is_sorted_by(|one, two| one.sequence_number < two.sequence_number), "{records:?}");
    assert!(records.iter().all(|record| record.created.is_some() && record.bytes > 0), "{records:?}");
    assert_eq!(records[0].key, records[5].key, "both are of one item");
    assert_ne!(records[0].key, records[1].key);
    let after = IteratorPosition::After(records[6].sequence_number.clone());
    let at = IteratorPosition::At(records[6].sequence_number.clone());
    for (position, expected) in [(after, 3), (at, 4)] {
        let iterator = stream.iterator(&shard, &position).await.expect("an iterator");
        assert_eq!(stream.read(&shard, &iterator, 1000).await.expect("a page").records.len(), expected, "{position:?}");
    }
}

#[tokio::test]
async fn a_shard_without_children_has_none_even_if_the_server_ignores_the_filter() {
    let source = Source::new().await;
    let stream = source.stream().await;
    let shard = only_shard(&stream).await;

    match stream.children(&shard).await {
        Ok(children) => assert_eq!(children, []),
        Err(error) => assert_eq!(error.kind, StreamErrorKind::Invalid, "{error}"),
    }
}

#[tokio::test]
async fn a_missing_stream_is_not_a_missing_shard() {
    let source = Source::new().await;
    let shard = only_shard(&source.stream().await).await;
    let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/missing-table/stream/2026-11-21T20:00:00.000";
    let missing = DynamoDbStream::new(&source.dynamo.streams(), arn);

    let error = missing.iterator(&shard, &IteratorPosition::TrimHorizon).await.expect_err("there is no stream");
    assert_eq!(error.kind, StreamErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("the stream does not exist"), "{error}");
    assert_eq!(missing.describe(None).await.expect_err("there is no stream").kind, StreamErrorKind::NotFound);
}

#[tokio::test]
async fn a_shard_that_is_gone_is_not_found() {
    let source = Source::new().await;
    if source.dynamo.skips(DynamoServer::Dynoxide, "a missing shard has no iterator") {
        return;
    }
    let stream = source.stream().await;
    let gone = ShardId::new("shardId-00000001600000000000-0a1b2c3d");

    let error = stream.iterator(&gone, &IteratorPosition::TrimHorizon).await.expect_err("there is no such shard");
    assert_eq!(error.kind, StreamErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn an_iterator_that_the_server_does_not_know_is_renewed() {
    let source = Source::new().await;
    let stream = source.stream().await;
    let (shard, iterator) = (only_shard(&stream).await, ShardIterator("unknown".to_owned()));

    let error = stream.read(&shard, &iterator, 10).await.expect_err("there is no such iterator");
    assert_eq!(error.kind, StreamErrorKind::ExpiredIterator, "{error}");
}

#[tokio::test]
async fn a_position_that_the_stream_lacks_is_trimmed_or_invalid() {
    let source = Source::new().await;
    source.write(0..1).await;
    let stream = source.stream().await;
    let shard = only_shard(&stream).await;

    let old = IteratorPosition::After(SequenceNumber::new("000000000000000000001"));
    let error = match stream.iterator(&shard, &old).await {
        Err(error) => error,
        Ok(iterator) => stream.read(&shard, &iterator, 10).await.expect_err("the position does not exist"),
    };
    assert!(matches!(error.kind, StreamErrorKind::Trimmed | StreamErrorKind::Invalid), "{error}");
}
