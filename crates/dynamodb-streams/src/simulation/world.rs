//! The state that the simulated ports share: shards, rows, handled records, reported gaps and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use crate::lease::{Checkpoint, Lease};
use crate::ports::{Gap, GapCause, Observer, Report};
use crate::sequence_number::SequenceNumber;
use crate::shard::{Shard, ShardId};

#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>, Live);

/// Counts the records in the memory of readers.
#[derive(Clone, Default)]
pub(super) struct Live(Arc<AtomicUsize>, Arc<AtomicUsize>);

/// A record in memory.
pub(super) struct LiveRecord(Live);

impl Live {
    pub(super) fn record(&self) -> LiveRecord {
        let now = self.0.fetch_add(1, Relaxed) + 1;
        self.1.fetch_max(now, Relaxed);
        LiveRecord(self.clone())
    }

    pub(super) fn most(&self) -> usize {
        self.1.load(Relaxed)
    }
}

impl Drop for LiveRecord {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

pub(super) struct State {
    pub(super) random: StdRng,
    pub(super) faults: Faults,
    pub(super) began: Instant,
    pub(super) shards: BTreeMap<ShardId, SimShard>,
    next_number: u64,
    next_shard: u64,
    /// How many records each key has.
    keys: BTreeMap<u64, u64>,
    pub(super) rows: BTreeMap<String, Lease>,
    /// When a row was last written by its owner.
    pub(super) written: BTreeMap<String, Instant>,
    /// Rows that were deleted by hand, or taken from an owner that ignored a request. They may have two owners for a while.
    pub(super) disputed: BTreeSet<String>,
    /// Finished records by their number: done, or dead with a stored dead letter.
    pub(super) finished: BTreeMap<u64, Finished>,
    pub(super) gaps: Vec<Gap>,
    pub(super) counts: BTreeMap<&'static str, usize>,
    /// Records before it are not wanted.
    pub(super) start: Option<SystemTime>,
    pub(super) is_enabled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    Done,
    Dead,
}

pub(super) struct SimShard {
    pub(super) shard: Shard,
    pub(super) records: Vec<SimRecord>,
    /// How many of the first records are trimmed.
    pub(super) trimmed: usize,
    pub(super) keys: Vec<u64>,
    pub(super) closed: Option<Instant>,
    pub(super) is_gone: bool,
    /// Listings show the shard from then on.
    pub(super) visible: Instant,
}

#[derive(Clone, Debug)]
pub(super) struct SimRecord {
    pub(super) number: u64,
    pub(super) key: u64,
    /// The number among the records of its key.
    pub(super) of_key: u64,
    pub(super) created: Instant,
}

/// The probabilities of faults until a time.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    pub(super) until: Instant,
    pub(super) fails: f64,
    pub(super) is_late: f64,
    pub(super) loses_answer: f64,
    pub(super) omits: f64,
    pub(super) expires: f64,
    pub(super) handler_fails: f64,
    pub(super) iterator_age: Duration,
}

pub(super) const KEYS: u64 = 8;
/// Records of this key can never be handled.
pub(super) const POISON: u64 = 7;
pub(super) const FAILOVER: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn new(random: StdRng, faults: Faults) -> World {
        let now = Instant::now();
        let state = State {
            random,
            faults,
            began: now,
            shards: BTreeMap::new(),
            next_number: 100,
            next_shard: 1_700_000_000_000,
            keys: BTreeMap::new(),
            rows: BTreeMap::new(),
            written: BTreeMap::new(),
            disputed: BTreeSet::new(),
            finished: BTreeMap::new(),
            gaps: Vec::new(),
            counts: BTreeMap::new(),
            start: None,
            is_enabled: true,
        };
        World(Arc::new(Mutex::new(state)), Live::default())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn live(&self) -> &Live {
        &self.1
    }

    /// Waits as a request does, and returns whether it fails.
    pub(super) async fn travel(&self) -> bool {
        let (time, fails) = {
            let mut state = self.state();
            let fails = state.happens(|faults| faults.fails, "failed requests");
            (Duration::from_millis(state.random.random_range(1..40)), fails)
        };
        sleep(time).await;
        fails
    }
}

