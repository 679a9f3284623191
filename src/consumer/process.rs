//! The state that all workers of a process share: limits, health, drain, and what is known of the store and of the
//! dead-letter topic. Knows no message.

mod census;
mod drain;
mod expiry;
mod load;
mod readiness;
mod table;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ops::{Liveness, RateLimitedLog};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{info, warn};

use self::census::Census;
use super::flow::{Change, CircuitBreaker, KeyRangeThrottles, ParkingLot, Refusals, WritePermit, WritePermits};
use super::health::{Condition, Fault, Health, Outage};
use super::policy::is_outage;
use super::ports::{Answer, Observer, StoreError, StoreErrorKind, Throttle};
use super::settings::{ATTEMPT_TIMEOUT, Settings};
use crate::scan::{Key, Reason};

pub use drain::Drain;
pub use load::Load;

/// This many failures in a row without an answer are an outage of the store.
const STORE_FAILURES: u32 = 8;

/// Parked messages are settled within seconds after each other, so this bounds the rate of dead letters of refused writes: at
/// least 250 per second, because the table is described at most every two seconds.
const MIN_PARKED: usize = 500;

/// The table refuses every write if it refuses as many messages in a row as can be parked, but at least this many.
const MIN_REFUSALS: u32 = 20;

#[derive(Debug)]
pub struct Process {
    pub settings: Settings,
    pub observer: Arc<dyn Observer>,
    pub health: Arc<Health>,
    pub drain: Drain,
    pub liveness: Liveness,
    pub(crate) census: Census,
    /// One permit per message that is decoded, waiting or being written, up to `--max-outstanding`. A worker takes it after
    /// a message has arrived, so that idle workers hold none.
    pub(crate) slots: Arc<Semaphore>,
    /// One permit per write in flight. It is released during a backoff.
    pub(crate) write_permits: WritePermits,
    pub(crate) parking_lot: ParkingLot,
    pub(crate) refusals: Refusals,
    pub(crate) store_breaker: CircuitBreaker,
    pub(crate) dead_letter_breaker: CircuitBreaker,
    pub(crate) logs: Logs,
    key_range_throttles: Mutex<KeyRangeThrottles>,
    /// Whether the current throttling was logged, so that its end is logged as well.
    throttling_logged: AtomicBool,
    outage: Outage,
}

/// The log messages that can repeat for every message.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) rejected: [RateLimitedLog; Reason::ALL.len()],
    pub(crate) given_up: RateLimitedLog,
    pub(crate) short_dead_letter: RateLimitedLog,
    pub(crate) bare_dead_letter: RateLimitedLog,
    pub(crate) refused: RateLimitedLog,
    pub(crate) undescribed: RateLimitedLog,
    pub(crate) unflushed: RateLimitedLog,
    throttled: RateLimitedLog,
}

impl Process {
    pub fn new(settings: Settings, observer: Arc<dyn Observer>) -> Process {
        let slots = settings.max_outstanding.get();
        let parked = (slots / 10).max(MIN_PARKED).min(slots);
        Process {
            observer,
            health: Arc::default(),
            drain: Drain::default(),
            liveness: Liveness::default(),
            census: Census::default(),
            slots: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
            write_permits: WritePermits::new(
                settings.threads.get(),
                settings.consumers.get(),
                settings.max_writes.get(),
            ),
            parking_lot: ParkingLot::new(parked),
            refusals: Refusals::new(u32::try_from(parked).unwrap_or(u32::MAX).max(MIN_REFUSALS)),
            store_breaker: CircuitBreaker::new(STORE_FAILURES),
            dead_letter_breaker: CircuitBreaker::new(1),
            logs: Logs::default(),
            key_range_throttles: Mutex::default(),
            throttling_logged: AtomicBool::new(false),
            outage: Outage::new(settings.table.clone(), STORE_FAILURES),
            settings,
        }
    }

    /// Waits for a slot of `--max-outstanding`.
    pub(crate) async fn free_slot(&self) -> OwnedSemaphorePermit {
        self.slots.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Waits until this thread may send a write: until the circuit breakers let it pass and a permit of the thread is free.
    pub(crate) async fn write_permit(&self, thread: usize) -> WritePermit<'_> {
        let breakers = [&self.store_breaker, &self.refusals.breaker];
        loop {
            let is_probe = [breakers[0].pass().await, breakers[1].pass().await];
            let permit = self.write_permits.acquire(thread).await;
            // A breaker may have opened while this caller waited for the permit.
            if breakers.iter().zip(is_probe).all(|(breaker, is_probe)| is_probe || !breaker.is_open()) {
                return permit;
            }
        }
    }

    /// Records the answer to a write that was sent at this tick. A stale write shows only that the table answers.
    pub(crate) fn write_answered(&self, sent: u64, key: &Key, answer: Answer) {
        if answer == Answer::Stored {
            self.refusals.stored(sent, key);
        }
        self.table_answered();
    }

