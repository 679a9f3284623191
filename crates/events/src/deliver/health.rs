//! The conditions that make a deliverer unready, and the log of what the reader of the stream reports.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dynamodb::{StoreError, StoreErrorKind};
use dynamodb_streams::{LeaseErrorKind, Report, ShardId, StreamErrorKind};
use ops::RateLimitedLog;
use ops::health::{self, Fault, Health};
use tokio::time::Instant;
use tracing::{error, info, warn};

/// Failures in a row after which a part is unhealthy.
const OUTAGE: u32 = 8;
/// An instance may never send another dead letter, so the failure of one is forgotten after this time.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Reads of a shard may fail for this long.
const UNREAD: Duration = Duration::from_secs(30);

/// Something that makes a deliverer unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The table of routes does not answer.
    Routes,
    /// The table of deliveries does not answer, so records wait.
    Deliveries,
    /// The dead-letter queue does not answer.
    DeadLetterQueue,
    /// The lease table does not answer.
    Leases,
    /// The stream cannot be read.
    Stream,
    /// The table has no enabled stream.
    Disabled,
}

impl Condition {
    const COUNT: usize = 6;
}

impl health::Condition for Condition {
    fn kind(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::Routes => "routes table",
            Condition::Deliveries => "deliveries table",
            Condition::DeadLetterQueue => "dead-letter queue of deliveries",
            Condition::Leases => "lease table",
            Condition::Stream => "stream",
            Condition::Disabled => "stream of the table",
        })
    }
}

/// Follows the health of a deliverer.
#[derive(Debug, Default)]
pub struct Watch {
    pub health: Health<Condition>,
    /// Failed calls in a row, by condition.
    failures: [AtomicU32; Condition::COUNT],
    /// When a dead letter failed last.
    dead_letter_failed: Mutex<Option<Instant>>,
    /// The shards whose reads have failed for too long.
    unread: Mutex<BTreeSet<ShardId>>,
    retries: RateLimitedLog,
    dead: RateLimitedLog,
}

impl Watch {
    /// Notes the end of a call of a table.
    pub fn called_table(&self, condition: Condition, failure: Option<&StoreError>) {
        let Some(error) = failure else { return self.recovered(condition) };
        match error.kind {
            // The item is at fault.
            StoreErrorKind::Refused | StoreErrorKind::ForeignRow | StoreErrorKind::Conflict => {}
            StoreErrorKind::Unavailable
            | StoreErrorKind::OpenFiles
            | StoreErrorKind::Throttled
            | StoreErrorKind::HotKey => self.called(condition, Some((error.kind.name(), &error.detail))),
            _ => self.health.raise(condition, error.kind.name(), &error.detail),
        }
    }

    /// Notes the end of a call: the name of its error and what failed, if it did.
    pub fn called(&self, condition: Condition, failure: Option<(&'static str, &String)>) {
        let Some((error, detail)) = failure else { return self.recovered(condition) };
        if condition == Condition::DeadLetterQueue {
            *self.dead_letter_failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        if self.failures[condition as usize].fetch_add(1, Ordering::Relaxed) + 1 >= OUTAGE {
            self.health.raise(condition, error, detail);
        }
    }

    /// Forgets an old failure of the dead-letter queue. Call it every second.
    pub fn forget_old_failures(&self) {
        let mut failed = self.dead_letter_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|at| at.elapsed() >= FORGOTTEN) {
            *failed = None;
            self.recovered(Condition::DeadLetterQueue);
        }
    }

    fn recovered(&self, condition: Condition) {
        self.failures[condition as usize].store(0, Ordering::Relaxed);
        self.health.clear(condition);
    }

    /// Logs a report of the reader, and decides what it means for the health of this instance.
    pub fn report(&self, report: &Report<'_>) {
        match report {
            Report::StreamFailed { shard: None, error } => match error.kind {
                StreamErrorKind::Denied => self.health.raise(Condition::Stream, "Denied", &error.to_string()),
                _ => self.called(Condition::Stream, Some(("Unavailable", &error.to_string()))),
            },
            Report::LeaseTableFailed { error, .. } => match error.kind {
                LeaseErrorKind::Denied | LeaseErrorKind::Missing => {
                    self.health.raise(Condition::Leases, "Denied", &error.to_string());
                }
                _ => self.called(Condition::Leases, Some(("Unavailable", &error.to_string()))),
            },
            Report::Leases { .. } => self.recovered(Condition::Leases),
            Report::PageRead { .. } => self.failures[Condition::Stream as usize].store(0, Ordering::Relaxed),
            Report::ShardProgress { shard, failing_since, .. } => {
                self.read(shard, failing_since.is_some_and(|since| since.elapsed() >= UNREAD));
            }
            Report::SessionEnded { shard } => self.read(shard, false),
            Report::RecordDead { shard, sequence_number, reason, .. } => {
                if let Some(suppressed) = self.dead.due() {
                    let (shard, sequence) = (shard.as_str(), sequence_number.as_str());
                    error!(shard, sequence, reason, suppressed, "a record is no event; its dead letter is sent");
                }
            }
            Report::RecordRetried { reason, .. } | Report::HandlerUnavailable { reason, .. } => {
                if let Some(suppressed) = self.retries.due() {
                    warn!(reason, suppressed, "an event waits for a store");
                }
            }
            other => log(other),
        }
    }

    fn read(&self, shard: &ShardId, is_unread: bool) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = if is_unread { unread.insert(shard.clone()) } else { unread.remove(shard) };
        let detail = format!("reads of {} shards fail", unread.len());
        let is_listed = self.failures[Condition::Stream as usize].load(Ordering::Relaxed) < OUTAGE;
        let holds = !unread.is_empty() || !is_listed;
        self.health.update(Condition::Stream, Some(Fault { error: "Unavailable", detail }), || holds);
    }
}

/// Logs what an operator may want to know of the reader.
fn log(report: &Report<'_>) {
    match report {
        Report::Gap(gap) => error!(
            shard = gap.shard.as_str(), after = ?gap.after, last_created = ?gap.last_created, noticed = ?gap.noticed,
            "events may be undelivered: the stream deleted their records before they were read; deliver them again with \
             `event-pipeline events replay`"
        ),
        Report::DeadLetterFailed { shard, sequence_number, error } => error!(
            shard = shard.as_str(),
            sequence = sequence_number.as_str(),
            error,
            "cannot send a dead letter; the shard waits for it"
        ),
        Report::StreamEnabled(false) => warn!("the stream is disabled; it is read to its end"),
        Report::StartRestored => warn!("the start of the stream was missing in the lease table, and was restored"),
        Report::LeaseRestored { shard } => warn!(shard = shard.as_str(), "a lease was deleted, and was restored"),
        Report::LeaseTaken { shard, from, .. } => {
            info!(shard = shard.as_str(), from = from.map(|owner| owner.as_str()), "took a lease");
        }
        Report::LeaseReleased { shard, to } => {
            info!(shard = shard.as_str(), to = to.map(|owner| owner.as_str()), "released a lease");
        }
        Report::LeaseLost { shard, reason } => warn!(shard = shard.as_str(), ?reason, "lost a lease"),
        Report::ShardUnreadable { shard } => {
            warn!(shard = shard.as_str(), "released the lease of a shard that cannot be read");
        }
        Report::ShardFinished { shard, .. } => info!(shard = shard.as_str(), "finished a shard"),
        _ => {}
    }
}
