//! What this instance saw of the leases, and which it takes. Only the clock of this instance decides about expiry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use tokio::time::Instant;

use crate::lease::{Lease, Owner};
use crate::shard::ShardId;

/// The last known rows of all shards.
pub(crate) type Rows = BTreeMap<ShardId, Lease>;

#[derive(Debug)]
pub(crate) struct Sightings {
    me: Owner,
    failover: Duration,
    /// An owner that does not answer a request for this long is passed over.
    patience: Duration,
    max_handovers: usize,
    seen: BTreeMap<ShardId, Seen>,
    asked: BTreeMap<ShardId, Asked>,
    /// Rows that someone deleted, and when this was seen. Their owners restore them with their checkpoints.
    vanished: BTreeMap<ShardId, Instant>,
    /// When this instance saw the rows for the first time.
    began: Option<Instant>,
}

/// A request to an owner.
#[derive(Debug)]
struct Asked {
    owner: Owner,
    /// When the table applied it. None while it is on its way.
    applied: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    owner: Option<Owner>,
    counter: u64,
    since: Instant,
}

impl Seen {
    fn is_of(&self, row: &Lease) -> bool {
        self.counter == row.counter && self.owner == row.owner
    }
}

/// The leases that this instance takes, and those that it asks their owners for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) take: Vec<ShardId>,
    /// Leases to take from owners that ignored a request. Such an owner may handle records until it notices.
    pub(crate) force: Vec<ShardId>,
    pub(crate) ask: Vec<(ShardId, Owner)>,
}

impl Sightings {
    pub(crate) fn new(me: Owner, failover: Duration, handover: Duration, max_handovers: usize) -> Sightings {
        let patience = handover * 2 + failover;
        Sightings {
            me,
            failover,
            patience,
            max_handovers,
            seen: BTreeMap::new(),
            asked: BTreeMap::new(),
            vanished: BTreeMap::new(),
            began: None,
        }
    }

    /// Notes the rows of a scan. `now` is a time after its answer.
    pub(crate) fn note(&mut self, rows: &Rows, now: Instant) {
        self.began.get_or_insert(now);
        self.vanished.retain(|shard, since| !rows.contains_key(shard) && now - *since <= self.failover);
        self.vanished
            .extend(self.seen.keys().filter(|shard| !rows.contains_key(*shard)).map(|shard| (shard.clone(), now)));
        self.seen.retain(|shard, _| rows.contains_key(shard));
        for (shard, row) in rows {
            if !self.seen.get(shard).is_some_and(|seen| seen.is_of(row)) {
                let seen = Seen { owner: row.owner.clone(), counter: row.counter, since: now };
                self.seen.insert(shard.clone(), seen);
            }
        }
        self.asked.retain(|shard, asked| rows.get(shard).is_some_and(|row| row.owner.as_ref() == Some(&asked.owner)));
    }

    /// Returns whether the row of a shard may be created. If it vanished, its owner gets the time to restore it. It may
    /// have vanished before this instance saw the rows for the first time, unless the stream is new.
    pub(crate) fn may_create(&self, shard: &ShardId, is_new_stream: bool, now: Instant) -> bool {
        let is_over = |since: Instant| now - since > self.failover;
        self.vanished.get(shard).is_none_or(|since| is_over(*since))
            && (is_new_stream || self.began.is_some_and(is_over))
    }

