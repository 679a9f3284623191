//! The family tree of the shards: which leases exist next, and in which order shards are read.
//!
//! Listings of shards are inconsistent, so knowledge only accumulates. Every shard that may have records gets a row, and the
//! session that owns the row decides whether the shard is gone. Only a first start and the deletion of rows need to know
//! here that a shard is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::lease::{Checkpoint, Lease};
use crate::sequence_number::SequenceNumber;
use crate::shard::{Shard, ShardId};
use crate::sightings::Rows;

/// A shard whose child is older than the start by this much ended before the start. The ids of shards contain their time.
const START_MARGIN: Duration = Duration::from_secs(60);
/// A listing may have begun before an answer that came during it. The second one is newer.
const NEWER_LISTINGS: u64 = 2;

#[derive(Debug)]
pub(crate) struct Lineage {
    missing_timeout: Duration,
    shards: BTreeMap<ShardId, Shard>,
    /// The shards of the last complete listing, and of the one in progress.
    listed: BTreeSet<ShardId>,
    listing: BTreeSet<ShardId>,
    /// The number of complete listings.
    listings: u64,
    /// Shards that answered an iterator request, by the listing after which they were asked.
    present: BTreeMap<ShardId, u64>,
    missing: BTreeMap<ShardId, Missing>,
    /// Parents and children that no listing describes.
    undescribed: BTreeMap<ShardId, Missing>,
}

/// A shard that the stream denied to exist, at first after a listing. One such answer may be false.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    since: Instant,
    listings: u64,
    asked: u64,
}

impl Missing {
    pub(crate) fn new(since: Instant, listings: u64) -> Missing {
        Missing { since, listings, asked: listings }
    }

    /// Returns whether the shard is gone: it was missing for long enough, and a newer listing does not show it either.
    pub(crate) fn is_gone(&self, now: Instant, timeout: Duration, listings: u64, is_listed: bool) -> bool {
        !is_listed && now - self.since >= timeout && listings >= self.listings + NEWER_LISTINGS
    }
}

/// Where the stream was started, from its row in the lease table.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) checkpoint: Checkpoint,
    /// The shards of the first listing have leases. A shard that vanishes from now on is a gap.
    pub(crate) is_complete: bool,
    /// The start is older than the records that the stream keeps, so a shard that vanished before it is a gap, too.
    pub(crate) is_too_old: bool,
}

impl Started {
    fn must_be_complete(&self) -> bool {
        self.is_complete || self.is_too_old
    }
}

/// The next changes of the lease table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) create: Vec<NewLease>,
    /// Shards to ask for an iterator, because it is unknown whether they still exist.
    pub(crate) probe: Vec<ShardId>,
    /// Shards to ask for their children, because these are known by name only.
    pub(crate) describe: Vec<ShardId>,
    pub(crate) delete: Vec<ShardId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewLease {
    pub(crate) shard: ShardId,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) parent: Option<ShardId>,
    pub(crate) starting_sequence_number: Option<SequenceNumber>,
    /// A trimmed start is a gap. At the first start of the stream it is normal.
    pub(crate) must_be_complete: bool,
}

/// What the plan decides for one shard without a row.
enum Step {
    Wait,
    Probe(ShardId),
    /// Ask this shard for its children.
    Describe(ShardId),
    Create(NewLease),
}

impl Lineage {
    pub(crate) fn new(missing_timeout: Duration) -> Lineage {
        Lineage {
            missing_timeout,
            shards: BTreeMap::new(),
            listed: BTreeSet::new(),
            listing: BTreeSet::new(),
            listings: 0,
            present: BTreeMap::new(),
            missing: BTreeMap::new(),
            undescribed: BTreeMap::new(),
        }
    }

    /// Learns a shard from a listing or from its parent.
    pub(crate) fn learn(&mut self, shard: Shard) {
        self.missing.remove(&shard.id);
        self.undescribed.remove(&shard.id);
        self.shards.insert(shard.id.clone(), shard);
    }

