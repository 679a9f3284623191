//! The stream: shards and their records.

use std::fmt;
use std::time::Duration;

use super::BoxError;
use crate::record::Record;
use crate::sequence_number::SequenceNumber;
use crate::shard::{Shard, ShardId};

/// A DynamoDB stream. Each method makes one request. The reader retries, so an implementation should not retry for long.
pub trait Stream: Send + Sync + 'static {
    type Data: Send + Sync + 'static;

    /// Returns one page of shards. A listing may omit shards for a while: the reader asks again.
    fn describe(&self, after: Option<&ShardId>) -> impl Future<Output = Result<Listing, StreamError>> + Send;

    /// Returns the children of a shard (`ShardFilter` with `CHILD_SHARDS`). An error means only that they are searched
    /// in the listings, so servers without this filter may return an error.
    fn children(&self, parent: &ShardId) -> impl Future<Output = Result<Vec<Shard>, StreamError>> + Send;

    fn iterator(
        &self,
        shard: &ShardId,
        position: &IteratorPosition,
    ) -> impl Future<Output = Result<ShardIterator, StreamError>> + Send;

    /// Reads at most `limit` records, in the order of the shard. `shard` is that of the iterator.
    fn read(
        &self,
        shard: &ShardId,
        iterator: &ShardIterator,
        limit: usize,
    ) -> impl Future<Output = Result<Page<Self::Data>, StreamError>> + Send;

    /// Returns for how long the stream keeps records at least.
    fn retention(&self) -> Duration {
        Duration::from_secs(24 * 3600)
    }
}

/// A page of the description of a stream.
#[derive(Clone, Debug)]
pub struct Listing {
    pub shards: Vec<Shard>,
    /// The last shard of this page, if there are more.
    pub next: Option<ShardId>,
    /// False once the stream was disabled. Its records stay readable for a day.
    pub is_enabled: bool,
}

/// The position of an iterator in its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IteratorPosition {
    TrimHorizon,
    At(SequenceNumber),
    After(SequenceNumber),
}

/// An iterator, as the stream named it. It expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIterator(pub String);

/// The records of one read, and the iterator of the next one.
#[derive(Debug)]
pub struct Page<D> {
    pub records: Vec<Record<D>>,
    /// None at the end of the shard.
    pub next: Option<ShardIterator>,
}

/// What an error of the stream means for the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamErrorKind {
    Throttled,
    /// Iterators live for 15 minutes.
    ExpiredIterator,
    /// The stream has deleted the record at this position.
    Trimmed,
    /// The shard does not exist, although its stream does. For a listing, the stream or its position is missing. The reader
    /// believes it only after minutes.
    NotFound,
    /// The stream does not accept the position, although it is not trimmed.
    Invalid,
    /// The credentials do not permit the request.
    Denied,
    /// Everything else, such as network errors.
    Unavailable,
}

#[derive(Debug, thiserror::Error)]
#[error("{kind}: {source}")]
pub struct StreamError {
    pub kind: StreamErrorKind,
    pub source: BoxError,
}

impl StreamError {
    pub fn new(kind: StreamErrorKind, source: impl Into<BoxError>) -> StreamError {
        StreamError { kind, source: source.into() }
    }
}

impl fmt::Display for StreamErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamErrorKind::Throttled => "the stream throttles the request",
            StreamErrorKind::ExpiredIterator => "the shard iterator has expired",
            StreamErrorKind::Trimmed => "the stream has trimmed the position",
            StreamErrorKind::NotFound => "the shard or its stream does not exist",
            StreamErrorKind::Invalid => "the stream does not accept the position",
            StreamErrorKind::Denied => "the stream denies access",
            StreamErrorKind::Unavailable => "the request failed",
        })
    }
}
