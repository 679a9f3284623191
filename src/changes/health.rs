//! The conditions that make an instance unready, and the log of what the reader of the stream reports.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dynamodb_streams::{LeaseErrorKind, Report, ShardId, StreamErrorKind};
use ops::RateLimitedLog;
use ops::health::{self, Fault, Health};
use tracing::{error, info, warn};

use crate::consumer::ports::{StoreError, StoreErrorKind};

/// Failures in a row after which a part is unhealthy.
const OUTAGE: u32 = 8;
/// Reads of a shard may fail for this long.
const UNREAD: Duration = Duration::from_secs(30);

/// Something that makes this instance unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The history does not answer, is throttled, or refuses the credentials.
    History,
    /// The lease table does not answer.
    Leases,
    /// The stream cannot be read.
    Stream,
    /// The table has no enabled stream.
    Disabled,
    /// Half of the records are unreadable.
    Records,
    /// The table of subscriptions does not answer.
    Subscriptions,
    /// The table of deliveries does not answer, so records wait.
    Deliveries,
    /// Some subscriptions cannot be read, or their secrets cannot be opened.
    Unusable,
}

impl health::Condition for Condition {
    fn kind(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::History => "history table",
            Condition::Leases => "lease table",
            Condition::Stream => "stream",
            Condition::Disabled => "stream of the table",
            Condition::Records => "records",
            Condition::Subscriptions => "webhooks table",
            Condition::Deliveries => "deliveries table",
            Condition::Unusable => "webhooks",
        })
    }
}

/// Follows the health of the reader.
#[derive(Debug, Default)]
pub struct Watch {
    pub health: Health<Condition>,
    /// Failed calls in a row.
    history: AtomicU32,
    leases: AtomicU32,
    listings: AtomicU32,
    subscriptions: AtomicU32,
    deliveries: AtomicU32,
    unread: Mutex<Unread>,
    retries: RateLimitedLog,
    dead: RateLimitedLog,
}

/// The shards that cannot be read.
#[derive(Debug, Default)]
struct Unread {
    /// Their reads have failed for too long.
    owned: BTreeSet<ShardId>,
    /// This instance released them, and nobody has taken them since.
    released: BTreeSet<ShardId>,
    /// The scans in a row that found an owner of every lease.
    owned_scans: u32,
}

impl Unread {
    /// Notes how many leases have no owner. One scan does not suffice, because it may have begun before the release.
    fn scanned(&mut self, unowned: usize) {
        self.owned_scans = if unowned == 0 { self.owned_scans + 1 } else { 0 };
        if self.owned_scans >= 2 {
            self.released.clear();
        }
    }
}

impl Watch {
    /// Notes the end of a call of the history.
    pub(super) fn called(&self, failure: Option<&StoreError>) {
        self.ended(Condition::History, &self.history, failure);
    }

    /// Notes the end of a call of the table of subscriptions.
    pub fn called_subscriptions(&self, failure: Option<&StoreError>) {
        self.ended(Condition::Subscriptions, &self.subscriptions, failure);
    }

    /// Notes the end of a call of the table of deliveries.
    pub fn called_deliveries(&self, failure: Option<&StoreError>) {
        self.ended(Condition::Deliveries, &self.deliveries, failure);
    }

    fn ended(&self, condition: Condition, failures: &AtomicU32, failure: Option<&StoreError>) {
        let Some(error) = failure else { return self.recovered(condition, failures) };
        match error.kind {
            // The item is at fault.
            StoreErrorKind::Refused | StoreErrorKind::ForeignRow | StoreErrorKind::Conflict => {}
            StoreErrorKind::Unavailable
            | StoreErrorKind::OpenFiles
            | StoreErrorKind::Throttled
            | StoreErrorKind::HotKey => self.failed(condition, failures, error.kind.name(), &error.detail),
            _ => self.health.raise(condition, error.kind.name(), &error.detail),
        }
    }

    /// Notes whether half of the last records are unreadable.
    pub(super) fn rows(&self, are_unreadable: bool) {
        let detail =
            "half of the last records are unreadable: a newer program may write the table, so upgrade this one";
        let fault = Fault { error: "Unreadable", detail: detail.to_owned() };
        self.health.update(Condition::Records, Some(fault), || are_unreadable);
    }

    fn failed(&self, condition: Condition, failures: &AtomicU32, error: &'static str, detail: &str) {
        if failures.fetch_add(1, Ordering::Relaxed) + 1 >= OUTAGE {
            self.health.raise(condition, error, detail);
        }
    }