    /// Learns a page of a listing.
    pub(crate) fn learn_page(&mut self, shards: Vec<Shard>, is_last: bool) {
        for shard in shards {
            self.listing.insert(shard.id.clone());
            self.learn(shard);
        }
        if is_last {
            self.listed = std::mem::take(&mut self.listing);
            self.listings += 1;
        }
    }

    /// Forgets the pages of a listing that starts again.
    pub(crate) fn restart_listing(&mut self) {
        self.listing.clear();
    }

    pub(crate) fn probed(&mut self, shard: &ShardId, is_present: bool, now: Instant) {
        if is_present {
            self.missing.remove(shard);
            self.present.insert(shard.clone(), self.listings);
        } else {
            let missing = self.missing.entry(shard.clone()).or_insert(Missing::new(now, self.listings));
            missing.asked = self.listings;
        }
    }

    /// Returns the shards of the last complete listing.
    pub(crate) fn listed(&self) -> &BTreeSet<ShardId> {
        &self.listed
    }

    /// Returns the number of complete listings.
    pub(crate) fn listings(&self) -> u64 {
        self.listings
    }

    fn is_gone(&self, id: &ShardId, now: Instant) -> bool {
        let is_listed = self.listed.contains(id) || self.listing.contains(id);
        let missing = self.missing.get(id);
        missing.is_some_and(|missing| missing.is_gone(now, self.missing_timeout, self.listings, is_listed))
    }

    /// Returns whether a probe after the last listing would tell something new.
    fn is_unknown(&self, id: &ShardId) -> bool {
        let is_old = |listings: u64| listings < self.listings;
        self.present.get(id).is_none_or(|listings| is_old(*listings))
            && self.missing.get(id).is_none_or(|missing| is_old(missing.asked))
    }

    /// Returns whether shards are known and none waits for the answer to a probe before it gets a row at the first start.
    pub(crate) fn is_started(&self, rows: &Rows, started: &Started) -> bool {
        let passed = self.passed(rows, started);
        let is_waiting = |shard: &Shard| {
            let parent = shard.parent.as_ref();
            let is_parent_known = |parent: &ShardId| {
                rows.contains_key(parent) || passed.contains(parent) || self.shards.contains_key(parent)
            };
            !rows.contains_key(&shard.id) && !passed.contains(&shard.id) && !parent.is_none_or(is_parent_known)
        };
        !self.shards.is_empty() && !self.shards.values().any(is_waiting)
    }

    /// Returns how many known shards have no row yet, because their parents are unfinished.
    pub(crate) fn waiting(&self, rows: &Rows) -> usize {
        let is_waiting = |shard: &&Shard| {
            let parent = shard.parent.as_ref().and_then(|parent| rows.get(parent));
            !rows.contains_key(&shard.id) && parent.is_some_and(|parent| !parent.is_finished())
        };
        self.shards.values().filter(is_waiting).count()
    }

    /// Returns whether a finished shard has no known children yet, although it exists.
    pub(crate) fn misses_children(&self, rows: &Rows, now: Instant) -> bool {
        let parents: BTreeSet<_> = self.shards.values().filter_map(|shard| shard.parent.as_ref()).collect();
        let mut finished = rows.iter().filter(|(_, row)| row.is_finished());
        finished.any(|(id, row)| row.children.is_empty() && !parents.contains(id) && !self.is_gone(id, now))
    }

