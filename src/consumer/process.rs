//! What all workers of the process share.

mod census;
mod drain;
mod load;
mod readiness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ops::{Liveness, RateLimitedLog};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

use self::census::Census;
use super::flow::{Change, CircuitBreaker, ParkingLot, Refusals, WritePermit, WritePermits};
use super::health::{Condition, Fault, Health, Outage};
use super::policy::is_outage;
use super::ports::{Observer, StoreError, StoreErrorKind};
use super::settings::Settings;
use crate::scan::{Key, Reason};

pub use drain::Drain;
pub use load::Load;

/// Eight failures in a row, with no answer between them, are an outage of the store.
const STORE_FAILURES: u32 = 8;

/// A store that answers within a few milliseconds keeps a core busy with as many.
const FIRST_WRITES_A_THREAD: usize = 32;

/// One for the whole process: bounds, counters, and what is known of the store and the dead-letter topic.
#[derive(Debug)]
pub struct Process {
    pub settings: Settings,
    pub observer: Arc<dyn Observer>,
    pub health: Arc<Health>,
    pub drain: Drain,
    pub liveness: Liveness,
    pub(crate) census: Census,
    /// `--max-outstanding`: messages decoded, waiting or being written. Taken after a message has arrived.
    pub(crate) slots: Arc<Semaphore>,
    /// Writes in flight, at most `max_writes`; held for an attempt only, never through a backoff.
    pub(crate) write_permits: WritePermits,
    pub(crate) parked: ParkingLot,
    pub(crate) refusals: Refusals,
    pub(crate) store_breaker: CircuitBreaker,
    pub(crate) dead_letter_breaker: CircuitBreaker,
    pub(crate) rejection_logs: [RateLimitedLog; Reason::ALL.len()],
    pub(crate) give_up_log: RateLimitedLog,
    pub(crate) short_dead_letter_log: RateLimitedLog,
    pub(crate) bare_dead_letter_log: RateLimitedLog,
    pub(crate) refused_log: RateLimitedLog,
    pub(crate) unflushed_log: RateLimitedLog,
    throttled_log: RateLimitedLog,
    /// Whether the throttling of now was said, so that its end is to be said as well.
    throttling_logged: AtomicBool,
    outage: Outage,
}

impl Process {
    pub fn new(settings: Settings, observer: Arc<dyn Observer>) -> Process {
        let slots = settings.max_outstanding.get();
        Process {
            observer,
            health: Arc::default(),
            drain: Drain::default(),
            liveness: Liveness::default(),
            census: Census::default(),
            slots: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
            write_permits: WritePermits::new(FIRST_WRITES_A_THREAD * settings.threads.get(), settings.max_writes.get()),
            parked: ParkingLot::new((slots / 10).max(1)),
            refusals: Refusals::default(),
            store_breaker: CircuitBreaker::new(STORE_FAILURES),
            dead_letter_breaker: CircuitBreaker::new(1),
            rejection_logs: Default::default(),
            give_up_log: RateLimitedLog::default(),
            short_dead_letter_log: RateLimitedLog::default(),
            bare_dead_letter_log: RateLimitedLog::default(),
            refused_log: RateLimitedLog::default(),
            unflushed_log: RateLimitedLog::default(),
            throttled_log: RateLimitedLog::default(),
            throttling_logged: AtomicBool::new(false),
            outage: Outage::new(settings.table.clone(), STORE_FAILURES),
            settings,
        }
    }

    /// A slot of `--max-outstanding`, and while every write is being refused, the turn to write.
    pub(crate) async fn free_slot(&self) -> OwnedSemaphorePermit {
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        self.refusals.admission().await;
        slot
    }