    /// Records an attempt that timed out while it had this permit. Returns its error.
    pub(crate) fn write_timed_out(&self, permit: &WritePermit<'_>) -> StoreError {
        // A timeout of a probe has nothing to do with the number of writes in flight.
        if !self.store_breaker.is_open() {
            self.write_permits.timed_out(permit);
        }
        StoreError::no_answer(ATTEMPT_TIMEOUT)
    }

    /// Records that the store answered a write with success: it is stored or stale.
    pub(crate) fn store_succeeded(&self) {
        self.store_answered();
        if self.write_permits.succeeded() == Change::Restored && self.throttling_logged.swap(false, Ordering::Relaxed) {
            info!(
                table = self.settings.table,
                "the table is not throttled any more; restored the limit of writes in flight"
            );
        }
    }

    /// Records any answer of the store, which closes the circuit breaker.
    pub(crate) fn store_answered(&self) {
        if self.store_breaker.answered() {
            self.health.update(Condition::Store, None, || self.store_breaker.is_open());
        }
    }

    /// Reports a throttled attempt to write this key. Returns what was throttled, or `None` for other errors.
    pub(crate) fn report_throttling(&self, error: &StoreError, key: &Key) -> Option<Throttle> {
        let is_partition = || {
            let mut throttles = self.key_range_throttles.lock().unwrap_or_else(PoisonError::into_inner);
            throttles.record(key, Instant::now())
        };
        let throttle = match error.kind {
            StoreErrorKind::Throttled => Throttle::Table,
            StoreErrorKind::HotKey if is_partition() => Throttle::Partition,
            StoreErrorKind::HotKey => Throttle::Key,
            _ => return None,
        };
        self.observer.throttled(throttle);
        Some(throttle)
    }

    /// Records a failed attempt to write this key. Returns what was throttled, if that is why it failed.
    pub(crate) fn store_failed(&self, error: &StoreError, key: &Key) -> Option<Throttle> {
        let throttle = self.report_throttling(error, key);
        if let Some(throttle) = throttle.filter(|throttle| throttle.lowers_limit()) {
            self.lower_write_limit(throttle, error);
        }
        if !is_outage(error.kind) {
            self.store_answered();
        } else if self.store_breaker.failed() {
            let fault = Fault { error: error.kind.name(), detail: self.outage.begin(error) };
            self.health.update(Condition::Store, Some(fault), || self.store_breaker.is_open());
        } else if self.store_breaker.is_open() {
            if let Some(detail) = self.outage.probe_failed(error) {
                self.health.change(Condition::Store, Fault { error: error.kind.name(), detail });
            }
        } else {
            self.outage.single_failure(error);
        }
        throttle
    }

    /// Returns the current use of every limit.
    pub fn load(&self) -> Load {
        let outstanding_limit = self.settings.max_outstanding.get();
        let (parked, parked_limit) = self.parking_lot.used();
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

    fn lower_write_limit(&self, throttle: Throttle, error: &StoreError) {
        if let Change::Lowered(limit) = self.write_permits.throttled()
            && let Some(suppressed) = self.logs.throttled.due()
        {
            let Settings { table, max_writes, .. } = &self.settings;
            self.throttling_logged.store(true, Ordering::Relaxed);
            let (throttled, next_step) = match throttle {
                Throttle::Partition => ("a partition of the table", Some("Pre-warm the table if it is new")),
                Throttle::Table | Throttle::Key => ("the table", None),
            };
            warn!(
                table,
                write_limit = limit,
                write_limit_max = max_writes,
                error.type = error.kind.name(),
                %error,
                next_step,
                suppressed,
                "{throttled} is throttled; lowered the limit of writes in flight"
            );
        }
    }

    /// Records that the dead-letter topic accepted a dead letter.
    pub(crate) fn topic_accepted(&self) {
        self.dead_letter_breaker.answered();
        self.health.update(Condition::DeadLetters, None, || self.dead_letter_breaker.is_open());
    }

    /// Records that the dead-letter topic could not be reached.
    pub(crate) fn topic_failed(&self, detail: &str) {
        self.dead_letter_breaker.failed();
        let fault = Fault { error: StoreErrorKind::Unavailable.name(), detail: detail.to_owned() };
        self.health.update(Condition::DeadLetters, Some(fault), || self.dead_letter_breaker.is_open());
    }

    /// Records that the topic answers, but refuses a dead letter that has only its reason as an attribute.
    pub(crate) fn dead_letter_refused(&self, detail: &str) {
        self.dead_letter_breaker.refused();
        let detail = format!(
            "a dead letter is refused even without its other attributes; its message is parked and redelivered: {detail}"
        );
        self.health.raise(Condition::DeadLetters, StoreErrorKind::Refused.name(), &detail);
    }
}
