//! One lease of this instance: which write is next, what its answer means, and when the lease ends for us.

use std::time::Duration;

use tokio::time::Instant;

use crate::lease::{Checkpoint, Lease, Owner};
use crate::ports::{Expected, LeaseUpdate, LostReason, Updated};
use crate::settings::{Settings, backoff};
use crate::shard::ShardId;
use crate::window::Finished;

/// A lease that this instance owns. Renewals and checkpoints are the same writes, and at most one is in flight.
#[derive(Debug)]
pub(crate) struct OwnedLease {
    me: Owner,
    lease: Lease,
    failover: Duration,
    checkpoint_interval: Duration,
    checkpoint_records: u64,
    /// When the last applied write was sent. The table applied it later, so nobody sees the lease expire before we do.
    renewed: Instant,
    checkpointed: Instant,
    /// How many records this instance had finished at the last checkpoint.
    checkpointed_records: u64,
    in_flight: Option<InFlight>,
    /// When the first write since the last answer was sent.
    unanswered_since: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
    /// The row was deleted, so the next write creates it.
    is_deleted: bool,
}

#[derive(Debug)]
struct InFlight {
    sent: Instant,
    intent: Intent,
    checkpoint: Option<Checkpoint>,
    /// How many records this instance had finished.
    records: u64,
}

/// What the session wants of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Keep,
    /// Nothing is in progress any more. The lease goes to another instance, or to the first one that takes it.
    Release {
        to: Option<Owner>,
    },
    /// All records of the shard are finished.
    Finish {
        children: Vec<ShardId>,
    },
}

/// The next write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Update(Expected, LeaseUpdate),
    Restore(Lease),
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The lease is still ours.
    Kept {
        stored: Option<Checkpoint>,
        is_restored: bool,
    },
    Released,
    Finished,
    Lost(LostReason),
}

