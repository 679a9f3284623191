//! The keys of the process: which are being written, which scans wait, and which timestamps are durable. Sharded by key hash;
//! the mutex of a shard is never locked across an await.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::coalesce::{self, Coalescer, Work};
use super::high_water::HighWater;
use crate::consumer::delivery::{Claim, Message};
use crate::consumer::ports::Receipt;
use crate::consumer::settings::Settings;
use crate::scan::{Key, Scan};

/// More than there are threads, so that they rarely wait for each other.
const SHARDS: usize = 16;

/// Shared by all workers, because duplicates of a scan arrive on different streams.
pub struct Keys<R: Receipt> {
    shards: [Mutex<Shard<R>>; SHARDS],
    /// Not randomized, so that a seed of the simulation also reproduces which entries are evicted.
    hasher: BuildHasherDefault<DefaultHasher>,
    /// How often the cache was cleared.
    generation: AtomicU64,
    last_sweep: Mutex<Instant>,
}

struct Shard<R: Receipt> {
    coalescer: Coalescer<Job<R>>,
    marks: HighWater,
}

/// A decoded scan with its message and the slot that it holds.
pub(crate) struct Job<R: Receipt> {
    /// Shared with the batch that contains it.
    pub(crate) scan: Arc<Scan>,
    pub(crate) message: Box<Message<R>>,
    pub(crate) slot: OwnedSemaphorePermit,
}

impl<R: Receipt> Work for Job<R> {
    type Receipt = Claim<R>;

    fn key(&self) -> &Key {
        &self.scan.key
    }

    fn timestamp(&self) -> u64 {
        self.scan.timestamp
    }

    fn receipt(&self) -> &Claim<R> {
        &self.message.claim
    }

    fn into_receipt(self) -> Claim<R> {
        self.message.claim
    }
}

/// What to do with a decoded scan.
pub(crate) enum Admission<'a, R: Receipt> {
    /// Write it.
    Write(Job<R>, Writer<'a, R>),
    /// Nothing: the task that writes its key settles it.
    Waits,
    /// Settle it: the store is known to hold it or a newer one.
    Known(Job<R>),
}

/// What a successful answer of the store proves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof {
    /// The minimum timestamp of the record.
    pub(crate) timestamp: u64,
    /// The value of [`Keys::generation`] before the write was sent.
    pub(crate) generation: u64,
}

impl<R: Receipt> Keys<R> {
    pub fn new(settings: &Settings) -> Keys<R> {
        let Settings { cache_entries, cache_max_age, .. } = *settings;
        let start = Instant::now();
        let shard = || Shard {
            coalescer: Coalescer::default(),
            marks: HighWater::new(cache_entries.div_ceil(SHARDS), cache_max_age, start),
        };
        Keys {
            shards: std::array::from_fn(|_| Mutex::new(shard())),
            hasher: BuildHasherDefault::default(),
            generation: AtomicU64::new(0),
            last_sweep: Mutex::new(start),
        }
    }

    /// Decides what to do with a decoded scan.
    pub(crate) fn admit(&self, job: Job<R>) -> Admission<'_, R> {
        let mut shard = self.shard(&job.scan.key);
        let mark = shard.marks.mark(&job.scan.key);
        if mark.is_some_and(|mark| shard.marks.covers(mark, job.scan.timestamp, Instant::now())) {
            return Admission::Known(job);
        }
        match shard.coalescer.admit(job) {
            coalesce::Admission::Write(job) => {
                let writer = Writer { keys: self, key: Some(job.scan.key.clone()), has_record: mark.is_some() };
                Admission::Write(job, writer)
            }
            coalesce::Admission::Waits => Admission::Waits,
        }
    }

    /// Returns how often the cache was cleared.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Clears the cache, because the table may be replaced by another. Older proofs do not count any more.
    pub(crate) fn clear_cache(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            lock(shard).marks.clear();
        }
    }

    /// Removes the receipts that reached their maximum age while they waited for a write. Searches at most once per
    /// `interval`, whichever worker calls it.
    pub(crate) fn take_old(&self, interval: Duration) -> Vec<Claim<R>> {
        let now = Instant::now();
        {
            let mut last_sweep = self.last_sweep.lock().unwrap_or_else(PoisonError::into_inner);
            if now.duration_since(*last_sweep) < interval {
                return Vec::new();
            }
            *last_sweep = now;
        }
        let mut old = Vec::new();
        for shard in &self.shards {
            old.extend(lock(shard).coalescer.take_old(|claim| claim.deadline <= now));
        }
        // Maps have no order, but a seed of the simulation must always give the same result.
        old.sort_by_key(|claim| claim.deadline);
        old
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard<R>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash are suitable")]
        let number = self.hasher.hash_one(key) as usize % SHARDS;
        lock(&self.shards[number])
    }
}

fn lock<R: Receipt>(shard: &Mutex<Shard<R>>) -> MutexGuard<'_, Shard<R>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The exclusive right to write a key. Dropping it nacks the messages of all waiting scans.
pub(crate) struct Writer<'a, R: Receipt> {
    keys: &'a Keys<R>,
    /// `None` when the key is free again.
    key: Option<Key>,
    /// Whether the store is known to have a record of the key.
    has_record: bool,
}

impl<R: Receipt> Writer<'_, R> {
    pub(crate) fn has_record(&self) -> bool {
        self.has_record
    }

    /// Replaces the scan to write in the next attempt by a newer waiting scan, if there is one.
    pub(crate) fn take_newest(&self, job: &mut Job<R>) {
        self.keys.shard(&job.scan.key).coalescer.take_newest(job);
    }

    /// Ends a write. Returns the receipts to settle with it, and the scan to write next. A proof also settles waiting scans
    /// up to its timestamp.
    pub(crate) fn finish(&mut self, proof: Option<Proof>) -> (Vec<Claim<R>>, Option<Job<R>>) {
        let Some(key) = &self.key else { return (Vec::new(), None) };
        let mut shard = self.keys.shard(key);
        let (mut superseded, mut next) = shard.coalescer.finish(key);
        self.has_record |= proof.is_some();
        if let Some(Proof { timestamp, generation }) = proof {
            if generation == self.keys.generation() {
                shard.marks.record(key, timestamp, Instant::now());
            }
            while let Some(job) = next.take_if(|job| job.scan.timestamp <= timestamp) {
                superseded.push(job.into_receipt());
                let (more, behind) = shard.coalescer.finish(key);
                superseded.extend(more);
                next = behind;
            }
        }
        drop(shard);
        if next.is_none() {
            self.key = None;
        }
        (superseded, next)
    }
}

impl<R: Receipt> Drop for Writer<'_, R> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            // Unlocks the shard before the receipts are nacked.
            let receipts = self.keys.shard(key).coalescer.abandon(key);
            drop(receipts);
        }
    }
}