    pub(crate) fn plan(&mut self, rows: &Rows, started: &Started, now: Instant) -> Plan {
        let mut plan = Plan::default();
        if self.listings == 0 {
            // Without a listing, all shards look as if they were gone.
            return plan;
        }
        let passed = self.passed(rows, started);
        let (known, named) = self.without_row(rows, &passed);
        self.note_undescribed(known.iter().filter_map(|shard| shard.parent.as_ref()), &named, rows, now);
        let mut create = BTreeMap::new();
        for shard in known.iter().chain(&named) {
            match self.next_step(shard, rows, &passed, started, now) {
                Step::Wait => {}
                Step::Probe(id) => plan.probe.push(id),
                Step::Describe(id) => plan.describe.push(id),
                Step::Create(lease) => drop(create.insert(lease.shard.clone(), lease)),
            }
        }
        plan.create = create.into_values().collect();
        plan.delete = self.deletable(rows, now);
        let finished = rows.iter().filter(|(_, row)| row.is_finished()).map(|(id, _)| id);
        plan.probe.extend(finished.filter(|id| !self.listed.contains(*id) && self.is_unknown(id)).cloned());
        for ids in [&mut plan.probe, &mut plan.describe] {
            ids.sort();
            ids.dedup();
        }
        plan
    }

    /// Returns the known shards without a row, and children that finished shards name and no listing describes.
    fn without_row(&self, rows: &Rows, passed: &BTreeSet<ShardId>) -> (Vec<Shard>, Vec<Shard>) {
        let is_needed = |id: &ShardId| !rows.contains_key(id) && !passed.contains(id);
        let known = self.shards.values().filter(|shard| is_needed(&shard.id)).cloned();
        let finished = rows.iter().filter(|(_, row)| row.is_finished());
        let named = finished.flat_map(|(parent, row)| row.children.iter().map(move |id| (parent, id)));
        let named = named.filter(|(_, id)| is_needed(id) && !self.shards.contains_key(*id));
        let child = |(parent, id): (&ShardId, &ShardId)| Shard {
            id: id.clone(),
            parent: Some(parent.clone()),
            starting_sequence_number: None,
        };
        (known.collect(), named.map(child).collect())
    }

    fn next_step(
        &self,
        shard: &Shard,
        rows: &Rows,
        passed: &BTreeSet<ShardId>,
        started: &Started,
        now: Instant,
    ) -> Step {
        let new = |checkpoint, must_be_complete| {
            let starting_sequence_number = shard.starting_sequence_number.clone();
            let (shard, parent) = (shard.id.clone(), shard.parent.clone());
            Step::Create(NewLease { shard, checkpoint, parent, starting_sequence_number, must_be_complete })
        };
        if self.awaits_description(&shard.id, now) {
            // Only a description tells where the shard starts, and so whether its start is trimmed.
            return shard.parent.clone().map_or(Step::Wait, Step::Describe);
        }
        let first = || new(started.checkpoint.clone(), started.must_be_complete());
        let Some(parent) = &shard.parent else { return first() };
        let has_sibling = || rows.values().any(|row| row.parent.as_ref() == Some(parent));
        match rows.get(parent) {
            Some(row) if !row.is_finished() => return Step::Wait,
            Some(_) => return new(Checkpoint::TrimHorizon, true),
            None if has_sibling() => return new(Checkpoint::TrimHorizon, true),
            None => {}
        }
        if passed.contains(parent) {
            return first();
        }
        if self.shards.contains_key(parent) {
            // The parent gets a row first.
            return Step::Wait;
        }
        // Before the first start, shards vanished that nobody wanted.
        if !started.must_be_complete() && self.is_gone(parent, now) {
            return first();
        }
        if !started.must_be_complete() && self.is_unknown(parent) {
            return Step::Probe(parent.clone());
        }
        let is_present = started.must_be_complete() || self.present.contains_key(parent);
        if !is_present || self.awaits_description(parent, now) {
            return Step::Wait;
        }
        // No listing shows the parent. Its row is created from its id, so that its session reads it or reports the gap.
        Step::Create(NewLease {
            shard: parent.clone(),
            checkpoint: started.checkpoint.clone(),
            parent: None,
            starting_sequence_number: None,
            must_be_complete: started.must_be_complete(),
        })
    }