impl OwnedLease {
    /// Begins with the row that this instance wrote when it took the lease, at the time when the write was sent.
    pub(crate) fn new(lease: Lease, me: Owner, sent: Instant, settings: &Settings) -> OwnedLease {
        OwnedLease {
            me,
            lease,
            failover: settings.failover,
            checkpoint_interval: settings.checkpoint_interval,
            checkpoint_records: settings.checkpoint_records,
            renewed: sent,
            checkpointed: sent,
            checkpointed_records: 0,
            in_flight: None,
            unanswered_since: None,
            failures: 0,
            not_before: None,
            is_deleted: false,
        }
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Returns when this instance must stop, because others may take the lease from then on.
    pub(crate) fn expires(&self) -> Instant {
        self.renewed + self.failover
    }

    /// Returns when the next write is due. While one is in flight, none is.
    pub(crate) fn next_write(&self, finished: Option<Finished<'_>>, intent: &Intent) -> Option<Instant> {
        if self.in_flight.is_some() {
            return None;
        }
        let mut due = self.renewed + self.failover / 3;
        if self.moved(finished).is_some() {
            let records = finished.map_or(0, |finished| finished.records) - self.checkpointed_records;
            let is_far = records >= self.checkpoint_records;
            due = due.min(self.checkpointed + if is_far { Duration::ZERO } else { self.checkpoint_interval });
        }
        if *intent != Intent::Keep || self.is_deleted {
            due = self.renewed;
        }
        Some(self.not_before.map_or(due, |earliest| due.max(earliest)))
    }

    fn moved(&self, finished: Option<Finished<'_>>) -> Option<Checkpoint> {
        let checkpoint = Checkpoint::After(finished?.last.clone());
        (self.lease.checkpoint != checkpoint).then_some(checkpoint)
    }

    /// Returns the write that is due now. The caller must send it and give its answer to [`OwnedLease::answer`].
    pub(crate) fn write(&mut self, now: Instant, finished: Option<Finished<'_>>, intent: &Intent) -> Option<Request> {
        if now < self.next_write(finished, intent)? {
            return None;
        }
        // A deleted row is created first, and its checkpoint moves with the next write.
        let intent = if self.is_deleted { Intent::Keep } else { intent.clone() };
        let checkpoint = match intent {
            Intent::Finish { .. } => Some(Checkpoint::ShardEnd),
            _ => self.moved(finished),
        };
        let records = finished.map_or(0, |finished| finished.records);
        self.in_flight = Some(InFlight { sent: now, intent: intent.clone(), checkpoint: checkpoint.clone(), records });
        self.unanswered_since.get_or_insert(now);
        let counter = self.lease.counter + 1;
        if self.is_deleted {
            let checkpoint = checkpoint.unwrap_or_else(|| self.lease.checkpoint.clone());
            return Some(Request::Restore(Lease { counter, checkpoint, ..self.lease.clone() }));
        }
        let expected = Expected { owner: Some(self.me.clone()), counter: Some(self.lease.counter) };
        let (owner, children) = match intent {
            Intent::Keep => (None, None),
            Intent::Release { to } => (Some(to), None),
            Intent::Finish { children } => (Some(None), Some(children)),
        };
        let update = LeaseUpdate {
            handover_to: owner.is_some().then_some(None),
            owner,
            counter: Some(counter),
            owner_switches: checkpoint.is_some().then_some(0),
            checkpoint,
            children,
        };
        Some(Request::Update(expected, update))
    }

    /// Takes the answer of the write in flight.
    pub(crate) fn answer(&mut self, updated: Updated) -> Step {
        let InFlight { sent, intent, checkpoint, records } = self.in_flight.take().expect("an answer follows a write");
        let unanswered_since = self.unanswered_since.take().unwrap_or(sent);
        self.failures = 0;
        self.not_before = None;
        let is_restored = self.is_deleted;
        match updated {
            Updated::Applied(row) => {
                self.renewed = sent;
                self.checkpointed_records = records;
                match intent {
                    Intent::Keep => self.keep(row, sent, checkpoint.is_some(), is_restored),
                    Intent::Release { .. } => Step::Released,
                    Intent::Finish { .. } => Step::Finished,
                }
            }
            // Each write of an owner increases the counter once, so this one is ours. Its answer was lost.
            Updated::Refused(Some(row)) if self.is_ours(&row) => {
                self.renewed = unanswered_since;
                let is_stored = row.checkpoint != self.lease.checkpoint;
                self.keep(row, unanswered_since, is_stored, is_restored)
            }
            Updated::Refused(Some(row)) if matches!(intent, Intent::Finish { .. }) && row.is_finished() => {
                Step::Finished
            }
            Updated::Refused(Some(_)) if is_restored => Step::Lost(LostReason::Deleted),
            Updated::Refused(Some(_)) if matches!(intent, Intent::Release { .. }) => Step::Released,
            Updated::Refused(Some(_)) => Step::Lost(LostReason::Taken),
            Updated::Refused(None) => {
                self.is_deleted = true;
                Step::Kept { stored: None, is_restored: false }
            }
        }
    }

    fn is_ours(&self, row: &Lease) -> bool {
        row.owner.as_ref() == Some(&self.me) && row.counter == self.lease.counter + 1
    }

    fn keep(&mut self, row: Lease, sent: Instant, is_stored: bool, is_restored: bool) -> Step {
        self.is_deleted = false;
        self.lease = row;
        if is_stored {
            self.checkpointed = sent;
        }
        Step::Kept { stored: is_stored.then(|| self.lease.checkpoint.clone()), is_restored }
    }

    /// Notes that the write in flight got no answer. The next one has the same condition, so at most one is applied.
    pub(crate) fn fail(&mut self, now: Instant, random: f64) {
        self.in_flight = None;
        self.failures += 1;
        self.not_before = Some(now + backoff(self.failover / 100, self.failover / 10, self.failures, random));
    }
}

#[cfg(test)]
mod tests;