    /// Returns how many unfinished leases nobody renews.
    pub(crate) fn unowned(&self, rows: &Rows, now: Instant) -> usize {
        let is_unowned = |(shard, row): &(&ShardId, &Lease)| {
            !row.is_finished() && (row.owner.is_none() || self.is_expired(shard, row, now))
        };
        rows.iter().filter(is_unowned).count()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// A row that changed since the last scan, e.g. in the answer of a refused write, has not expired.
    fn is_expired(&self, shard: &ShardId, row: &Lease, now: Instant) -> bool {
        self.seen.get(shard).is_some_and(|seen| seen.is_of(row) && now - seen.since > self.failover)
    }

    /// Decides which leases to take: expired ones up to a fair share. Without such, asks the owner of the most leases.
    /// Leases with this owner that it does not process are its own again: an answer was lost, or they were handed over.
    /// Shards that this instance cannot read are left to others.
    pub(crate) fn plan(
        &mut self,
        rows: &Rows,
        owned: &BTreeSet<ShardId>,
        unreadable: &BTreeSet<ShardId>,
        now: Instant,
        random: &mut impl Rng,
    ) -> Plan {
        let mut plan = Plan::default();
        let mut available = Vec::new();
        let mut owners: BTreeMap<&Owner, Vec<&ShardId>> = BTreeMap::new();
        let unfinished = rows.iter().filter(|(_, row)| !row.is_finished());
        let unfinished: Vec<_> = unfinished.filter(|(shard, _)| !owned.contains(*shard)).collect();
        for (shard, row) in &unfinished {
            match &row.owner {
                _ if unreadable.contains(*shard) => {}
                Some(owner) if *owner == self.me => plan.take.push((*shard).clone()),
                Some(owner) if !self.is_expired(shard, row, now) => owners.entry(owner).or_default().push(shard),
                _ => available.push(*shard),
            }
        }
        let leases = unfinished.len() + owned.len();
        let share = leases.div_ceil(owners.len() + 1);
        let overdue = |asked: &Asked| asked.applied.is_some_and(|applied| now - applied > self.patience);
        let overdue: Vec<_> =
            self.asked.iter().filter(|(_, asked)| overdue(asked)).map(|(shard, _)| shard.clone()).collect();
        self.asked.retain(|shard, _| !overdue.contains(shard));
        // A request that is not in the row did not arrive, so it may be repeated.
        let is_mine = |row: &Lease| row.handover_to.as_ref() == Some(&self.me);
        let is_ignored = |shard: &ShardId| !owned.contains(shard) && rows.get(shard).is_some_and(is_mine);
        plan.force.extend(overdue.into_iter().filter(is_ignored));
        let mine = owned.len() + plan.take.len() + plan.force.len();
        available.shuffle(random);
        let is_none_available = available.is_empty();
        plan.take.extend(available.into_iter().take(share.saturating_sub(mine)).cloned());
        if is_none_available {
            self.ask(&mut plan, &owners, share, mine + self.asked.len(), random);
        }
        plan
    }

    fn ask(
        &mut self,
        plan: &mut Plan,
        owners: &BTreeMap<&Owner, Vec<&ShardId>>,
        share: usize,
        mine: usize,
        random: &mut impl Rng,
    ) {
        let Some((owner, shards)) = owners.iter().max_by_key(|(_, shards)| shards.len()) else { return };
        // An owner with exactly its share gives one only to an instance that lacks two: otherwise they would swap for ever.
        let excess = shards.len().saturating_sub(share);
        let spare = if excess == 0 && shards.len() == share && mine + 1 < share { 1 } else { excess };
        let asked_of_it = self.asked.values().filter(|asked| asked.owner == **owner).count();
        let limits = [spare.saturating_sub(asked_of_it), share.saturating_sub(mine)];
        let count = limits.into_iter().min().unwrap_or(0).min(self.max_handovers.saturating_sub(self.asked.len()));
        let mut candidates: Vec<_> = shards.iter().filter(|shard| !self.asked.contains_key(**shard)).collect();
        candidates.shuffle(random);
        for shard in candidates.into_iter().take(count) {
            plan.ask.push(((*shard).clone(), (*owner).clone()));
            self.asked.insert((*shard).clone(), Asked { owner: (*owner).clone(), applied: None });
        }
    }

    /// Notes whether a request is in the row. From then on, its owner has time to answer it.
    pub(crate) fn asked(&mut self, shard: &ShardId, is_applied: bool, now: Instant) {
        match self.asked.get_mut(shard) {
            Some(asked) if is_applied => asked.applied = Some(now),
            _ => drop(self.asked.remove(shard)),
        }
    }
}

#[cfg(test)]
mod tests;