    /// The turn to write: through the gate, and within the bound of writes in flight.
    pub(crate) async fn turn(&self) -> WritePermit<'_> {
        loop {
            let is_probe = self.store_breaker.pass().await;
            let turn = self.write_permits.next().await;
            // The gate may have closed while this one queued for its turn.
            if is_probe || !self.store_breaker.is_open() {
                return turn;
            }
        }
    }

    /// A write that was sent at this tick is stored.
    pub(crate) fn stored(&self, sent: u64, key: &Key) {
        if self.refusals.stored(sent, key) {
            self.refusals_changed(None);
        }
    }

    /// The store took a write, or holds a newer one.
    pub(crate) fn store_took(&self) {
        self.store_answered();
        if self.write_permits.taken() == Change::Restored && self.throttling_logged.swap(false, Ordering::Relaxed) {
            info!("table {} takes writes at full rate again", self.settings.table);
        }
    }

    /// The store answered, whatever it said.
    pub(crate) fn store_answered(&self) {
        if self.store_breaker.answered() {
            self.health.update(Condition::Store, None, || self.store_breaker.is_open());
        }
    }

    pub(crate) fn count_throttled(&self, error: &StoreError) {
        if matches!(error.kind, StoreErrorKind::Throttled | StoreErrorKind::HotKey) {
            self.observer.throttled(error.kind);
        }
    }

    pub(crate) fn store_failed(&self, error: &StoreError) {
        self.count_throttled(error);
        if error.kind == StoreErrorKind::Throttled {
            self.table_throttled(error);
        }
        if !is_outage(error.kind) {
            self.store_answered();
        } else if self.store_breaker.failed() {
            let fault = Fault { error: error.kind.name(), detail: self.outage.begins(error) };
            self.health.update(Condition::Store, Some(fault), || self.store_breaker.is_open());
        } else if self.store_breaker.is_open() {
            if let Some(detail) = self.outage.goes_on(error) {
                self.health.change(Condition::Store, Fault { error: error.kind.name(), detail });
            }
        } else {
            self.outage.single(error);
        }
    }

    pub fn load(&self) -> Load {
        let outstanding_limit = self.settings.max_outstanding.get();
        let (parked, parked_limit) = self.parked.used();
        let (writes, writes_limit) = self.write_permits.used();
        Load {
            unsettled: self.census.unsettled(),
            outstanding: outstanding_limit.saturating_sub(self.slots.available_permits()),
            outstanding_limit,
            parked,
            parked_limit,
            writes,
            writes_limit,
            writes_limit_max: self.settings.max_writes.get(),
            circuit_breaker_open: self.store_breaker.is_open(),
        }
    }

    fn table_throttled(&self, error: &StoreError) {
        if let Change::Lowered(limit) = self.write_permits.throttled()
            && let Some(suppressed) = self.throttled_log.due()
        {
            let Settings { table, max_writes, .. } = &self.settings;
            self.throttling_logged.store(true, Ordering::Relaxed);
            warn!(
                error.type = error.kind.name(),
                suppressed,
                "table {table} is throttled; {limit} of {max_writes} writes in flight for now: {error}"
            );
        }
    }

    pub(crate) fn topic_answered(&self) {
        self.dead_letter_breaker.answered();
        self.health.update(Condition::DeadLetters, None, || self.dead_letter_breaker.is_open());
    }

    pub(crate) fn topic_failed(&self, detail: &str) {
        self.dead_letter_breaker.failed();
        let fault = Fault { error: StoreErrorKind::Unavailable.name(), detail: detail.to_owned() };
        self.health.update(Condition::DeadLetters, Some(fault), || self.dead_letter_breaker.is_open());
    }

    /// The topic is there, and refuses a letter even with its reason as the only attribute.
    pub(crate) fn dead_letter_refused(&self, detail: &str) {
        self.dead_letter_breaker.answered();
        let detail =
            format!("a letter is refused even with its reason alone, its message is held and comes again: {detail}");
        self.health.raise(Condition::DeadLetters, StoreErrorKind::Refused.name(), &detail);
    }

    /// Every write is refused from now on, or no longer.
    pub(crate) fn refusals_changed(&self, detail: Option<String>) {
        let fault = detail.map(|detail| Fault { error: StoreErrorKind::Refused.name(), detail });
        self.health.update(Condition::Refusals, fault, || self.refusals.is_paced());
    }
}
