//! The messages of a subscription that were delivered and are not settled, each with its deadline. Pure.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::backlog::Entry;

/// Names one delivery of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LeaseId(pub(super) u64);

/// Names the stream, or the single pull, that a message was delivered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct StreamId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) entry: Entry,
    pub(super) stream: StreamId,
    deadline: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    granted: u64,
    held: HashMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
}

impl Leases {
    pub(super) fn grant(&mut self, entry: Entry, stream: StreamId, deadline: Instant) -> LeaseId {
        self.granted += 1;
        let id = LeaseId(self.granted);
        self.held.insert(id, Lease { entry, stream, deadline });
        self.deadlines.insert((deadline, id));
        id
    }

    /// Ends a lease; `None` when it has ended before, which is no error.
    pub(super) fn end(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.held.remove(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        Some(lease)
    }

    pub(super) fn extend(&mut self, id: LeaseId, deadline: Instant) {
        let Some(lease) = self.held.get_mut(&id) else { return };
        self.deadlines.remove(&(lease.deadline, id));
        self.deadlines.insert((deadline, id));
        lease.deadline = deadline;
    }

    /// Ends the lease that is longest past its deadline.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Lease> {
        let (_, id) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.end(id)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn count(&self) -> usize {
        self.held.len()
    }
}
