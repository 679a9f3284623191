//! The state that the simulated ports share: shards, rows, handled records, reported gaps and faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, sleep_until};

use super::stream::RECORD_BYTES;
use crate::lease::{Checkpoint, Lease, Owner};
use crate::ports::{Gap, GapCause, Observer, Report};
use crate::sequence_number::SequenceNumber;
use crate::shard::{Shard, ShardId};
use crate::shared::Clock;

#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>, Live);

/// Counts the records in the memory of readers, and their bytes.
#[derive(Clone, Default)]
pub(super) struct Live(Arc<[AtomicUsize; 4]>);

/// A record in memory.
pub(super) struct LiveRecord(Live, usize);

impl Live {
    pub(super) fn record(&self, bytes: usize) -> LiveRecord {
        let [records, most_records, all_bytes, most_bytes] = &*self.0;
        most_records.fetch_max(records.fetch_add(1, Relaxed) + 1, Relaxed);
        most_bytes.fetch_max(all_bytes.fetch_add(bytes, Relaxed) + bytes, Relaxed);
        LiveRecord(self.clone(), bytes)
    }

    /// Returns the most records, and the most bytes.
    pub(super) fn most(&self) -> (usize, usize) {
        (self.0[1].load(Relaxed), self.0[3].load(Relaxed))
    }
}

impl Drop for LiveRecord {
    fn drop(&mut self) {
        self.0.0[0].fetch_sub(1, Relaxed);
        self.0.0[2].fetch_sub(self.1, Relaxed);
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
    /// Owners that lost a lease without their knowledge, e.g. because they ignored a request. Each may handle records of
    /// the row until this time, and no other instance may.
    pub(super) former: BTreeMap<String, (Owner, Instant)>,
    /// Rows that were deleted by hand. A write that comes late may create such a row while its owner still handles records.
    pub(super) disputed: BTreeMap<String, Instant>,
    /// A row whose requests get no answer.
    pub(super) silent: Option<String>,
    /// Rows that are not valid until a time.
    pub(super) invalid: BTreeMap<String, Instant>,
    /// Instances whose requests hang until a time.
    frozen: BTreeMap<String, Instant>,
    /// Instances that may not read the stream.
    pub(super) denied: BTreeSet<String>,
    /// Shards that the stream denies to exist until a time.
    pub(super) hidden: BTreeMap<ShardId, Instant>,
    /// When the stream was described last.
    pub(super) described: VecDeque<Instant>,
    /// Finished records by their number: done, or dead with a stored dead letter.
    pub(super) finished: BTreeMap<u64, Finished>,
    /// The records that an instance finished since anyone took the lease of their shard last.
    in_session: BTreeMap<(String, ShardId), BTreeSet<u64>>,
    pub(super) gaps: Vec<Gap>,
    /// Stored gaps of shards of which no later record was read yet. They cover what is trimmed meanwhile.
    open_gaps: Vec<Gap>,
    /// Records in gaps.
    lost: BTreeSet<u64>,
    pub(super) counts: BTreeMap<&'static str, usize>,
    /// Records before it are not wanted.
    pub(super) start: Option<SystemTime>,
    pub(super) is_enabled: bool,
    /// How long records are kept.
    pub(super) retention: Option<Duration>,
    pub(super) failover: Duration,
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
    /// Listings may show the shard until then, although it is gone.
    pub(super) shown_until: Instant,
    /// Listings show the shard from then on.
    pub(super) visible: Instant,
}

#[derive(Clone, Debug)]
pub(super) struct SimRecord {
    pub(super) number: u64,
    pub(super) key: u64,
    /// The number among the records of its key.
    pub(super) of_key: u64,
    pub(super) bytes: usize,
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
    pub(super) invalid: f64,
    pub(super) not_found: f64,
    pub(super) knows_filter: bool,
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
            former: BTreeMap::new(),
            disputed: BTreeMap::new(),
            silent: None,
            invalid: BTreeMap::new(),
            frozen: BTreeMap::new(),
            denied: BTreeSet::new(),
            hidden: BTreeMap::new(),
            described: VecDeque::new(),
            finished: BTreeMap::new(),
            in_session: BTreeMap::new(),
            gaps: Vec::new(),
            open_gaps: Vec::new(),
            lost: BTreeSet::new(),
            counts: BTreeMap::new(),
            start: None,
            is_enabled: true,
            retention: None,
            failover: FAILOVER,
        };
        World(Arc::new(Mutex::new(state)), Live::default())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Returns the clock of one more instance. Clocks are not equal.
    pub(super) fn clock(&self) -> Clock {
        let skew = Duration::from_millis(self.state().random.random_range(0..5_000));
        let began = self.state().began;
        Box::new(move || wall(began, Instant::now() + skew))
    }

    pub(super) fn live(&self) -> &Live {
        &self.1
    }

    /// Waits as a request does, and returns whether it fails.
    pub(super) async fn travel(&self, instance: &str) -> bool {
        let (time, fails) = {
            let mut state = self.state();
            let fails = state.happens(|faults| faults.fails, "failed requests");
            (Duration::from_millis(state.random.random_range(1..40)), fails)
        };
        sleep(time).await;
        self.thawed(instance).await;
        fails
    }

