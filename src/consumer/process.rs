//! What all workers of the process share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

use super::drain::Drain;
use super::gate::Gate;
use super::health::{Condition, Fault, Health};
use super::held::Held;
use super::occasional::Occasional;
use super::outage::Outage;
use super::outcome::is_outage;
use super::port::{StoreError, StoreErrorKind};
use super::pulse::Pulse;
use super::refusals::Refusals;
use super::settings::Settings;
use super::spans::Spans;
use super::tally::Tally;
use super::turns::{Change, Turn, Turns};
use crate::scan::{Key, Reason};

/// Eight failures in a row, with no answer between them, are an outage of the store.
const STORE_FAILURES: u32 = 8;

/// A store that answers within a few milliseconds keeps a core busy with as many.
const FIRST_WRITES_A_THREAD: usize = 32;

/// One for the whole process: bounds, counters, and what is known of the store and the dead-letter topic.
#[derive(Debug)]
pub struct Process {
    pub settings: Settings,
    pub tally: Arc<Tally>,
    pub health: Arc<Health>,
    pub drain: Drain,
    pub pulse: Pulse,
    /// What opens the span of each message; none are without it.
    pub spans: OnceLock<Spans>,
    /// `--max-outstanding`: messages decoded, waiting or being written. Taken after a message has arrived.
    pub(super) slots: Arc<Semaphore>,
    /// Writes in flight, at most `max_writes`; held for an attempt only, never through a backoff.
    pub(super) turns: Turns,
    pub(super) held: Held,
    pub(super) refusals: Refusals,
    pub(super) store_gate: Gate,
    pub(super) letter_gate: Gate,
    pub(super) rejection_lines: [Occasional; Reason::ALL.len()],
    pub(super) give_up_lines: Occasional,
    pub(super) short_letter_lines: Occasional,
    pub(super) bare_letter_lines: Occasional,
    pub(super) refused_lines: Occasional,
    pub(super) unflushed_lines: Occasional,
    throttled_lines: Occasional,
    /// Whether the throttling of now was said, so that its end is to be said as well.
    throttling_said: AtomicBool,
    outage: Outage,
}

impl Process {
    pub fn new(settings: Settings) -> Process {
        let slots = settings.max_outstanding.get();
        Process {
            tally: Arc::default(),
            health: Arc::default(),
            drain: Drain::default(),
            pulse: Pulse::default(),
            spans: OnceLock::new(),
            slots: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
            turns: Turns::new(FIRST_WRITES_A_THREAD * settings.threads.get(), settings.max_writes.get()),
            held: Held::new((slots / 10).max(1)),
            refusals: Refusals::default(),
            store_gate: Gate::new(STORE_FAILURES),
            letter_gate: Gate::new(1),
            rejection_lines: Default::default(),
            give_up_lines: Occasional::default(),
            short_letter_lines: Occasional::default(),
            bare_letter_lines: Occasional::default(),
            refused_lines: Occasional::default(),
            unflushed_lines: Occasional::default(),
            throttled_lines: Occasional::default(),
            throttling_said: AtomicBool::new(false),
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
    pub(super) async fn turn(&self) -> Turn<'_> {
        loop {
            let is_probe = self.store_gate.pass().await;
            let turn = self.turns.next().await;
            // The gate may have closed while this one queued for its turn.
            if is_probe || !self.store_gate.is_closed() {
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
        if self.turns.taken() == Change::Restored && self.throttling_said.swap(false, Ordering::Relaxed) {
            info!("table {} takes writes at full rate again", self.settings.table);
        }
    }

    /// The store answered, whatever it said.
    pub(super) fn store_answered(&self) {
        if self.store_gate.answered() {
            self.health.follow(Condition::Store, None, || self.store_gate.is_closed());
        }
    }

    pub(super) fn count_throttled(&self, error: &StoreError) {
        if matches!(error.kind, StoreErrorKind::Throttled | StoreErrorKind::HotKey) {
            self.tally.throttled.add_one();
        }
        if error.kind == StoreErrorKind::HotKey {
            self.tally.hot_keys.add_one();
        }
    }

    pub(super) fn store_failed(&self, error: &StoreError) {
        self.count_throttled(error);
        if error.kind == StoreErrorKind::Throttled {
            self.table_throttled(error);
        }
        if !is_outage(error.kind) {
            self.store_answered();
        } else if self.store_gate.failed() {
            let fault = Fault { error: error.kind.name(), detail: self.outage.begins(error) };
            self.health.follow(Condition::Store, Some(fault), || self.store_gate.is_closed());
        } else if self.store_gate.is_closed() {
            if let Some(detail) = self.outage.goes_on(error) {
                self.health.change(Condition::Store, Fault { error: error.kind.name(), detail });
            }
        } else {
            self.outage.single(error);
        }
    }

    fn table_throttled(&self, error: &StoreError) {
        if let Change::Lowered(limit) = self.turns.throttled()
            && let Some(not_said) = self.throttled_lines.due()
        {
            let Settings { table, max_writes, .. } = &self.settings;
            self.throttling_said.store(true, Ordering::Relaxed);
            warn!(
                error.type = error.kind.name(),
                not_said,
                "table {table} is throttled; {limit} of {max_writes} writes in flight for now: {error}"
            );
        }
    }

    pub(super) fn topic_answered(&self) {
        self.letter_gate.answered();
        self.health.follow(Condition::DeadLetters, None, || self.letter_gate.is_closed());
    }

    pub(super) fn topic_failed(&self, detail: &str) {
        self.letter_gate.failed();
        let fault = Fault { error: StoreErrorKind::Unavailable.name(), detail: detail.to_owned() };
        self.health.follow(Condition::DeadLetters, Some(fault), || self.letter_gate.is_closed());
    }

    /// The topic is there, and refuses a letter even with its reason as the only attribute.
    pub(super) fn letter_refused(&self, detail: &str) {
        self.letter_gate.answered();
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