    fn note_undescribed<'a>(
        &mut self,
        parents: impl Iterator<Item = &'a ShardId>,
        named: &'a [Shard],
        rows: &Rows,
        now: Instant,
    ) {
        let parents = parents.filter(|id| !rows.contains_key(*id) && !self.shards.contains_key(*id));
        let ids: BTreeSet<_> = parents.chain(named.iter().map(|shard| &shard.id)).collect();
        self.undescribed.retain(|id, _| ids.contains(id));
        for id in ids {
            self.undescribed.entry(id.clone()).or_insert(Missing::new(now, self.listings));
        }
    }

    /// Returns whether a shard that no listing describes may still be described: a listing may omit it for a while. Without
    /// its description, its own parent is unknown.
    fn awaits_description(&self, id: &ShardId, now: Instant) -> bool {
        let undescribed = self.undescribed.get(id);
        undescribed.is_some_and(|missing| !missing.is_gone(now, self.missing_timeout, self.listings, false))
    }

    /// Returns the shards that are finished for sure, with or without a row: a descendant has a row, or was created
    /// before the start.
    fn passed(&self, rows: &Rows, started: &Started) -> BTreeSet<ShardId> {
        let mut next: Vec<&ShardId> = rows.values().filter_map(|row| row.parent.as_ref()).collect();
        if let Checkpoint::AtTimestamp(start) = started.checkpoint {
            let is_old = |created: SystemTime| created + START_MARGIN < start;
            let old = self.shards.values().filter(|shard| shard.id.created().is_some_and(is_old));
            next.extend(old.filter_map(|shard| shard.parent.as_ref()));
        }
        let mut passed = BTreeSet::new();
        while let Some(id) = next.pop() {
            if passed.insert(id.clone()) {
                next.extend(rows.get(id).and_then(|row| row.parent.as_ref()));
                next.extend(self.shards.get(id).and_then(|shard| shard.parent.as_ref()));
            }
        }
        passed
    }

    /// Returns finished shards whose rows nobody needs: they and their parents are gone, and their children moved. A row
    /// that is deleted earlier would be created again, and its whole lineage repeated.
    fn deletable(&self, rows: &Rows, now: Instant) -> Vec<ShardId> {
        let described = self.shards.values().filter_map(|shard| Some((shard.parent.as_ref()?, &shard.id)));
        let with_rows = rows.iter().filter_map(|(id, row)| Some((row.parent.as_ref()?, id)));
        let mut children: BTreeMap<&ShardId, Vec<&ShardId>> = BTreeMap::new();
        for (parent, id) in described.chain(with_rows) {
            children.entry(parent).or_default().push(id);
        }
        let moved = |id: &ShardId| rows.get(id).is_some_and(|row| !row.checkpoint.is_start());
        let is_unneeded = |id: &ShardId, row: &Lease| {
            let mut known = row.children.iter().chain(children.get(id).into_iter().flatten().copied()).peekable();
            let has_parent_row = row.parent.as_ref().is_some_and(|parent| rows.contains_key(parent));
            row.is_finished() && self.is_gone(id, now) && !has_parent_row && known.peek().is_some() && known.all(moved)
        };
        rows.iter().filter(|(id, row)| is_unneeded(id, row)).map(|(id, _)| id.clone()).collect()
    }

    /// Forgets shards that are passed, without a row and in no listing, so that the memory does not grow with the age of
    /// the stream.
    pub(crate) fn forget(&mut self, rows: &Rows, started: &Started) {
        let passed = self.passed(rows, started);
        let is_listed = |id: &ShardId| self.listed.contains(id) || self.listing.contains(id);
        self.shards.retain(|id, _| rows.contains_key(id) || !passed.contains(id) || is_listed(id));
        let parents: BTreeSet<_> = self.shards.values().filter_map(|shard| shard.parent.clone()).collect();
        let is_known = |id: &ShardId| self.shards.contains_key(id) || rows.contains_key(id) || parents.contains(id);
        self.missing.retain(|id, _| is_known(id));
        self.present.retain(|id, _| is_known(id));
    }
}

#[cfg(test)]
mod tests;
