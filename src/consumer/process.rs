//! What all workers of the process share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

use super::circuit_breaker::CircuitBreaker;
use super::drain::Drain;
use super::health::{Condition, Fault, Health};
use super::liveness::Liveness;
use super::metrics::Metrics;
use super::outage::Outage;
use super::outcome::is_outage;
use super::parking_lot::ParkingLot;
use super::port::{StoreError, StoreErrorKind};
use super::rate_limited_log::RateLimitedLog;
use super::refusals::Refusals;
use super::settings::Settings;
use super::spans::Spans;
use super::write_permits::{Change, WritePermit, WritePermits};
use crate::scan::{Key, Reason};

/// Eight failures in a row, with no answer between them, are an outage of the store.
const STORE_FAILURES: u32 = 8;

/// A store that answers within a few milliseconds keeps a core busy with as many.
const FIRST_WRITES_A_THREAD: usize = 32;

/// One for the whole process: bounds, counters, and what is known of the store and the dead-letter topic.
#[derive(Debug)]
pub struct Process {
    pub settings: Settings,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub drain: Drain,
    pub liveness: Liveness,
    /// What opens the span of each message; none are without it.
    pub spans: OnceLock<Spans>,
    /// `--max-outstanding`: messages decoded, waiting or being written. Taken after a message has arrived.
    pub(super) slots: Arc<Semaphore>,
    /// Writes in flight, at most `max_writes`; held for an attempt only, never through a backoff.
    pub(super) write_permits: WritePermits,
    pub(super) parked: ParkingLot,
    pub(super) refusals: Refusals,
    pub(super) store_breaker: CircuitBreaker,
    pub(super) dead_letter_breaker: CircuitBreaker,
    pub(super) rejection_logs: [RateLimitedLog; Reason::ALL.len()],
    pub(super) give_up_log: RateLimitedLog,
    pub(super) short_dead_letter_log: RateLimitedLog,
    pub(super) bare_dead_letter_log: RateLimitedLog,
    pub(super) refused_log: RateLimitedLog,
    pub(super) unflushed_log: RateLimitedLog,
    throttled_log: RateLimitedLog,
    /// Whether the throttling of now was said, so that its end is to be said as well.
    throttling_logged: AtomicBool,
    outage: Outage,
}

impl Process {
    pub fn new(settings: Settings) -> Process {
        let slots = settings.max_outstanding.get();
        Process {
            metrics: Arc::default(),
            health: Arc::default(),
            drain: Drain::default(),
            liveness: Liveness::default(),
            spans: OnceLock::new(),
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
    pub(super) async fn free_slot(&self) -> OwnedSemaphorePermit {
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        self.refusals.admission().await;
        slot
    }

    /// The turn to write: through the gate, and within the bound of writes in flight.
    pub(super) async fn turn(&self) -> WritePermit<'_> {
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
    pub(super) fn stored(&self, sent: u64, key: &Key) {
        if self.refusals.stored(sent, key) {
            self.refusals_changed(None);
        }
    }

    /// The store took a write, or holds a newer one.
    pub(super) fn store_took(&self) {
        self.store_answered();
        if self.write_permits.taken() == Change::Restored && self.throttling_logged.swap(false, Ordering::Relaxed) {
            info!("table {} takes writes at full rate again", self.settings.table);
        }
    }

    /// The store answered, whatever it said.
    pub(super) fn store_answered(&self) {
        if self.store_breaker.answered() {
            self.health.follow(Condition::Store, None, || self.store_breaker.is_open());
        }
    }

    pub(super) fn count_throttled(&self, error: &StoreError) {
        if matches!(error.kind, StoreErrorKind::Throttled | StoreErrorKind::HotKey) {
            self.metrics.throttled.add_one();
        }
        if error.kind == StoreErrorKind::HotKey {
            self.metrics.hot_keys.add_one();
        }
    }

    pub(super) fn store_failed(&self, error: &StoreError) {
        self.count_throttled(error);
        if error.kind == StoreErrorKind::Throttled {
            self.table_throttled(error);
        }
        if !is_outage(error.kind) {
            self.store_answered();
        } else if self.store_breaker.failed() {
            let fault = Fault { error: error.kind.name(), detail: self.outage.begins(error) };
            self.health.follow(Condition::Store, Some(fault), || self.store_breaker.is_open());
        } else if self.store_breaker.is_open() {
            if let Some(detail) = self.outage.goes_on(error) {
                self.health.change(Condition::Store, Fault { error: error.kind.name(), detail });
            }
        } else {
            self.outage.single(error);
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

    pub(super) fn topic_answered(&self) {
        self.dead_letter_breaker.answered();
        self.health.follow(Condition::DeadLetters, None, || self.dead_letter_breaker.is_open());
    }

    pub(super) fn topic_failed(&self, detail: &str) {
        self.dead_letter_breaker.failed();
        let fault = Fault { error: StoreErrorKind::Unavailable.name(), detail: detail.to_owned() };
        self.health.follow(Condition::DeadLetters, Some(fault), || self.dead_letter_breaker.is_open());
    }

    /// The topic is there, and refuses a letter even with its reason as the only attribute.
    pub(super) fn dead_letter_refused(&self, detail: &str) {
        self.dead_letter_breaker.answered();
        let detail =
            format!("a letter is refused even with its reason alone, its message is held and comes again: {detail}");
        self.health.raise(Condition::DeadLetters, StoreErrorKind::Refused.name(), &detail);
    }

    /// Every write is refused from now on, or no longer.
    pub(super) fn refusals_changed(&self, detail: Option<String>) {
        let fault = detail.map(|detail| Fault { error: StoreErrorKind::Refused.name(), detail });
        self.health.follow(Condition::Refusals, fault, || self.refusals.is_paced());
    }
}
