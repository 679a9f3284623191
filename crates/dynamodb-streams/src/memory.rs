//! The budget for unfinished records of all shards.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(crate) struct Budget {
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_records: usize,
    max_bytes: usize,
}

/// A part of the budget. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    records: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(max_records: usize, max_bytes: usize) -> Budget {
        let (max_records, max_bytes) = (max_records.clamp(1, 1 << 30), max_bytes.clamp(1, 1 << 31));
        Budget {
            records: Arc::new(Semaphore::new(max_records)),
            bytes: Arc::new(Semaphore::new(max_bytes)),
            max_records,
            max_bytes,
        }
    }

    /// Waits for a part of the budget. Parts larger than the budget are cut, so that they cannot wait for ever.
    pub(crate) async fn reserve(&self, records: usize, bytes: usize) -> Reservation {
        let (records, bytes) = (records.min(self.max_records), bytes.min(self.max_bytes));
        let closed = "the semaphores are never closed";
        let records = self.records.clone().acquire_many_owned(records as u32).await.expect(closed);
        let bytes = self.bytes.clone().acquire_many_owned(bytes as u32).await.expect(closed);
        Reservation { records, bytes }
    }
}

impl Reservation {
    pub(crate) fn records(&self) -> usize {
        self.records.num_permits()
    }

    /// Splits off the part of one record. A record above the rest of the reservation gets the rest.
    pub(crate) fn split(&mut self, bytes: usize) -> Reservation {
        let (one, bytes) = (self.records.num_permits().min(1), self.bytes.num_permits().min(bytes));
        let present = "the reservation contains this part";
        Reservation { records: self.records.split(one).expect(present), bytes: self.bytes.split(bytes).expect(present) }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_reservation_waits_until_records_are_finished() {
        let budget = Budget::new(10, 1000);
        let mut page = budget.reserve(8, 500).now_or_never().unwrap();
        let first = page.split(100);
        let second = page.split(900);
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
}
