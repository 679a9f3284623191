//! What all workers of the process share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::drain::Drain;
use super::gate::Gate;
use super::health::{Condition, Health};
use super::held::Held;
use super::occasional::Occasional;
use super::outcome::is_outage;
use super::port::{DeadLetterError, StoreError, StoreErrorKind};
use super::refusals::Refusals;
use super::settings::Settings;
use super::tally::Tally;
use crate::scan::Reason;

/// Eight failures in a row, with no answer between them, are an outage of the store.
const STORE_FAILURES: u32 = 8;

/// One for the whole process: bounds, counters, and what is known of the store and the dead-letter topic.
#[derive(Debug)]
pub struct Process {
    pub settings: Settings,
    pub tally: Arc<Tally>,
    pub health: Arc<Health>,
    pub drain: Drain,
    /// `--max-outstanding`: messages decoded, waiting or being written. Taken after a message has arrived.
    pub(super) slots: Semaphore,
    /// Writes in flight; held for an attempt only, never through a backoff.
    pub(super) writes: Semaphore,
    pub(super) held: Held,
    pub(super) refusals: Refusals,
    pub(super) store_gate: Gate,
    pub(super) letter_gate: Gate,
    pub(super) rejection_lines: [Occasional; Reason::ALL.len()],
    pub(super) give_up_lines: Occasional,
}

impl Process {
    pub fn new(settings: Settings) -> Process {
        let slots = settings.max_outstanding.get();
        Process {
            tally: Arc::default(),
            health: Arc::default(),
            drain: Drain::default(),
            slots: Semaphore::new(slots.min(Semaphore::MAX_PERMITS)),
            writes: Semaphore::new(settings.max_writes.get().min(Semaphore::MAX_PERMITS)),
            held: Held::new((slots / 10).max(1)),
            refusals: Refusals::default(),
            store_gate: Gate::new(STORE_FAILURES),
            letter_gate: Gate::new(1),
            rejection_lines: Default::default(),
            give_up_lines: Occasional::default(),
            settings,
        }
    }

    /// The store answered, whatever it said.
    pub(super) fn store_answered(&self) {
        if self.store_gate.answered() {
            self.health.follow(Condition::Store, "", || self.store_gate.is_closed());
        }
    }

    pub(super) fn store_failed(&self, error: &StoreError) {
        if matches!(error.kind, StoreErrorKind::Throttled | StoreErrorKind::HotKey) {
            self.tally.throttled.add_one();
        }
        if !is_outage(error.kind) {
            self.store_answered();
        } else if self.store_gate.failed() {
            self.health.follow(Condition::Store, &self.outage(error), || self.store_gate.is_closed());
        }
    }

    fn outage(&self, error: &StoreError) -> String {
        let Settings { table, .. } = &self.settings;
        match error.kind {
            StoreErrorKind::Misconfigured => format!(
                "table {table} (--table) cannot be written: {error}. Nothing is lost, it is tried once a second. \
                 Grant dynamodb:PutItem on it, or create it: mini-scan setup table --table {table}"
            ),
            _ => format!(
                "table {table} (--table) cannot be written: {error}. Nothing is lost, it is tried once a second"
            ),
        }
    }

    pub(super) fn topic_answered(&self) {
        if self.letter_gate.answered() {
            self.health.follow(Condition::DeadLetters, "", || self.letter_gate.is_closed());
        }
    }

    pub(super) fn topic_failed(&self, error: &DeadLetterError) {
        self.letter_gate.failed();
        self.health.follow(Condition::DeadLetters, &error.to_string(), || self.letter_gate.is_closed());
    }

    /// Every write is refused from now on, or no longer.
    pub(super) fn refusals_changed(&self, detail: &str) {
        self.health.follow(Condition::Refusals, detail, || self.refusals.is_paced());
    }
}
