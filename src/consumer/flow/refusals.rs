//! Decides whether a refused write is the fault of the item or of the table (e.g. a wrong key schema, a new index).
//!
//! An item is rejected at its third refusal if a write of another key was sent and stored between each two of them: then the
//! table accepts writes, but not this one. While the table refuses everything, one message per second is admitted.
//!
//! A stale write rejects no item, because it shows only that the table answers. That is enough to admit messages at full rate.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::scan::Key;

/// The time between two attempts of a parked write.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The time between two messages while the table refuses every write.
const PACE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Orders writes and refusals by the time of sending.
    clock: AtomicU64,
    /// Set from the first refusal until no refused write is parked. Otherwise stored writes are not recorded, which saves a
    /// lock.
    watching: AtomicBool,
    stored: Mutex<StoredWrites>,
    /// The latest sending of a write that was stored or stale.
    answered: AtomicU64,
    parked: Mutex<VecDeque<Arc<Entry>>>,
    /// Set when the parking lot is full and no write was stored or stale since each parked write was last refused.
    paced: AtomicBool,
    pace_ended: Notify,
    next_admission: tokio::sync::Mutex<Option<Instant>>,
    /// The latest refusal that has not expired.
    latest_refusal: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Entry {
    /// Notified when the write must leave the parking lot.
    evicted: Notify,
    /// The tick of its last refusal.
    latest: AtomicU64,
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

/// The number of refusals of one write between which the table stored other keys.
#[derive(Debug)]
pub(crate) struct RefusalCount {
    count: u32,
    latest: u64,
}

impl RefusalCount {
    /// Counts another refusal. Returns true when the item is to be rejected.
    fn add(&mut self, refusals: &Refusals, key: &Key) -> bool {
        self.count = if refusals.stored_another_since(self.latest, key) { self.count + 1 } else { 1 };
        self.latest = refusals.refused();
        self.count >= 3
    }
}

/// A parked write that was refused. Dropping it ends the parking.
#[derive(Debug)]
pub(crate) struct ParkedWrite<'a> {
    refusals: &'a Refusals,
    count: RefusalCount,
    entry: Arc<Entry>,
}

impl ParkedWrite<'_> {
    /// Waits until this write must leave the parking lot.
    pub(crate) async fn evicted(&self) {
        self.entry.evicted.notified().await;
    }

    /// Counts another refusal. Returns true when the item is to be rejected.
    pub(crate) fn refused_again(&mut self, key: &Key) -> bool {
        let is_rejected = self.count.add(self.refusals, key);
        self.entry.latest.store(self.count.latest, Ordering::Release);
        is_rejected
    }
}

impl Drop for ParkedWrite<'_> {
    fn drop(&mut self) {
        self.refusals.release(&self.entry);
    }
}

impl Refusals {
    /// Returns the next tick. A write takes one when it is sent.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }

    /// Counts the first refusal of a write.
    pub(crate) fn first(&self) -> RefusalCount {
        self.watching.store(true, Ordering::Release);
        RefusalCount { count: 1, latest: self.refused() }
    }

    /// Records a refusal, and returns its tick.
    fn refused(&self) -> u64 {
        *self.latest_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.tick()
    }

    /// Ends the pace if the latest refusal was this long ago. Returns true if it was, once per refusal.
    pub(crate) fn expire(&self, after: Duration) -> bool {
        let mut latest = self.latest_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let has_expired = latest.take_if(|at| at.elapsed() >= after).is_some();
        if has_expired {
            self.end_pace();
        }
        has_expired
    }

    fn end_pace(&self) -> bool {
        let has_ended = self.paced.swap(false, Ordering::AcqRel);
        if has_ended {
            self.pace_ended.notify_waiters();
        }
        has_ended
    }

    /// Records a stored write. Returns true when this ends the pace.
    pub(crate) fn stored(&self, sent: u64, key: &Key) -> bool {
        if self.watching.load(Ordering::Acquire) {
            self.stored.lock().unwrap_or_else(PoisonError::into_inner).record(sent, key);
        }
        self.answered(sent)
    }

    /// Records a write that was stored or stale. Returns true when this ends the pace.
    pub(crate) fn answered(&self, sent: u64) -> bool {
        // The pace may still be set after the last parked write was nacked.
        if !self.watching.load(Ordering::Acquire) && !self.is_paced() {
            return false;
        }
        self.answered.fetch_max(sent, Ordering::AcqRel);
        self.end_pace()
    }

