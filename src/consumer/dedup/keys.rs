//! The keys of the process: who writes each, what waits behind it, and what is known to be durable. Shards by key hash,
//! each behind a mutex that is never held over an await.

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

/// More than there are threads, so that two of them rarely meet.
const SHARDS: usize = 16;

/// One for the whole process: duplicates of a scan arrive on different streams.
pub struct Keys<R: Receipt> {
    shards: [Mutex<Shard<R>>; SHARDS],
    /// With fixed keys, so that a seed of the simulation replays which entries are forgotten.
    hasher: BuildHasherDefault<DefaultHasher>,
    /// How often everything was forgotten.
    generation: AtomicU64,
    swept: Mutex<Instant>,
}

struct Shard<R: Receipt> {
    coalescer: Coalescer<Job<R>>,
    marks: HighWater,
}

/// A scan in hand: what may be written, and what it holds until it is settled.
pub(crate) struct Job<R: Receipt> {
    /// Shared with the call that carries it.
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

/// What becomes of a scan that was just decoded.
pub(crate) enum Admission<'a, R: Receipt> {
    /// Its key is free: it is to be written.
    Write(Job<R>, Writer<'a, R>),
    /// Whoever writes its key settles it.
    Waits,
    /// The store is known to hold it, or a newer one.
    Known(Job<R>),
}

/// What an answer of the store proves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof {
    /// The record is this new at least.
    pub(crate) timestamp: u64,
    /// Of [`Keys::generation`] before the store was asked.
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
            swept: Mutex::new(start),
        }
    }

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

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Forgets what is durable: the table is not the one that was written to. Proofs of before count no more.
    pub(crate) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            lock(shard).marks.clear();
        }
    }

    /// Takes out the receipts that have reached their age while they waited behind a write; looked for once in an
    /// `interval`, by whichever worker comes first.
    pub(crate) fn take_old(&self, interval: Duration) -> Vec<Claim<R>> {
        let now = Instant::now();
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if now.duration_since(*swept) < interval {
                return Vec::new();
            }
            *swept = now;
        }
        let mut old = Vec::new();
        for shard in &self.shards {
            old.extend(lock(shard).coalescer.take_old(|claim| claim.deadline <= now));
        }
        // Maps have no order, and what happens must follow from the seed of a simulation alone.
        old.sort_by_key(|claim| claim.deadline);
        old
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard<R>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let number = self.hasher.hash_one(key) as usize % SHARDS;
        lock(&self.shards[number])
    }
}

fn lock<R: Receipt>(shard: &Mutex<Shard<R>>) -> MutexGuard<'_, Shard<R>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one who writes a key. Dropping it gives back everything that waits behind it.
pub(crate) struct Writer<'a, R: Receipt> {
    keys: &'a Keys<R>,
    /// Until the key is free again.
    key: Option<Key>,
    /// Whether the store held a record of the key when it was last heard of.
    has_record: bool,
}

impl<R: Receipt> Writer<'_, R> {
    pub(crate) fn has_record(&self) -> bool {
        self.has_record
    }

    /// The scan to write in the next attempt: this one, or the newest that waits behind it.
    pub(crate) fn newest(&self, job: Job<R>) -> Job<R> {
        self.keys.shard(&job.scan.key).coalescer.newest(job)
    }

    /// The write in hand is over: the receipts that settle with it, and the scan to write next. A proof settles what
    /// waits as well, as far as it reaches.
    pub(crate) fn finish(&mut self, proof: Option<Proof>) -> (Vec<Claim<R>>, Option<Job<R>>) {
        let Some(key) = &self.key else { return (Vec::new(), None) };
        let mut shard = self.keys.shard(key);
        let (mut carried, mut next) = shard.coalescer.finish(key);
        self.has_record |= proof.is_some();
        if let Some(Proof { timestamp, generation }) = proof {
            if generation == self.keys.generation() {
                shard.marks.learn(key, timestamp, Instant::now());
            }
            while let Some(job) = next.take_if(|job| job.scan.timestamp <= timestamp) {
                carried.push(job.into_receipt());
                let (more, behind) = shard.coalescer.finish(key);
                carried.extend(more);
                next = behind;
            }
        }
        drop(shard);
        if next.is_none() {
            self.key = None;
        }
        (carried, next)
    }
}

impl<R: Receipt> Drop for Writer<'_, R> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            // Out of the lock before the receipts settle.
            let waiting = self.keys.shard(key).coalescer.abandon(key);
            drop(waiting);
        }
    }
}