    fn recovered(&self, condition: Condition, failures: &AtomicU32) {
        failures.store(0, Ordering::Relaxed);
        self.health.clear(condition);
    }

    /// Logs a report of the reader, and decides what it means for the health of this instance.
    pub fn report(&self, report: &Report<'_>) {
        match report {
            Report::StreamFailed { shard: None, error } => match error.kind {
                StreamErrorKind::Denied => self.health.raise(Condition::Stream, "Denied", &error.to_string()),
                _ => self.failed(Condition::Stream, &self.listings, "Unavailable", &error.to_string()),
            },
            Report::LeaseTableFailed { error, .. } => match error.kind {
                LeaseErrorKind::Denied | LeaseErrorKind::Missing => {
                    self.health.raise(Condition::Leases, "Denied", &error.to_string());
                }
                _ => self.failed(Condition::Leases, &self.leases, "Unavailable", &error.to_string()),
            },
            Report::Leases { unowned, .. } => {
                self.recovered(Condition::Leases, &self.leases);
                if !self.locked_unread().released.is_empty() {
                    self.update_unread(|unread| unread.scanned(*unowned));
                }
            }
            Report::ShardProgress { shard, failing_since, .. } => self.update_unread(|unread| {
                unread.released.remove(*shard);
                let is_unread = failing_since.is_some_and(|since| since.elapsed() >= UNREAD);
                let _ = if is_unread { unread.owned.insert((*shard).clone()) } else { unread.owned.remove(*shard) };
            }),
            Report::PageRead { .. } => self.listings.store(0, Ordering::Relaxed),
            Report::ShardUnreadable { shard } => {
                log(report);
                self.update_unread(|unread| {
                    unread.released.insert((*shard).clone());
                    unread.owned_scans = 0;
                });
            }
            Report::SessionEnded { shard } => self.update_unread(|unread| {
                unread.owned.remove(*shard);
            }),
            Report::RecordDead { shard, sequence_number, reason, .. } => {
                if let Some(suppressed) = self.dead.due() {
                    error!(
                        shard = shard.as_str(),
                        sequence = sequence_number.as_str(),
                        reason,
                        suppressed,
                        "a record cannot be handled; its dead letter is stored"
                    );
                }
            }
            Report::RecordRetried { reason, .. } | Report::HandlerUnavailable { reason, .. } => {
                if let Some(suppressed) = self.retries.due() {
                    warn!(reason, suppressed, "a record is handled again");
                }
            }
            other => log(other),
        }
    }

    /// Returns whether this instance released the shard because it could not read it, and nobody has taken it since.
    pub fn is_released_unread(&self, shard: &ShardId) -> bool {
        self.locked_unread().released.contains(shard)
    }

    fn locked_unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update_unread(&self, update: impl FnOnce(&mut Unread)) {
        let mut unread = self.locked_unread();
        update(&mut unread);
        let shards = unread.owned.union(&unread.released).count();
        let detail = format!("reads of {shards} shards fail");
        let is_listed = self.listings.load(Ordering::Relaxed) < OUTAGE;
        let holds = shards > 0 || !is_listed;
        self.health.update(Condition::Stream, Some(Fault { error: "Unavailable", detail }), || holds);
    }
}

/// Logs what an operator may want to know of the reader.
fn log(report: &Report<'_>) {
    match report {
        Report::Gap(gap) => error!(
            shard = gap.shard.as_str(), after = ?gap.after, cause = ?gap.cause,
            "changes are lost: the stream deleted them before they were read; repair the history with \
             `mini-scan changes backfill`"
        ),
        Report::GapNotStored { error, .. } => warn!(error, "cannot store a gap; the shard waits for it"),
        Report::DeadLetterFailed { shard, sequence_number, error } => error!(
            shard = shard.as_str(),
            sequence = sequence_number.as_str(),
            error,
            "cannot store a dead letter; the shard waits for it"
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dynamodb_streams::SequenceNumber;
    use tracing::{Event, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Counted(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Counted {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dead_letters_are_logged_once_in_ten_seconds() {
        let logged = Counted::default();
        let _logs = tracing::subscriber::set_default(tracing_subscriber::registry().with(logged.clone()));
        let (watch, shard, number) = (Watch::default(), ShardId::new("shard-1"), SequenceNumber::new("7"));
        for _ in 0..100 {
            watch.report(&Report::RecordDead { shard: &shard, sequence_number: &number, attempts: 1, reason: "bad" });
        }
        assert_eq!(logged.0.load(Ordering::Relaxed), 1);
    }
}