    /// Waits while an instance is frozen.
    pub(super) async fn thawed(&self, instance: &str) {
        let until = self.state().frozen.get(slot(instance)).copied();
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }
}

fn wall(began: Instant, time: Instant) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + (time - began)
}

/// Returns which of the instances that follow each other this is.
fn slot(instance: &str) -> &str {
    instance.split('.').next().unwrap_or(instance)
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

    /// Lets the requests and handlers of the instances of a slot hang.
    pub(super) fn freeze(&mut self, slot: &str, time: Duration) {
        self.frozen.insert(slot.to_owned(), Instant::now() + time);
        self.count("frozen instances");
    }

    /// Returns the row of a shard. The first application of a world is the one that is checked.
    fn row_of(&self, shard: &ShardId) -> Option<&Lease> {
        self.rows.values().find(|row| row.key.ends_with(shard.as_str()))
    }

    pub(super) fn wall(&self, time: Instant) -> SystemTime {
        wall(self.began, time)
    }

    pub(super) fn open_shard(&mut self, parent: Option<&ShardId>, keys: Vec<u64>) -> ShardId {
        let age = (Instant::now() - self.began).as_millis() as u64;
        self.next_shard = (1_700_000_000_000 + age).max(self.next_shard + 1);
        let id = ShardId::new(format!("shardId-{:020}-{:08x}", self.next_shard, self.random.random::<u32>()));
        let longest = if Instant::now() < self.faults.until { 10_000 } else { 1 };
        let visible = Instant::now() + Duration::from_millis(self.random.random_range(0..longest));
        let starting_sequence_number = Some(SequenceNumber::new(self.next_number.to_string()));
        let shard = Shard { id: id.clone(), parent: parent.cloned(), starting_sequence_number };
        let (records, shown_until) = (Vec::new(), visible);
        let shard = SimShard { shard, records, trimmed: 0, keys, closed: None, is_gone: false, shown_until, visible };
        self.shards.insert(id.clone(), shard);
        id
    }

    pub(super) fn close(&mut self, id: &ShardId) {
        self.shards.get_mut(id).unwrap().closed = Some(Instant::now());
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
        self.write_large_record(key, RECORD_BYTES);
    }

    pub(super) fn write_large_record(&mut self, key: u64, bytes: usize) {
        let of_key = *self.keys.entry(key).and_modify(|count| *count += 1).or_insert(1);
        self.next_number += self.random.random_range(1..50);
        let record = SimRecord { number: self.next_number, key, of_key, bytes, created: Instant::now() };
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
            if is_empty && !shard.is_gone && shard.closed.is_some_and(|closed| now - closed > age) {
                shard.is_gone = true;
                shard.shown_until = now + Duration::from_secs(10);
            }
        }
    }

    /// Returns whether nobody must handle a record any more: it is finished, before the start, or in a reported gap.
    pub(super) fn is_settled(&self, shard: &SimShard, index: usize) -> bool {
        let record = &shard.records[index];
        let is_before_start = self.start.is_some_and(|start| self.wall(record.created) < start);
        self.finished.contains_key(&record.number)
            || is_before_start
            || self.lost.contains(&record.number)
            || self.open_gaps.iter().any(|gap| self.covers(gap, shard, index))
    }

    /// Returns whether a gap covers a record: the record is trimmed, after the gap's begin, and in its shard or, if that
    /// is gone, in an ancestor.
    fn covers(&self, gap: &Gap, shard: &SimShard, index: usize) -> bool {
        let number = SequenceNumber::new(shard.records[index].number.to_string());
        let is_after = match &gap.after {
            Checkpoint::After(after) => *after < number,
            _ => true,
        };
        let is_ancestor = || gap.cause == GapCause::ShardGone && self.ancestors(&gap.shard).contains(&shard.shard.id);
        index < shard.trimmed && ((gap.shard == shard.shard.id && is_after) || is_ancestor())
    }

    /// Takes a gap that the handler stored.
    pub(super) fn store_gap(&mut self, instance: &str, gap: &Gap) {
        self.check_owner(instance, &gap.shard);
        let shard = &self.shards[&gap.shard];
        assert!(shard.trimmed > 0 || shard.is_gone, "nothing is trimmed, but {gap:?} was stored");
        assert!(gap.cause == GapCause::Trimmed || shard.is_gone, "the shard exists, but {gap:?} was stored");
        self.gaps.push(gap.clone());
        self.open_gaps.push(gap.clone());
        self.count("stored gaps");
    }

    /// Ends the open gaps of a shard, because a later record was read or another session begins.
    pub(super) fn end_gaps(&mut self, id: &ShardId) {
        let (ended, open): (Vec<_>, Vec<_>) = self.open_gaps.drain(..).partition(|gap| gap.shard == *id);
        self.open_gaps = open;
        for gap in ended {
            let covered = |shard: &SimShard| {
                let indexes = (0..shard.trimmed).filter(|index| self.covers(&gap, shard, *index));
                indexes.map(|index| shard.records[index].number).collect::<Vec<_>>()
            };
            let lost: Vec<_> = self.shards.values().flat_map(covered).collect();
            self.lost.extend(lost);
        }
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

    /// At the first start of the stream, nobody wants records that are trimmed before their shard, or a descendant of it, gets
    /// its row.
    pub(super) fn forget_before_first_start(&mut self, key: &str) {
        let Some((prefix, id)) = key.rsplit_once('/') else { return };
        let is_first = self.rows.get(&format!("{prefix}/")).is_some_and(|start| start.counter == 0);
        let id = ShardId::new(id);
        if !is_first || !self.shards.contains_key(&id) {
            return;
        }
        for id in self.ancestors(&id).into_iter().chain([id]) {
            let shard = &self.shards[&id];
            self.lost.extend(shard.records[..shard.trimmed].iter().map(|record| record.number));
        }
    }

    /// The first start ends. A row that was sent before may still be on its way to a shard that some listings omitted, so
    /// nobody wants what is trimmed by now in shards that have no row, and no ancestor with one.
    pub(super) fn end_first_start(&mut self) {
        let has_no_row = |id: &ShardId| self.row_of(id).is_none();
        let without_row =
            self.shards.iter().filter(|(id, _)| has_no_row(id) && self.ancestors(id).iter().all(has_no_row));
        let trimmed = without_row.flat_map(|(_, shard)| &shard.records[..shard.trimmed]);
        let numbers: Vec<_> = trimmed.map(|record| record.number).collect();
        self.lost.extend(numbers);
    }

    /// Returns the first unsettled record of an ancestor that is still readable. The gap of the others may come later.
    pub(super) fn readable_of_ancestors(&self, id: &ShardId) -> Option<(ShardId, &SimRecord)> {
        self.ancestors(id).into_iter().find_map(|ancestor| {
            let shard = &self.shards[&ancestor];
            let mut readable = shard.trimmed..shard.records.len();
            let index = readable.find(|index| !self.is_settled(shard, *index))?;
            Some((ancestor, &shard.records[index]))
        })
    }

    /// Takes a success of a record, and checks the order of first successes. Only another session may repeat a record.
    pub(super) fn finish(&mut self, instance: &str, id: &ShardId, number: u64, how: Finished) {
        self.check_owner(instance, id);
        let session = self.in_session.entry((instance.to_owned(), id.clone())).or_default();
        assert!(session.insert(number), "{instance} handled record {number} of {id} twice in one session");
        if self.finished.contains_key(&number) {
            self.count("repeated records");
            return;
        }
        self.finished.insert(number, how);
        let record = self.shards[id].records.iter().find(|record| record.number == number).unwrap();
        let (key, of_key) = (record.key, record.of_key);
        if let Some((ancestor, early)) = self.readable_of_ancestors(id) {
            let (early, row) = (early.number, self.row_of(id));
            panic!("record {number} of {id} was handled before record {early} of its ancestor {ancestor}; {row:?}");
        }
        let shard = &self.shards[id];
        for (index, earlier) in shard.records.iter().enumerate() {
            if earlier.key == key && earlier.of_key < of_key {
                let number_before = earlier.number;
                let gaps: Vec<_> = self.gaps.iter().filter(|gap| gap.shard == *id).collect();
                let trimmed = shard.records[..shard.trimmed].last();
                let row = self.row_of(id);
                assert!(
                    self.is_settled(shard, index),
                    "{number} of key {key} was handled before {number_before}; trimmed to {trimmed:?}, gaps {gaps:?}, {row:?}",
                );
            }
        }
    }

    /// Checks that no instance handles records of a lease that another one owns.
    fn check_owner(&self, instance: &str, id: &ShardId) {
        let Some(row) = self.row_of(id) else { return };
        if self.disputed.get(&row.key).is_some_and(|until| Instant::now() < *until) {
            return;
        }
        let is_of = |owner: &Owner| owner.as_str().starts_with(&format!("{instance}/"));
        let former = self.former.get(&row.key).filter(|(_, until)| Instant::now() < *until);
        let Some(owner) = former.map(|(owner, _)| owner).or(row.owner.as_ref()) else { return };
        assert!(is_of(owner), "{instance} handled a record of {id}, whose lease belongs to {owner:?}");
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
            let row = self.row_of(id);
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
            Report::Gap(_) => "reported gaps",
            Report::LeaseTaken { shard, .. } => {
                state.end_gaps(shard);
                state.in_session.retain(|(_, id), _| id != *shard);
                "taken leases"
            }
            Report::PageRead { shard, records, .. } if *records > 0 => {
                state.end_gaps(shard);
                "pages with records"
            }
            Report::ShardProgress { is_caught_up: true, .. } => "reports of progress, caught up",
            Report::ShardProgress { failing_since: Some(_), .. } => "reports of progress, failing",
            Report::ShardProgress { .. } => "reports of progress",
            Report::ShardUnreadable { .. } => "released leases of unreadable shards",
            Report::HandlerUnavailable { .. } => "outages of the handler's store",
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
