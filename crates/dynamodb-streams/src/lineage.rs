//! The family tree of the shards: which leases exist next, and in which order shards are read.
//!
//! Listings of shards are inconsistent, so knowledge only accumulates. A shard that a listing omits is gone only if the
//! stream answers so when it is asked for an iterator.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::lease::{Checkpoint, Lease};
use crate::sequence_number::SequenceNumber;
use crate::shard::{Shard, ShardId};
use crate::sightings::Rows;

/// A shard whose child is older than the start by this much ended before the start. The ids of shards contain their time.
const START_MARGIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Lineage {
    shards: BTreeMap<ShardId, Shard>,
    gone: BTreeSet<ShardId>,
    /// The shards of the last complete listing, and of the one in progress.
    listed: BTreeSet<ShardId>,
    listing: BTreeSet<ShardId>,
    /// The number of complete listings.
    listings: u64,
    /// Shards that answered an iterator request, by the listing after which they were asked.
    present: BTreeMap<ShardId, u64>,
}

/// Where the stream was started, from its row in the lease table.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) checkpoint: Checkpoint,
    /// The shards of the first listing have leases. A parent that vanishes from now on is a gap.
    pub(crate) is_complete: bool,
}

/// The next changes of the lease table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) create: Vec<NewLease>,
    /// Shards to ask for an iterator, because it is unknown whether they still exist.
    pub(crate) probe: Vec<ShardId>,
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
    /// A shard that vanished before it was read. The instance that creates the row reports the gap.
    pub(crate) gap: Option<ShardId>,
}

/// What the plan decides for one shard without a row.
enum Step {
    Wait,
    Probe(ShardId),
    Create(NewLease),
}

impl Lineage {
    /// Learns a shard from a listing or from its parent.
    pub(crate) fn learn(&mut self, shard: Shard) {
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

    pub(crate) fn probed(&mut self, shard: &ShardId, is_present: bool) {
        if is_present {
            self.present.insert(shard.clone(), self.listings);
        } else {
            self.gone.insert(shard.clone());
        }
    }

    /// Returns the shards of the last complete listing.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &ShardId> {
        self.listed.iter()
    }

    /// Returns how many known shards have no row yet, because their parents are unfinished.
    pub(crate) fn waiting(&self, rows: &Rows) -> usize {
        let is_waiting = |shard: &&Shard| {
            let parent = shard.parent.as_ref().and_then(|parent| rows.get(parent));
            !rows.contains_key(&shard.id) && parent.is_some_and(|parent| !parent.is_finished())
        };
        self.shards.values().filter(is_waiting).count()
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.listings > 0
    }

    /// Returns whether a finished shard has no known children yet, although it exists.
    pub(crate) fn misses_children(&self, rows: &Rows) -> bool {
        let parents: BTreeSet<_> = self.shards.values().filter_map(|shard| shard.parent.as_ref()).collect();
        let mut finished = rows.iter().filter(|(_, row)| row.is_finished());
        finished.any(|(id, row)| row.children.is_empty() && !parents.contains(id) && !self.gone.contains(id))
    }

    pub(crate) fn plan(&self, rows: &Rows, started: &Started) -> Plan {
        let passed = self.passed(rows, started);
        let mut plan = Plan::default();
        for shard in self.without_row(rows) {
            if passed.contains(&shard.id) {
                continue;
            }
            match self.next_step(&shard, rows, &passed, started) {
                Step::Wait => {}
                Step::Probe(id) => plan.probe.push(id),
                Step::Create(lease) => plan.create.push(lease),
            }
        }
        plan.delete = self.deletable(rows);
        let unlisted = |id: &&ShardId| !self.listed.contains(*id) && self.is_unknown(id);
        plan.probe.extend(rows.iter().filter(|(_, row)| row.is_finished()).map(|(id, _)| id).filter(unlisted).cloned());
        plan.probe.sort();
        plan.probe.dedup();
        if !self.is_listed() {
            // Without a listing, all shards look as if they were gone.
            plan.probe.clear();
        }
        plan
    }

    /// Returns whether a probe after the last listing would tell something new.
    fn is_unknown(&self, id: &ShardId) -> bool {
        !self.gone.contains(id) && self.present.get(id).is_none_or(|listing| *listing < self.listings)
    }

