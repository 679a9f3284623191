//! A stream whose records are decoded as they arrive.

use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodbstreams::types::Record as AwsRecord;

use super::stream::DynamoDbStream;
use crate::lease::LeaseKeys;
use crate::ports::{IteratorPosition, Listing, Page, ShardIterator, Stream, StreamError};
use crate::record::Record;
use crate::shard::{Shard, ShardId};

/// A stream of a DynamoDB table whose records are those of a program.
pub struct DecodedStream<T> {
    stream: DynamoDbStream,
    decode: fn(AwsRecord) -> T,
}

impl<T> DecodedStream<T> {
    pub fn new(stream: DynamoDbStream, decode: fn(AwsRecord) -> T) -> DecodedStream<T> {
        DecodedStream { stream, decode }
    }

    /// Returns the keys of this stream's leases for an application.
    pub fn lease_keys(&self, application: &str) -> LeaseKeys {
        self.stream.lease_keys(application)
    }
}

impl<T> fmt::Debug for DecodedStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DecodedStream").field(&self.stream).finish()
    }
}

impl<T: Send + Sync + 'static> Stream for DecodedStream<T> {
    type Data = Arc<T>;

    async fn describe(&self, after: Option<&ShardId>) -> Result<Listing, StreamError> {
        self.stream.describe(after).await
    }

    async fn children(&self, parent: &ShardId) -> Result<Vec<Shard>, StreamError> {
        self.stream.children(parent).await
    }

    async fn iterator(&self, shard: &ShardId, position: &IteratorPosition) -> Result<ShardIterator, StreamError> {
        self.stream.iterator(shard, position).await
    }

    async fn read(&self, shard: &ShardId, iterator: &ShardIterator, limit: usize) -> Result<Page<Arc<T>>, StreamError> {
        let Page { records, next } = self.stream.read(shard, iterator, limit).await?;
        let records =
            records.into_iter().map(|Record { shard, sequence_number, key, created, bytes, read_at, data }| Record {
                shard,
                sequence_number,
                key,
                created,
                bytes,
                read_at,
                data: Arc::new((self.decode)(data)),
            });
        Ok(Page { records: records.collect(), next })
    }
}
