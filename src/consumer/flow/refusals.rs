//! Whose fault a refused write is: the item's, or the table's (a wrong key schema, a new index).
//!
//! An item is condemned at its third refusal if between each two of them a write of another key was both sent and
//! stored: then the table takes writes, and not this one. Pure but for the places to wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::scan::Key;

/// A refused write is tried again after this long.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(10);

const PACE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Orders sends, answers and refusals among each other.
    clock: AtomicU64,
    /// Whether a refusal is being watched; until then stored writes need no note.
    watching: AtomicBool,
    witnesses: Mutex<Witnesses>,
    parked: Mutex<VecDeque<Arc<Entry>>>,
    /// Set while the held are at their bound and nothing was stored since each of them was last refused.
    paced: AtomicBool,
    lifted: Notify,
    next_admission: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Entry {
    /// Asks it to make room.
    notice: Notify,
    /// When it was last refused.
    latest: AtomicU64,
}

/// The stored writes that were sent last, of two different keys.
#[derive(Debug, Default)]
struct Witnesses {
    latest: Option<(u64, Key)>,
    other: Option<(u64, Key)>,
}

impl Witnesses {
    fn note(&mut self, sent: u64, key: &Key) {
        match self.latest.take() {
            Some((at, latest)) if latest == *key => self.latest = Some((at.max(sent), latest)),
            latest => {
                self.other = latest;
                self.latest = Some((sent, key.clone()));
            }
        }
    }

    fn any_since(&self, since: u64) -> bool {
        [&self.latest, &self.other].into_iter().flatten().any(|(sent, _)| *sent > since)
    }

    fn of_another_key_since(&self, since: u64, key: &Key) -> bool {
        [&self.latest, &self.other].into_iter().flatten().any(|(sent, witness)| *sent > since && witness != key)
    }
}

/// How often one write was refused with the table known to take others in between.
#[derive(Debug)]
pub(crate) struct Strikes {
    count: u32,
    latest: u64,
}

impl Strikes {
    /// Notes one more refusal; true when it condemns the item.
    fn again(&mut self, refusals: &Refusals, key: &Key) -> bool {
        self.count = if refusals.vouched_since(self.latest, key) { self.count + 1 } else { 1 };
        self.latest = refusals.tick();
        self.count >= 3
    }
}

/// One refused write among the held.
#[derive(Debug)]
pub(crate) struct ParkedWrite<'a> {
    refusals: &'a Refusals,
    strikes: Strikes,
    entry: Arc<Entry>,
}

impl ParkedWrite<'_> {
    /// Resolves when this one must make room.
    pub(crate) async fn evicted(&self) {
        self.entry.notice.notified().await;
    }

    /// Notes one more refusal; true when it condemns the item.
    pub(crate) fn refused_again(&mut self, key: &Key) -> bool {
        let condemned = self.strikes.again(self.refusals, key);
        self.entry.latest.store(self.strikes.latest, Ordering::Release);
        condemned
    }
}

impl Drop for ParkedWrite<'_> {
    fn drop(&mut self) {
        self.refusals.release(&self.entry);
    }
}

impl Refusals {
    /// The place of a write in the order of things, taken when it is sent.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }

    /// Notes the first refusal of a write.
    pub(crate) fn first(&self) -> Strikes {
        self.watching.store(true, Ordering::Release);
        Strikes { count: 1, latest: self.tick() }
    }

    /// Notes a stored write; true when it ends a spell in which every write was refused.
    pub(crate) fn stored(&self, sent: u64, key: &Key) -> bool {
        // The pace may outlive the last of the held: each may have reached its age.
        if !self.watching.load(Ordering::Acquire) && !self.is_paced() {
            return false;
        }
        self.witnesses.lock().unwrap_or_else(PoisonError::into_inner).note(sent, key);
        let lifted = self.paced.swap(false, Ordering::AcqRel);
        if lifted {
            self.lifted.notify_waiters();
        }
        lifted
    }

    fn vouched_since(&self, since: u64, key: &Key) -> bool {
        self.witnesses.lock().unwrap_or_else(PoisonError::into_inner).of_another_key_since(since, key)
    }

