//! Decides whether a refused write (e.g. one with an empty key of an index) is the fault of the item or of the table.
//!
//! It is the item's fault if the table refuses it once more although it accepts others: a description of the table fits, and a
//! write of another key was stored, both requested after the refusal. While the table refuses every write, a circuit breaker
//! admits one per second.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use super::circuit_breaker::CircuitBreaker;
use crate::scan::Key;

#[derive(Debug)]
pub(crate) struct Refusals {
    /// Orders writes and descriptions by the time of sending, and refusals by the time of the answer.
    clock: AtomicU64,
    /// The number of refused messages that wait. While there is none, stored writes are not recorded, which saves a lock.
    waiting: AtomicUsize,
    stored: Mutex<StoredWrites>,
    /// The tick of the latest refusal.
    latest: AtomicU64,
    refused: Notify,
    description: watch::Sender<Description>,
    /// Counts refused messages between which no write was stored or stale.
    pub(crate) breaker: CircuitBreaker,
}

/// What is known of the table.
#[derive(Debug, Clone, Copy, Default)]
struct Description {
    /// The tick of its request.
    requested: u64,
    /// Whether the table fits scans. `None` if this identity may not describe it.
    fits: Option<bool>,
}

/// The last stored writes of two different keys, each with the tick of its sending.
#[derive(Debug, Default)]
struct StoredWrites {
    latest: Option<(u64, Key)>,
    other: Option<(u64, Key)>,
}

impl StoredWrites {
    fn record(&mut self, sent: u64, key: &Key) {
        match self.latest.take() {
            Some((at, latest)) if latest == *key => self.latest = Some((at.max(sent), latest)),
            latest => {
                self.other = latest;
                self.latest = Some((sent, key.clone()));
            }
        }
    }

    fn of_another_key_since(&self, since: u64, key: &Key) -> bool {
        [&self.latest, &self.other].into_iter().flatten().any(|(sent, other)| *sent > since && other != key)
    }
}

impl Refusals {
    /// The breaker opens after this many refused messages.
    pub(crate) fn new(threshold: u32) -> Refusals {
        Refusals {
            clock: AtomicU64::new(1),
            waiting: AtomicUsize::new(0),
            stored: Mutex::default(),
            latest: AtomicU64::new(0),
            refused: Notify::new(),
            description: watch::Sender::default(),
            breaker: CircuitBreaker::new(threshold),
        }
    }

    /// Returns the next tick. A write and a description take one when they are sent.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }

    /// Records the refusal of a write of this key. Its message waits until the result is dropped.
    pub(crate) fn refused(&self, key: &Key) -> Refusal<'_> {
        // Before the tick, so that no stored write with a later tick is missed.
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut refusal = Refusal { refusals: self, key: key.clone(), tick: 0 };
        refusal.again();
        refusal
    }

    /// Records a stored write that was sent at this tick.
    pub(crate) fn stored(&self, sent: u64, key: &Key) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.stored.lock().unwrap_or_else(PoisonError::into_inner).record(sent, key);
        }
    }

    /// Waits until the table must be described: for the latest refusal, or because it did not fit.
    pub(crate) async fn description_wanted(&self) {
        loop {
            let Description { requested, .. } = *self.description.borrow();
            let is_waited_for =
                self.waiting.load(Ordering::Acquire) > 0 && self.latest.load(Ordering::Acquire) > requested;
            if is_waited_for || self.misfits() {
                return;
            }
            self.refused.notified().await;
        }
    }

    /// Records a description that was requested at this tick. Returns whether the table did not fit before.
    pub(crate) fn described(&self, requested: u64, fits: bool) -> bool {
        self.description.send_replace(Description { requested, fits: Some(fits) }).fits == Some(false)
    }

    /// Records that this identity may not describe the table.
    pub(crate) fn description_denied(&self) {
        self.description.send_modify(|description| description.fits = None);
    }

    /// Returns whether the latest description does not fit.
    pub(crate) fn misfits(&self) -> bool {
        self.description.borrow().fits == Some(false)
    }

    /// Returns whether the table is at fault.
    pub(crate) fn is_table_at_fault(&self) -> bool {
        self.misfits() || self.breaker.is_open()
    }
}

/// The latest refusal of a message that waits. Dropping it ends the waiting.
#[derive(Debug)]
pub(crate) struct Refusal<'a> {
    refusals: &'a Refusals,
    key: Key,
    tick: u64,
}

