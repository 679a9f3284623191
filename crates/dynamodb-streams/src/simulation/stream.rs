//! The simulated stream: listings that omit shards, iterators that expire, and trimmed records.

use std::time::{Duration, SystemTime};

use rand::Rng;
use tokio::time::Instant;

use super::world::{LiveRecord, SimShard, State, World};
use crate::ports::{IteratorPosition, Listing, Page, ShardIterator, Stream, StreamError, StreamErrorKind};
use crate::record::Record;
use crate::sequence_number::SequenceNumber;
use crate::shard::{Shard, ShardId};

/// What a simulated record contains: its shard.
pub(super) struct Data {
    pub(super) shard: ShardId,
    pub(super) number: u64,
    _live: LiveRecord,
}

fn error(kind: StreamErrorKind) -> StreamError {
    StreamError::new(kind, "simulated")
}

impl World {
    async fn call<A>(&self, answer: impl FnOnce(&mut State) -> Result<A, StreamErrorKind>) -> Result<A, StreamError> {
        if self.travel().await {
            let kinds = [StreamErrorKind::Throttled, StreamErrorKind::Unavailable];
            return Err(error(kinds[self.state().random.random_range(0..2)]));
        }
        let slow = self.state().happens(|faults| faults.is_late / 4.0, "late answers of the stream");
        let result = answer(&mut self.state()).map_err(error);
        if slow {
            let time = self.state().random.random_range(1..30);
            tokio::time::sleep(Duration::from_secs(time)).await;
        }
        result
    }
}

/// Returns the shards that a listing shows, in the order of their ids.
fn shown(state: &mut State) -> Vec<Shard> {
    let now = Instant::now();
    let all: Vec<_> = state.shards.values().filter(|shard| !shard.is_gone && shard.visible <= now).cloned_shards();
    all.into_iter().filter(|_| !state.happens(|faults| faults.omits, "omitted shards")).collect()
}

/// DynamoDB Local rounds the times of records down to minutes.
fn in_minutes(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs() / 60 * 60)
}

trait ClonedShards {
    fn cloned_shards(self) -> Vec<Shard>;
}

impl<'a, I: Iterator<Item = &'a SimShard>> ClonedShards for I {
    fn cloned_shards(self) -> Vec<Shard> {
        self.map(|shard| shard.shard.clone()).collect()
    }
}

impl Stream for World {
    type Data = Data;

    async fn describe(&self, after: Option<&ShardId>) -> Result<Listing, StreamError> {
        self.call(|state| {
            let limit = state.random.random_range(1..5);
            let mut shards: Vec<_> =
                shown(state).into_iter().filter(|shard| after.is_none_or(|id| shard.id > *id)).collect();
            let is_cut = shards.len() > limit;
            shards.truncate(limit);
            let next = shards.last().filter(|_| is_cut).map(|shard| shard.id.clone());
            Ok(Listing { shards, next, is_enabled: state.is_enabled })
        })
        .await
    }

    async fn children(&self, parent: &ShardId) -> Result<Vec<Shard>, StreamError> {
        self.call(|state| Ok(shown(state).into_iter().filter(|shard| shard.parent.as_ref() == Some(parent)).collect()))
            .await
    }

    async fn iterator(&self, shard: &ShardId, position: &IteratorPosition) -> Result<ShardIterator, StreamError> {
        self.call(|state| {
            let now = (Instant::now() - state.began).as_millis();
            let sim = state.shards.get(shard).filter(|shard| !shard.is_gone).ok_or(StreamErrorKind::NotFound)?;
            let kept = &sim.records[sim.trimmed..];
            let index = match position {
                IteratorPosition::TrimHorizon => sim.trimmed,
                IteratorPosition::At(_) if sim.trimmed > 0 => return Err(StreamErrorKind::Trimmed),
                IteratorPosition::At(_) => 0,
                IteratorPosition::After(number) => {
                    let index = kept.iter().position(|record| record.number.to_string() == number.as_str());
                    sim.trimmed + index.ok_or(StreamErrorKind::Trimmed)? + 1
                }
            };
            Ok(ShardIterator(format!("{shard}|{index}|{now}")))
        })
        .await
    }

    async fn read(&self, _: &ShardId, iterator: &ShardIterator, limit: usize) -> Result<Page<Data>, StreamError> {
        let live = self.live().clone();
        self.call(|state| {
            let mut parts = iterator.0.split('|');
            let shard = ShardId::new(parts.next().unwrap());
            let index: usize = parts.next().unwrap().parse().unwrap();
            let made: u64 = parts.next().unwrap().parse().unwrap();
            let now = (Instant::now() - state.began).as_millis() as u64;
            let is_old = now - made > state.faults.iterator_age.as_millis() as u64;
            if is_old || state.happens(|faults| faults.expires, "expired iterators") {
                return Err(StreamErrorKind::ExpiredIterator);
            }
            let sim = &state.shards[&shard];
            if sim.is_gone {
                return Err(StreamErrorKind::NotFound);
            }
            if index < sim.trimmed {
                return Err(StreamErrorKind::Trimmed);
            }
            let count = state.random.random_range(0..=limit.min(20));
            let sim = &state.shards[&shard];
            let records = sim.records[index..].iter().take(count).map(|record| Record {
                shard: shard.clone(),
                sequence_number: SequenceNumber::new(record.number.to_string()),
                key: record.key,
                created: Some(in_minutes(state.wall(record.created))),
                bytes: 100,
                read_at: Instant::now(),
                data: Data { shard: shard.clone(), number: record.number, _live: live.record() },
            });
            let records: Vec<_> = records.collect();
            let next = index + records.len();
            let is_end = sim.closed.is_some() && next == sim.records.len();
            let next = (!is_end).then(|| ShardIterator(format!("{shard}|{next}|{now}")));
            Ok(Page { records, next })
        })
        .await
    }
}