impl State {
    /// Decides whether a fault happens now, and counts it.
    pub(super) fn happens(&mut self, probability: impl Fn(&Faults) -> f64, name: &'static str) -> bool {
        let probability = probability(&self.faults);
        let happens = Instant::now() < self.faults.until && self.random.random_bool(probability);
        *self.counts.entry(name).or_default() += usize::from(happens);
        happens
    }

    pub(super) fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    pub(super) fn wall(&self, time: Instant) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + (time - self.began)
    }

    pub(super) fn open_shard(&mut self, parent: Option<&ShardId>, keys: Vec<u64>) {
        let age = (Instant::now() - self.began).as_millis() as u64;
        self.next_shard = (1_700_000_000_000 + age).max(self.next_shard + 1);
        let id = ShardId::new(format!("shardId-{:020}-{:08x}", self.next_shard, self.random.random::<u32>()));
        let longest = if Instant::now() < self.faults.until { 20_000 } else { 1 };
        let visible = Instant::now() + Duration::from_millis(self.random.random_range(0..longest));
        let starting_sequence_number = Some(SequenceNumber::new(self.next_number.to_string()));
        let shard = Shard { id: id.clone(), parent: parent.cloned(), starting_sequence_number };
        let shard = SimShard { shard, records: Vec::new(), trimmed: 0, keys, closed: None, is_gone: false, visible };
        self.shards.insert(id, shard);
    }

    /// Closes a random open shard. One or two children get its keys.
    pub(super) fn split(&mut self) {
        let open: Vec<_> = self.shards.values().filter(|shard| shard.closed.is_none()).collect();
        let id = open[self.random.random_range(0..open.len())].shard.id.clone();
        let parent = self.shards.get_mut(&id).unwrap();
        parent.closed = Some(Instant::now());
        let mut keys = parent.keys.clone();
        if keys.len() > 1 && self.random.random() {
            let at = self.random.random_range(1..keys.len());
            let other = keys.split_off(at);
            self.open_shard(Some(&id), other);
        }
        self.open_shard(Some(&id), keys);
        self.count("closed shards");
    }

    /// Closes all shards without children.
    pub(super) fn disable(&mut self) {
        self.is_enabled = false;
        let now = Instant::now();
        self.shards.values_mut().for_each(|shard| shard.closed = Some(now));
    }

    pub(super) fn write_record(&mut self, key: u64) {
        let of_key = *self.keys.entry(key).and_modify(|count| *count += 1).or_insert(1);
        self.next_number += self.random.random_range(1..50);
        let record = SimRecord { number: self.next_number, key, of_key, created: Instant::now() };
        let shard = self.shards.values_mut().find(|shard| shard.closed.is_none() && shard.keys.contains(&key));
        shard.expect("each key has an open shard").records.push(record);
        self.count("records");
    }

    /// Trims records of this age. A closed shard without records is gone.
    pub(super) fn trim(&mut self, age: Duration) {
        let now = Instant::now();
        for shard in self.shards.values_mut() {
            shard.trimmed = shard.records.iter().take_while(|record| now - record.created > age).count();
            let is_empty = shard.trimmed == shard.records.len();
            shard.is_gone = is_empty && shard.closed.is_some_and(|closed| now - closed > age);
        }
    }

    /// Returns whether nobody must handle a record any more: it is finished, before the start, or in a reported gap.
    pub(super) fn is_settled(&self, shard: &SimShard, index: usize) -> bool {
        let record = &shard.records[index];
        let is_before_start = self.start.is_some_and(|start| self.wall(record.created) < start);
        self.finished.contains_key(&record.number)
            || is_before_start
            || (index < shard.trimmed && self.is_in_gap(shard, record))
    }

    fn is_in_gap(&self, shard: &SimShard, record: &SimRecord) -> bool {
        let number = SequenceNumber::new(record.number.to_string());
        let covers = |after: &Checkpoint| match after {
            Checkpoint::After(after) => *after < number,
            _ => true,
        };
        self.gaps.iter().any(|gap| match gap.cause {
            GapCause::ShardGone if self.ancestors(&gap.shard).contains(&shard.shard.id) => true,
            GapCause::Trimmed | GapCause::ShardGone => gap.shard == shard.shard.id && covers(&gap.after),
        })
    }

    pub(super) fn ancestors(&self, shard: &ShardId) -> BTreeSet<ShardId> {
        let mut ancestors = BTreeSet::new();
        let mut next = self.shards[shard].shard.parent.clone();
        while let Some(parent) = next {
            next = self.shards[&parent].shard.parent.clone();
            ancestors.insert(parent);
        }
        ancestors
    }

    /// Returns the first record of a shard up to a number that is not settled.
    pub(super) fn unsettled(&self, shard: &ShardId, up_to: Option<u64>) -> Option<&SimRecord> {
        let shard = &self.shards[shard];
        let mut indexes = 0..shard.records.len();
        let index = indexes.find(|index| {
            up_to.is_none_or(|end| shard.records[*index].number <= end) && !self.is_settled(shard, *index)
        })?;
        Some(&shard.records[index])
    }

    /// Takes the first success of a record, and checks the order.
    pub(super) fn finish(&mut self, instance: &str, id: &ShardId, number: u64, how: Finished) {
        self.check_owner(instance, id);
        if self.finished.contains_key(&number) {
            self.count("repeated records");
            return;
        }
        self.finished.insert(number, how);
        let record = self.shards[id].records.iter().find(|record| record.number == number).unwrap();
        let (key, of_key) = (record.key, record.of_key);
        for ancestor in self.ancestors(id) {
            if let Some(early) = self.unsettled(&ancestor, None) {
                panic!("record {number} of {id} was handled before record {} of its ancestor {ancestor}", early.number);
            }
        }
        let shard = &self.shards[id];
        for (index, earlier) in shard.records.iter().enumerate() {
            if earlier.key == key && earlier.of_key < of_key {
                let number_before = earlier.number;
                let gaps: Vec<_> = self.gaps.iter().filter(|gap| gap.shard == *id).collect();
                let trimmed = shard.records[..shard.trimmed].last();
                let row = self.rows.values().find(|row| row.key.ends_with(id.as_str()));
                assert!(
                    self.is_settled(shard, index),
                    "{number} of key {key} was handled before {number_before}; trimmed to {trimmed:?}, gaps {gaps:?}, {row:?}",
                );
            }
        }
    }

    /// Checks that no instance handles records of a lease that another one owns.
    fn check_owner(&self, instance: &str, id: &ShardId) {
        let row = self.rows.values().find(|row| row.key.ends_with(id.as_str()));
        let Some((row, owner)) = row.and_then(|row| Some((row, row.owner.as_ref()?))) else { return };
        let is_owner = owner.as_str().starts_with(&format!("{instance}/"));
        assert!(
            is_owner || self.disputed.contains(&row.key),
            "{instance} handled a record of {id}, whose lease belongs to {owner:?}"
        );
    }

    /// Returns why the readers are not done, if they are not.
    pub(super) fn not_drained(&self) -> Option<String> {
        for (id, shard) in &self.shards {
            if let Some(record) = self.unsettled(id, None) {
                return Some(format!("record {} of {id} is not handled", record.number));
            }
            if shard.is_gone {
                continue;
            }
            let row = self.rows.values().find(|row| row.key.ends_with(id.as_str()));
            let last = shard.records.last().map(|record| record.number);
            let Some(row) = row else {
                if self.start.is_some() || shard.closed.is_some() {
                    continue;
                }
                return Some(format!("{id} has no row"));
            };
            let is_done = match &row.checkpoint {
                Checkpoint::ShardEnd => true,
                Checkpoint::After(number) => {
                    shard.closed.is_none() && last.map(|last| last.to_string()).as_deref() == Some(number.as_str())
                }
                _ => shard.closed.is_none() && shard.trimmed == shard.records.len(),
            };
            if !is_done && shard.trimmed < shard.records.len().max(1) {
                return Some(format!("the checkpoint of {id} is {:?}, its last record {last:?}", row.checkpoint));
            }
        }
        None
    }
}

impl Observer for World {
    fn report(&self, report: &Report<'_>) {
        let mut state = self.state();
        let name = match report {
            Report::Gap(gap) => {
                state.gaps.push((*gap).clone());
                "reported gaps"
            }
            Report::LeaseTaken { .. } => "taken leases",
            Report::LeaseLost { .. } => "lost leases",
            Report::LeaseReleased { to: Some(_), .. } => "leases that were handed over",
            Report::LeaseRestored { .. } => "restored rows",
            Report::RecordRetried { .. } => "retries",
            Report::RecordDead { .. } => "dead records",
            Report::StreamEnabled(false) => "disabled streams",
            _ => return,
        };
        state.count(name);
    }
}
