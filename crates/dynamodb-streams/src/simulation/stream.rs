//! The simulated stream of one instance: listings that omit shards or are out of date, iterators that expire, trimmed
//! records, shards that it denies for a while, and an account that limits descriptions.

use std::time::{Duration, SystemTime};

use rand::Rng;
use tokio::time::Instant;

use super::world::{LiveRecord, SimShard, State, World};
use crate::ports::{IteratorPosition, Listing, Page, ShardIterator, Stream, StreamError, StreamErrorKind};
use crate::record::Record;
use crate::sequence_number::SequenceNumber;
use crate::shard::{Shard, ShardId};

/// The most descriptions per second.
const DESCRIPTIONS: usize = 10;
/// How long listings omit a shard at most, when it is new and from time to time.
const OMITTED: Duration = Duration::from_secs(8);
/// The memory of most records. Some are much larger.
pub(super) const RECORD_BYTES: usize = 100;

/// The stream, as one instance sees it.
pub(super) struct SimStream {
    pub(super) world: World,
    pub(super) instance: String,
}

/// What a simulated record contains: its shard.
pub(super) struct Data {
    pub(super) shard: ShardId,
    pub(super) number: u64,
    _live: LiveRecord,
}

fn error(kind: StreamErrorKind) -> StreamError {
    StreamError::new(kind, "simulated")
}

impl SimStream {
    async fn call<A>(&self, answer: impl FnOnce(&mut State) -> Result<A, StreamErrorKind>) -> Result<A, StreamError> {
        if self.world.travel(&self.instance).await {
            let kinds = [StreamErrorKind::Throttled, StreamErrorKind::Unavailable];
            return Err(error(kinds[self.world.state().random.random_range(0..2)]));
        }
        if self.world.state().denied.contains(&self.instance) {
            self.world.state().count("denied requests");
            return Err(error(StreamErrorKind::Denied));
        }
        let slow = self.world.state().happens(|faults| faults.is_late / 4.0, "late answers of the stream");
        let result = answer(&mut self.world.state()).map_err(error);
        if slow {
            let time = self.world.state().random.random_range(1..30);
            tokio::time::sleep(Duration::from_secs(time)).await;
        }
        result
    }
}

/// Returns the shards that a listing shows, in the order of their ids.
fn shown(state: &mut State) -> Vec<Shard> {
    let now = Instant::now();
    let may_omit_all = ((now - state.began).as_secs() / OMITTED.as_secs()).is_multiple_of(4);
    let is_shown = |shard: &&SimShard| shard.visible <= now && (!shard.is_gone || now < shard.shown_until);
    let may_omit = |shard: &SimShard| may_omit_all || now < shard.visible + OMITTED;
    let all: Vec<_> =
        state.shards.values().filter(is_shown).map(|shard| (shard.shard.clone(), may_omit(shard))).collect();
    let mut is_omitted = |may_omit| may_omit && state.happens(|faults| faults.omits, "omitted shards");
    all.into_iter().filter(|(_, may_omit)| !is_omitted(*may_omit)).map(|(shard, _)| shard).collect()
}

/// Refuses descriptions above the limit of the account.
fn describe(state: &mut State) -> Result<(), StreamErrorKind> {
    let now = Instant::now();
    state.described.retain(|time| now - *time < Duration::from_secs(1));
    if state.described.len() >= DESCRIPTIONS {
        state.count("throttled descriptions");
        return Err(StreamErrorKind::Throttled);
    }
    state.described.push_back(now);
    Ok(())
}

/// DynamoDB Local rounds the times of records down to minutes.
fn in_minutes(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs() / 60 * 60)
}

/// Returns the index of the first record of a position.
fn index_of(sim: &SimShard, position: &IteratorPosition) -> Result<usize, StreamErrorKind> {
    let value = |number: &SequenceNumber| number.as_str().parse::<u64>().unwrap();
    let newest_trimmed = sim.records[..sim.trimmed].last().map(|record| record.number);
    let is_trimmed = |number: u64| newest_trimmed.is_some_and(|newest| number <= newest);
    match position {
        IteratorPosition::TrimHorizon => Ok(sim.trimmed),
        IteratorPosition::At(number) | IteratorPosition::After(number) if is_trimmed(value(number)) => {
            Err(StreamErrorKind::Trimmed)
        }
        IteratorPosition::At(number) => Ok(sim.records.partition_point(|record| record.number < value(number))),
        IteratorPosition::After(number) => Ok(sim.records.partition_point(|record| record.number <= value(number))),
    }
}

impl Stream for SimStream {
    type Data = Data;

    async fn describe(&self, after: Option<&ShardId>) -> Result<Listing, StreamError> {
        self.call(|state| {
            describe(state)?;
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
        self.call(|state| {
            describe(state)?;
            if !state.faults.knows_filter {
                state.count("unknown filters");
                return Err(StreamErrorKind::Invalid);
            }
            Ok(shown(state).into_iter().filter(|shard| shard.parent.as_ref() == Some(parent)).collect())
        })
        .await
    }

    async fn iterator(&self, shard: &ShardId, position: &IteratorPosition) -> Result<ShardIterator, StreamError> {
        self.call(|state| {
            let now = Instant::now();
            let is_hidden = state.hidden.get(shard).is_some_and(|until| now < *until);
            if is_hidden || state.happens(|faults| faults.not_found, "shards that were not found once") {
                return Err(StreamErrorKind::NotFound);
            }
            let sim = state.shards.get(shard).filter(|shard| !shard.is_gone).ok_or(StreamErrorKind::NotFound)?;
            let index = index_of(sim, position);
            if index.is_err() && state.happens(|faults| faults.invalid, "invalid positions") {
                return Err(StreamErrorKind::Invalid);
            }
            Ok(ShardIterator(format!("{shard}|{}|{}", index?, (now - state.began).as_millis())))
        })
        .await
    }

    async fn read(&self, _: &ShardId, iterator: &ShardIterator, limit: usize) -> Result<Page<Data>, StreamError> {
        let live = self.world.live().clone();
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
            let is_missing = state.happens(|faults| faults.not_found, "iterators of shards that were not found once");
            if state.shards[&shard].is_gone || is_missing {
                return Err(StreamErrorKind::NotFound);
            }
            if index < state.shards[&shard].trimmed {
                return Err(StreamErrorKind::Trimmed);
            }
            let count = state.random.random_range(0..=limit.min(20));
            let sim = &state.shards[&shard];
            let records = sim.records[index..].iter().take(count).map(|record| Record {
                shard: shard.clone(),
                sequence_number: SequenceNumber::new(record.number.to_string()),
                key: record.key,
                created: Some(in_minutes(state.wall(record.created))),
                bytes: record.bytes,
                read_at: Instant::now(),
                data: Data { shard: shard.clone(), number: record.number, _live: live.record(record.bytes) },
            });
            let records: Vec<_> = records.collect();
            let next = index + records.len();
            let is_end = sim.closed.is_some() && next == sim.records.len();
            let next = (!is_end).then(|| ShardIterator(format!("{shard}|{next}|{now}")));
            Ok(Page { records, next })
        })
        .await
    }

    fn retention(&self) -> Duration {
        self.world.state().retention.unwrap_or(Duration::from_secs(24 * 3600))
    }
}
