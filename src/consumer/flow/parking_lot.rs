//! The limit of messages that are parked without a slot, and how long each stays. At the limit, a refused write takes the permit
//! of the one that has waited longest. A rejected message is never evicted, because it waits for a limited time only.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::consumer::ports::Envelope;

const MAX_DELAY: Duration = Duration::from_secs(60);

/// The number of message ids whose deliveries are counted here because Pub/Sub does not count them.
const MAX_IDS: usize = 10_000;

#[derive(Debug)]
pub(crate) struct ParkingLot {
    limit: usize,
    permits: Arc<Semaphore>,
    /// The refused writes that may be evicted, from the oldest on.
    writes: Mutex<BTreeMap<u64, Evictable>>,
    next_number: AtomicU64,
    seen: Mutex<Seen>,
}

impl ParkingLot {
    pub(crate) fn new(limit: usize) -> ParkingLot {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(limit));
        ParkingLot { limit, permits, writes: Mutex::default(), next_number: AtomicU64::new(0), seen: Mutex::default() }
    }

    /// Returns the number of parked messages and the limit.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.limit.saturating_sub(self.permits.available_permits()), self.limit)
    }

    /// Returns a parking permit, or `None` at the limit.
    pub(crate) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Parks a refused write. At the limit, evicts the one that was parked first. Returns `None` if there is none.
    pub(crate) fn park(&self) -> Option<ParkedWrite<'_>> {
        let evict = || self.writes().pop_first().map(|(_, Evictable { permit, .. })| permit);
        let permit = self.try_permit().or_else(evict)?;
        Some(self.park_with(permit))
    }

    /// Parks a refused write that has left the parking lot with this permit.
    pub(crate) fn park_with(&self, permit: OwnedSemaphorePermit) -> ParkedWrite<'_> {
        let (eviction, evicted) = oneshot::channel();
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.writes().insert(number, Evictable { permit, _eviction: eviction });
        ParkedWrite { parking_lot: self, number, evicted }
    }

    fn writes(&self) -> MutexGuard<'_, BTreeMap<u64, Evictable>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how long to park this delivery before it is nacked: doubled with each delivery, up to a minute.
    pub(crate) fn delay(&self, envelope: &Envelope) -> Duration {
        let attempt = envelope.delivery_attempt.unwrap_or_else(|| {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.count(&envelope.message_id)
        });
        MAX_DELAY.min(Duration::from_secs(1) * 2u32.saturating_pow(attempt.saturating_sub(1).min(16)))
    }
}

/// The permit of a refused write. Dropping it evicts the write.
#[derive(Debug)]
struct Evictable {
    permit: OwnedSemaphorePermit,
    _eviction: oneshot::Sender<Infallible>,
}

/// A refused write that is parked until this is dropped.
#[derive(Debug)]
pub(crate) struct ParkedWrite<'a> {
    parking_lot: &'a ParkingLot,
    number: u64,
    evicted: oneshot::Receiver<Infallible>,
}

impl ParkedWrite<'_> {
    /// Waits until this write is evicted.
    pub(crate) async fn evicted(&mut self) {
        // The sender sends nothing.
        let _ = (&mut self.evicted).await;
    }

    /// Returns the permit, with which the write is not evicted any more, or `None` if it is evicted already.
    pub(crate) fn leave(self) -> Option<OwnedSemaphorePermit> {
        self.parking_lot.writes().remove(&self.number).map(|Evictable { permit, .. }| permit)
    }
}

impl Drop for ParkedWrite<'_> {
    fn drop(&mut self) {
        self.parking_lot.writes().remove(&self.number);
    }
}

/// How often each of the latest message ids was parked. The oldest id is evicted first.
#[derive(Debug, Default)]
struct Seen {
    counts: HashMap<String, u32>,
    order: VecDeque<String>,
}

impl Seen {
    fn count(&mut self, id: &str) -> u32 {
        if let Some(count) = self.counts.get_mut(id) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.order.len() == MAX_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.order.push_back(id.to_owned());
        self.counts.insert(id.to_owned(), 1);
        1
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use futures_util::FutureExt;

    use super::*;

    fn envelope(id: &str, delivery_attempt: Option<u32>) -> Envelope {
        Envelope {
            payload: bytes::Bytes::new(),
            attributes: HashMap::new(),
            message_id: id.into(),
            publish_time: SystemTime::UNIX_EPOCH,
            delivery_attempt,
        }
    }

    #[test]
    fn the_delay_grows_with_pubsubs_delivery_attempt() {
        let parking_lot = ParkingLot::new(1);
        let delays: Vec<u64> =
            [1, 2, 3, 6, 7, 100].map(|attempt| parking_lot.delay(&envelope("a", Some(attempt))).as_secs()).into();
        assert_eq!(delays, [1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn without_a_delivery_attempt_the_delay_grows_with_our_own_count() {
        let parking_lot = ParkingLot::new(1);
        let delays = [(); 3].map(|()| parking_lot.delay(&envelope("a", None)).as_secs());
        assert_eq!(delays, [1, 2, 4]);
        assert_eq!(parking_lot.delay(&envelope("b", None)).as_secs(), 1);
    }

    #[tokio::test]
    async fn at_the_limit_the_write_that_was_parked_first_is_evicted() {
        let parking_lot = ParkingLot::new(2);
        let [mut first, mut second] = [(); 2].map(|()| parking_lot.park().unwrap());
        let mut third = parking_lot.park().unwrap();
        first.evicted().await;
        assert!(first.leave().is_none());
        assert_eq!(parking_lot.used(), (2, 2));
        assert!(second.evicted().now_or_never().is_none());

        drop(third);
        third = parking_lot.park().unwrap();
        assert!(second.evicted().now_or_never().is_none(), "a permit was free");
        drop((second, third));
        assert_eq!(parking_lot.used(), (0, 2));
    }

    #[test]
    fn a_write_that_is_retried_and_a_rejected_message_are_not_evicted() {
        let parking_lot = ParkingLot::new(2);
        let _rejected = parking_lot.try_permit().unwrap();
        let retried = parking_lot.park().unwrap().leave().unwrap();
        assert!(parking_lot.park().is_none());
        let parked = parking_lot.park_with(retried);
        let _newer = parking_lot.park().unwrap();
        assert!(parked.leave().is_none());
    }

    #[test]
    fn the_number_of_counted_ids_is_limited() {
        let mut seen = Seen::default();
        for id in 0..2 * MAX_IDS {
            seen.count(&id.to_string());
        }
        assert_eq!((seen.counts.len(), seen.order.len()), (MAX_IDS, MAX_IDS));
        assert_eq!(seen.count("0"), 1);
    }
}
