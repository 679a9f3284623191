//! The budget for unfinished records of all shards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What an instance may use. A page may need more than was reserved for it. The free part is negative then, and no page is
/// read until enough records are finished.
#[derive(Debug)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
    max: Amount,
    /// The one that waits. Others wait for it, so that a large part is not overtaken for ever.
    queue: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    free: Mutex<Amount>,
    freed: Notify,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    records: isize,
    bytes: isize,
}

/// A part of the budget. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    amount: Amount,
    shared: Arc<Shared>,
}

impl Budget {
    pub(crate) fn new(max_records: usize, max_bytes: usize) -> Budget {
        let max = Amount { records: amount(max_records).max(1), bytes: amount(max_bytes).max(1) };
        let shared = Arc::new(Shared { free: Mutex::new(max), freed: Notify::new() });
        Budget { shared, max, queue: tokio::sync::Mutex::new(()) }
    }

    /// Waits for a part of the budget. Parts larger than the budget are cut, so that they cannot wait for ever.
    pub(crate) async fn reserve(&self, records: usize, bytes: usize) -> Reservation {
        let amount =
            Amount { records: amount(records).min(self.max.records), bytes: amount(bytes).min(self.max.bytes) };
        let _first = self.queue.lock().await;
        while !self.shared.take(amount) {
            self.shared.freed.notified().await;
        }
        Reservation { amount, shared: self.shared.clone() }
    }
}

impl Shared {
    fn free(&self) -> MutexGuard<'_, Amount> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, amount: Amount) -> bool {
        let mut free = self.free();
        let is_enough = free.records >= amount.records && free.bytes >= amount.bytes;
        if is_enough {
            free.records -= amount.records;
            free.bytes -= amount.bytes;
        }
        is_enough
    }
}

impl Reservation {
    pub(crate) fn records(&self) -> usize {
        self.amount.records as usize
    }

    /// Splits off a part. What it lacks becomes a debt of the budget.
    pub(crate) fn split(&mut self, records: usize, bytes: usize) -> Reservation {
        let amount = Amount { records: amount(records), bytes: amount(bytes) };
        let debt = Amount {
            records: (amount.records - self.amount.records).max(0),
            bytes: (amount.bytes - self.amount.bytes).max(0),
        };
        if debt != Amount::default() {
            let mut free = self.shared.free();
            free.records -= debt.records;
            free.bytes -= debt.bytes;
        }
        self.amount.records -= amount.records - debt.records;
        self.amount.bytes -= amount.bytes - debt.bytes;
        Reservation { amount, shared: self.shared.clone() }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.amount == Amount::default() {
            return;
        }
        let mut free = self.shared.free();
        free.records += self.amount.records;
        free.bytes += self.amount.bytes;
        drop(free);
        self.shared.freed.notify_one();
    }
}

fn amount(number: usize) -> isize {
    isize::try_from(number).unwrap_or(isize::MAX).min(isize::MAX / 4)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_reservation_waits_until_records_are_finished() {
        let budget = Budget::new(10, 1000);
        let mut page = budget.reserve(8, 500).now_or_never().unwrap();
        let first = page.split(1, 100);
        let second = page.split(1, 400);
        assert!(budget.reserve(8, 500).now_or_never().is_none());
        drop(page);
        drop(first);
        assert!(budget.reserve(10, 500).now_or_never().is_none(), "the second record is unfinished");
        drop(second);
        assert!(budget.reserve(10, 1000).now_or_never().is_some());
    }

    #[test]
    fn a_page_above_the_whole_budget_gets_all_of_it() {
        let budget = Budget::new(10, 1000);
        let page = budget.reserve(1000, 1 << 20).now_or_never().unwrap();
        assert_eq!(page.records(), 10);
        assert!(budget.reserve(1, 1).now_or_never().is_none());
    }

    #[test]
    fn what_a_page_needs_above_its_reservation_is_owed_until_its_records_are_finished() {
        let budget = Budget::new(10, 1000);
        let mut page = budget.reserve(2, 100).now_or_never().unwrap();
        let large = page.split(1, 5000);
        drop(page);
        assert!(budget.reserve(1, 1).now_or_never().is_none());
        drop(large);
        assert!(budget.reserve(10, 1000).now_or_never().is_some());
    }

    #[test]
    fn a_large_part_is_not_overtaken_by_small_ones() {
        let budget = Budget::new(10, 1000);
        let page = budget.reserve(5, 500).now_or_never().unwrap();
        let mut large = Box::pin(budget.reserve(10, 1000));
        assert!((&mut large).now_or_never().is_none());
        assert!(budget.reserve(1, 1).now_or_never().is_none());
        drop(page);
        assert!((&mut large).now_or_never().is_some());
    }
}
