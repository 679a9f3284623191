//! The outstanding messages of a subscription (delivered and not settled), each with its deadline. This module is pure.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::backlog::Entry;

/// Identifies one delivery of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LeaseId(pub(super) u64);

/// Identifies the stream, or the unary pull, that a message was delivered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct StreamId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) entry: Entry,
    pub(super) stream: StreamId,
    pub(super) granted: Instant,
    deadline: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    last_id: u64,
    active: HashMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
}

impl Leases {
    pub(super) fn grant(&mut self, entry: Entry, stream: StreamId, granted: Instant, deadline: Instant) -> LeaseId {
        self.last_id += 1;
        let id = LeaseId(self.last_id);
        self.active.insert(id, Lease { entry, stream, granted, deadline });
        self.deadlines.insert((deadline, id));
        id
    }

    /// Ends a lease. Returns `None` if it has already ended, which is not an error.
    pub(super) fn end(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.active.remove(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        Some(lease)
    }

    pub(super) fn extend(&mut self, id: LeaseId, deadline: Instant) {
        let Some(lease) = self.active.get_mut(&id) else { return };
        self.deadlines.remove(&(lease.deadline, id));
        self.deadlines.insert((deadline, id));
        lease.deadline = deadline;
    }

    /// Ends the lease with the earliest deadline, if that deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Lease> {
        let (_, id) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.end(id)
    }

    /// Ends the leases of the messages that fulfil `condition`.
    pub(super) fn end_all(&mut self, condition: impl Fn(&Entry) -> bool) -> Vec<Lease> {
        let ended: Vec<_> = self.active.extract_if(|_, lease| condition(&lease.entry)).collect();
        for (id, lease) in &ended {
            self.deadlines.remove(&(lease.deadline, *id));
        }
        ended.into_iter().map(|(_, lease)| lease).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn count(&self) -> usize {
        self.active.len()
    }
}