    fn stored_another_since(&self, since: u64, key: &Key) -> bool {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).of_another_key_since(since, key)
    }

    /// Adds a refused write to the parked ones until the result is dropped.
    pub(crate) fn park(&self, count: RefusalCount) -> ParkedWrite<'_> {
        let entry = Arc::new(Entry { evicted: Notify::new(), latest: AtomicU64::new(count.latest) });
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        // Set under the lock. Otherwise the release of the previous last write could clear it.
        self.watching.store(true, Ordering::Release);
        parked.push_back(entry.clone());
        ParkedWrite { refusals: self, count, entry }
    }

    fn release(&self, entry: &Arc<Entry>) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.retain(|other| !Arc::ptr_eq(other, entry));
        if parked.is_empty() {
            self.watching.store(false, Ordering::Release);
            *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = StoredWrites::default();
        }
    }

    /// During the pace, evicts the write that was parked first. Returns false if there is none, or no pace.
    pub(crate) fn evict_oldest(&self) -> bool {
        if !self.is_paced() {
            return false;
        }
        let oldest = self.parked.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        oldest.inspect(|entry| entry.evicted.notify_one()).is_some()
    }

    /// Call it when the parking lot is full. Begins the pace if no write was stored or stale since each parked write was last
    /// refused. Returns true when the pace begins.
    pub(crate) fn parking_lot_is_full(&self) -> bool {
        let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(oldest) = parked.iter().map(|entry| entry.latest.load(Ordering::Acquire)).min() else { return false };
        self.answered.load(Ordering::Acquire) <= oldest && !self.paced.swap(true, Ordering::AcqRel)
    }

    /// Returns whether the table refuses every write, so that one message per second is admitted.
    pub(crate) fn is_paced(&self) -> bool {
        self.paced.load(Ordering::Acquire)
    }

    /// Waits until another message may be written. Returns at once without a pace.
    pub(crate) async fn admission(&self) {
        let pace_ended = self.pace_ended.notified();
        if !self.is_paced() {
            return;
        }
        let is_next = async {
            let mut next = self.next_admission.lock().await;
            if let Some(at) = *next {
                sleep_until(at).await;
            }
            *next = Some(Instant::now() + PACE);
        };
        tokio::select! {
            biased;
            () = pace_ended => {}
            () = is_next => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn key(port: u16) -> Key {
        Key::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port, "HTTP")
    }

    fn store(refusals: &Refusals, key: &Key) {
        let sent = refusals.tick();
        refusals.stored(sent, key);
    }

    #[test]
    fn the_third_refusal_rejects_when_others_are_stored_between() {
        let refusals = Refusals::default();
        let mut count = refusals.first();
        store(&refusals, &key(2));
        assert!(!count.add(&refusals, &key(1)));
        store(&refusals, &key(2));
        assert!(count.add(&refusals, &key(1)));
    }

    #[test]
    fn a_table_that_refuses_everything_rejects_nothing() {
        let refusals = Refusals::default();
        let mut count = refusals.first();
        for _ in 0..100 {
            assert!(!count.add(&refusals, &key(1)));
        }
    }

    #[test]
    fn stored_writes_of_the_same_key_do_not_count() {
        let refusals = Refusals::default();
        let mut count = refusals.first();
        for _ in 0..3 {
            store(&refusals, &key(1));
            assert!(!count.add(&refusals, &key(1)));
        }
    }

    #[test]
    fn a_write_sent_before_the_refusal_does_not_count() {
        let refusals = Refusals::default();
        let sent = refusals.tick();
        let mut count = refusals.first();
        refusals.stored(sent, &key(2));
        assert!(!count.add(&refusals, &key(1)));
        store(&refusals, &key(2));
        assert!(!count.add(&refusals, &key(1)), "the count starts again");
    }

    #[test]
    fn no_pace_begins_if_something_was_stored_since_a_refusal() {
        let refusals = Refusals::default();
        assert!(!refusals.parking_lot_is_full(), "no write is parked");
        let mut first = refusals.park(refusals.first());
        store(&refusals, &key(2));
        let _second = refusals.park(refusals.first());
        assert!(!refusals.parking_lot_is_full());
        assert!(!refusals.evict_oldest());
        first.refused_again(&key(1));
        assert!(refusals.parking_lot_is_full());
        assert!(refusals.evict_oldest());
    }

    #[test]
    fn a_stale_write_ends_the_pace_and_prevents_the_next_but_rejects_no_item() {
        let refusals = Refusals::default();
        let mut parked = refusals.park(refusals.first());
        assert!(refusals.parking_lot_is_full());
        for _ in 0..10 {
            refusals.answered(refusals.tick());
            assert!(!refusals.is_paced());
            assert!(!refusals.parking_lot_is_full());
            assert!(!parked.refused_again(&key(1)));
        }
        assert!(refusals.parking_lot_is_full(), "nothing was answered since the last refusal");
    }

    #[test]
    fn a_stored_write_ends_the_pace_although_nothing_is_parked() {
        let refusals = Refusals::default();
        let parked = refusals.park(refusals.first());
        assert!(refusals.parking_lot_is_full());
        drop(parked);
        assert!(refusals.is_paced());
        store(&refusals, &key(2));
        assert!(!refusals.is_paced());
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_ends_when_no_write_was_refused_for_a_time() {
        let refusals = Refusals::default();
        let mut parked = refusals.park(refusals.first());
        assert!(refusals.parking_lot_is_full());
        tokio::time::advance(Duration::from_secs(30)).await;
        parked.refused_again(&key(1));
        drop(parked);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(!refusals.expire(Duration::from_secs(60)) && refusals.is_paced());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(refusals.expire(Duration::from_secs(60)) && !refusals.is_paced());
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_admits_one_message_per_second() {
        let refusals = Refusals::default();
        let _parked = refusals.park(refusals.first());
        let start = Instant::now();
        refusals.admission().await;
        assert!(refusals.parking_lot_is_full());
        for _ in 0..5 {
            refusals.admission().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(4));
        let sent = refusals.tick();
        assert!(refusals.stored(sent, &key(2)));
        refusals.admission().await;
        assert_eq!(start.elapsed(), Duration::from_secs(4));
    }
}