impl Refusal<'_> {
    /// Records another refusal. What was known before proves nothing any more.
    pub(crate) fn again(&mut self) {
        self.tick = self.refusals.tick();
        self.refusals.latest.fetch_max(self.tick, Ordering::AcqRel);
        self.refusals.refused.notify_one();
    }

    /// Returns whether the table accepts other items since this refusal.
    pub(crate) fn is_proven(&self) -> bool {
        let description = *self.refusals.description.borrow();
        self.is_proven_by(description)
    }

    fn is_proven_by(&self, Description { requested, fits }: Description) -> bool {
        let stored = || self.refusals.stored.lock().unwrap_or_else(PoisonError::into_inner);
        fits == Some(true) && requested > self.tick && stored().of_another_key_since(self.tick, &self.key)
    }

    /// Waits until a description proves that the table accepts other items. A stored write alone does not wake, because that
    /// would wake every waiting message at each write.
    pub(crate) async fn proven(&self) {
        let mut description = self.refusals.description.subscribe();
        // It fails only without a sender, which lives as long as this refusal.
        let _ = description.wait_for(|description| self.is_proven_by(*description)).await;
    }
}

impl Drop for Refusal<'_> {
    fn drop(&mut self) {
        self.refusals.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use futures_util::FutureExt;

    use super::*;

    fn key(port: u16) -> Key {
        Key::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port, "HTTP")
    }

    fn refusals() -> Refusals {
        Refusals::new(20)
    }

    fn store(refusals: &Refusals, port: u16) {
        refusals.stored(refusals.tick(), &key(port));
    }

    fn describe(refusals: &Refusals, fits: bool) {
        refusals.described(refusals.tick(), fits);
    }

    fn is_description_wanted(refusals: &Refusals) -> bool {
        refusals.description_wanted().now_or_never().is_some()
    }

    #[test]
    fn a_refusal_is_proven_by_a_fitting_description_and_a_stored_write_in_any_order() {
        let refusals = refusals();
        let [first, second] = [1, 1].map(|port| refusals.refused(&key(port)));
        describe(&refusals, true);
        assert!(!first.is_proven(), "nothing was stored");
        store(&refusals, 2);
        assert!(first.is_proven() && second.is_proven());
        let third = refusals.refused(&key(3));
        store(&refusals, 2);
        assert!(!third.is_proven(), "the description is older");
        describe(&refusals, true);
        assert!(third.is_proven() && third.proven().now_or_never().is_some());
    }

    #[test]
    fn what_was_sent_before_the_refusal_proves_nothing() {
        let refusals = refusals();
        let mut refusal = refusals.refused(&key(1));
        let (sent, requested) = (refusals.tick(), refusals.tick());
        refusal.again();
        refusals.stored(sent, &key(2));
        describe(&refusals, true);
        assert!(!refusal.is_proven(), "the write is older");
        store(&refusals, 2);
        refusals.described(requested, true);
        assert!(!refusal.is_proven(), "the description is older");
    }

    #[test]
    fn another_refusal_needs_new_evidence() {
        let refusals = refusals();
        let mut refusal = refusals.refused(&key(1));
        store(&refusals, 2);
        describe(&refusals, true);
        assert!(refusal.is_proven());
        refusal.again();
        assert!(!refusal.is_proven());
    }

    #[test]
    fn stored_writes_of_the_same_key_prove_nothing() {
        let refusals = refusals();
        let refusal = refusals.refused(&key(1));
        (0..3).for_each(|_| store(&refusals, 1));
        describe(&refusals, true);
        assert!(!refusal.is_proven());
        store(&refusals, 2);
        store(&refusals, 1);
        assert!(refusal.is_proven());
    }

    #[test]
    fn a_table_that_does_not_fit_or_may_not_be_described_proves_nothing() {
        let refusals = refusals();
        let refusal = refusals.refused(&key(1));
        store(&refusals, 2);
        describe(&refusals, false);
        assert!(!refusal.is_proven() && refusals.is_table_at_fault());
        refusals.description_denied();
        assert!(!refusal.is_proven() && !refusals.is_table_at_fault());
        describe(&refusals, true);
        assert!(refusal.is_proven());
    }

    #[test]
    fn a_description_is_wanted_while_a_refused_message_waits_for_it_and_while_the_table_does_not_fit() {
        let refusals = refusals();
        assert!(!is_description_wanted(&refusals));
        let refusal = refusals.refused(&key(1));
        assert!(is_description_wanted(&refusals));
        describe(&refusals, true);
        assert!(!is_description_wanted(&refusals));
        drop(refusals.refused(&key(2)));
        assert!(is_description_wanted(&refusals), "a message still waits");
        refusals.description_denied();
        assert!(is_description_wanted(&refusals), "a denied description answers nothing");
        drop(refusal);
        assert!(!is_description_wanted(&refusals), "no message waits");
        describe(&refusals, false);
        assert!(is_description_wanted(&refusals), "the table does not fit");
    }
}