    /// Notes that a refused write is held, until what is returned is dropped.
    pub(crate) fn park(&self, strikes: Strikes) -> ParkedWrite<'_> {
        let write = Arc::new(Entry { notice: Notify::new(), latest: AtomicU64::new(strikes.latest) });
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, or the release of the last one before this would end the watch.
        self.watching.store(true, Ordering::Release);
        parked.push_back(write.clone());
        ParkedWrite { refusals: self, strikes, entry: write }
    }

    fn release(&self, write: &Arc<Entry>) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.retain(|other| !Arc::ptr_eq(other, write));
        if parked.is_empty() {
            self.watching.store(false, Ordering::Release);
            *self.witnesses.lock().unwrap_or_else(PoisonError::into_inner) = Witnesses::default();
        }
    }

    /// While every write is being refused, asks the longest held to give its place up; false when none does.
    pub(crate) fn make_room(&self) -> bool {
        if !self.is_paced() {
            return false;
        }
        let longest = self.parked.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        longest.inspect(|write| write.notice.notify_one()).is_some()
    }

    /// The held are at their bound: if nothing was stored since each of them was last refused, admits one message a
    /// second from now on. True when that begins.
    pub(crate) fn at_bound(&self) -> bool {
        let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(oldest) = parked.iter().map(|write| write.latest.load(Ordering::Acquire)).min() else { return false };
        let witnesses = self.witnesses.lock().unwrap_or_else(PoisonError::into_inner);
        !witnesses.any_since(oldest) && !self.paced.swap(true, Ordering::AcqRel)
    }

    /// Whether every write is being refused.
    pub(crate) fn is_paced(&self) -> bool {
        self.paced.load(Ordering::Acquire)
    }

    /// Resolves when one more message may be written: at once, unless every write is being refused.
    pub(crate) async fn admission(&self) {
        let lifted = self.lifted.notified();
        if !self.is_paced() {
            return;
        }
        let turn = async {
            let mut next = self.next_admission.lock().await;
            if let Some(at) = *next {
                sleep_until(at).await;
            }
            *next = Some(Instant::now() + PACE);
        };
        tokio::select! {
            biased;
            () = lifted => {}
            () = turn => {}
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
    fn the_third_refusal_condemns_when_others_are_stored_between() {
        let refusals = Refusals::default();
        let mut strikes = refusals.first();
        store(&refusals, &key(2));
        assert!(!strikes.again(&refusals, &key(1)));
        store(&refusals, &key(2));
        assert!(strikes.again(&refusals, &key(1)));
    }

    #[test]
    fn a_table_that_refuses_everything_condemns_nothing() {
        let refusals = Refusals::default();
        let mut strikes = refusals.first();
        for _ in 0..100 {
            assert!(!strikes.again(&refusals, &key(1)));
        }
    }

    #[test]
    fn a_write_of_the_same_key_is_no_witness() {
        let refusals = Refusals::default();
        let mut strikes = refusals.first();
        for _ in 0..3 {
            store(&refusals, &key(1));
            assert!(!strikes.again(&refusals, &key(1)));
        }
    }

    #[test]
    fn a_write_sent_before_the_refusal_is_no_witness() {
        let refusals = Refusals::default();
        let sent = refusals.tick();
        let mut strikes = refusals.first();
        refusals.stored(sent, &key(2));
        assert!(!strikes.again(&refusals, &key(1)));
        store(&refusals, &key(2));
        assert!(!strikes.again(&refusals, &key(1)), "the count began anew");
    }

    #[test]
    fn a_table_that_stored_something_since_a_refusal_is_not_broken() {
        let refusals = Refusals::default();
        assert!(!refusals.at_bound(), "no refused write is held");
        let mut first = refusals.park(refusals.first());
        store(&refusals, &key(2));
        let _second = refusals.park(refusals.first());
        assert!(!refusals.at_bound());
        assert!(!refusals.make_room());
        first.refused_again(&key(1));
        assert!(refusals.at_bound());
        assert!(refusals.make_room());
    }

    #[test]
    fn the_pace_ends_though_nothing_is_held_by_then() {
        let refusals = Refusals::default();
        let parked = refusals.park(refusals.first());
        assert!(refusals.at_bound());
        drop(parked);
        assert!(refusals.is_paced());
        store(&refusals, &key(2));
        assert!(!refusals.is_paced());
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_refuses_everything_is_written_to_once_a_second() {
        let refusals = Refusals::default();
        let _held = refusals.park(refusals.first());
        let start = Instant::now();
        refusals.admission().await;
        assert!(refusals.at_bound());
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