    /// Returns the known shards without a row, and children that finished shards name.
    fn without_row(&self, rows: &Rows) -> Vec<Shard> {
        let known = self.shards.values().filter(|shard| !rows.contains_key(&shard.id)).cloned();
        let named = rows.iter().filter(|(_, row)| row.is_finished()).flat_map(|(parent, row)| {
            let unknown = row.children.iter().filter(|id| !rows.contains_key(*id) && !self.shards.contains_key(*id));
            let child =
                |id: &ShardId| Shard { id: id.clone(), parent: Some(parent.clone()), starting_sequence_number: None };
            unknown.map(child).collect::<Vec<_>>()
        });
        known.chain(named).collect()
    }

    fn next_step(&self, shard: &Shard, rows: &Rows, passed: &BTreeSet<ShardId>, started: &Started) -> Step {
        let id = &shard.id;
        let is_gone = self.gone.contains(id);
        if is_gone && !started.is_complete {
            return Step::Wait;
        }
        if !self.listed.contains(id) && !self.listing.contains(id) && self.is_unknown(id) {
            return Step::Probe(id.clone());
        }
        let new = |checkpoint, must_be_complete, gap| {
            let starting_sequence_number = shard.starting_sequence_number.clone();
            let (shard, parent) = (id.clone(), shard.parent.clone());
            Step::Create(NewLease { shard, checkpoint, parent, starting_sequence_number, must_be_complete, gap })
        };
        let Some(parent) = &shard.parent else {
            return match is_gone {
                true => new(Checkpoint::ShardEnd, true, Some(id.clone())),
                false => new(started.checkpoint.clone(), started.is_complete, None),
            };
        };
        let has_sibling = || rows.values().any(|row| row.parent.as_ref() == Some(parent));
        let is_parent_finished = match rows.get(parent) {
            Some(row) if !row.is_finished() => return Step::Wait,
            Some(_) => true,
            None => has_sibling(),
        };
        if is_gone {
            return new(Checkpoint::ShardEnd, true, Some(id.clone()));
        }
        if !self.shards.contains_key(id) {
            // Only a description tells where the shard starts, and so whether its start is trimmed.
            return Step::Wait;
        }
        if is_parent_finished {
            return new(Checkpoint::TrimHorizon, true, None);
        }
        if passed.contains(parent) {
            return new(started.checkpoint.clone(), started.is_complete, None);
        }
        if self.gone.contains(parent) {
            let gap = Some(parent.clone()).filter(|_| started.is_complete);
            return new(started.checkpoint.clone(), started.is_complete, gap);
        }
        if !self.shards.contains_key(parent) && self.is_unknown(parent) {
            Step::Probe(parent.clone())
        } else {
            Step::Wait
        }
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
    fn deletable(&self, rows: &Rows) -> Vec<ShardId> {
        let mut children: BTreeMap<&ShardId, Vec<&ShardId>> = BTreeMap::new();
        for shard in self.shards.values() {
            if let Some(parent) = &shard.parent {
                children.entry(parent).or_default().push(&shard.id);
            }
        }
        let moved = |id: &ShardId| rows.get(id).is_some_and(|row| !row.checkpoint.is_start());
        let is_unneeded = |id: &ShardId, row: &Lease| {
            let mut known = row.children.iter().chain(children.get(id).into_iter().flatten().copied()).peekable();
            let has_parent_row = row.parent.as_ref().is_some_and(|parent| rows.contains_key(parent));
            row.is_finished() && self.gone.contains(id) && !has_parent_row && known.peek().is_some() && known.all(moved)
        };
        rows.iter().filter(|(id, row)| is_unneeded(id, row)).map(|(id, _)| id.clone()).collect()
    }

    /// Forgets shards that are gone and passed, so that the memory does not grow with the age of the stream.
    pub(crate) fn forget(&mut self, rows: &Rows, started: &Started) {
        let passed = self.passed(rows, started);
        let is_needed = |id: &ShardId| rows.contains_key(id) || !passed.contains(id) || self.listed.contains(id);
        let unneeded: Vec<_> = self.gone.iter().filter(|id| !is_needed(id)).cloned().collect();
        for id in unneeded {
            self.shards.remove(&id);
            self.gone.remove(&id);
        }
        let known = |id: &ShardId| self.shards.contains_key(id) || rows.contains_key(id);
        let parents: BTreeSet<_> = self.shards.values().filter_map(|shard| shard.parent.clone()).collect();
        self.gone.retain(|id| known(id) || parents.contains(id));
        self.present.retain(|id, _| known(id) || parents.contains(id));
    }
}

#[cfg(test)]
mod tests;
