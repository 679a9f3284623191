//! The limit of messages that are parked without a slot, and how long each stays.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::consumer::ports::Envelope;

const MAX_DELAY: Duration = Duration::from_secs(60);

/// The number of message ids whose deliveries are counted here because Pub/Sub does not count them.
const MAX_IDS: usize = 10_000;

#[derive(Debug)]
pub(crate) struct ParkingLot {
    limit: usize,
    permits: Arc<Semaphore>,
    seen: Mutex<Seen>,
}

impl ParkingLot {
    pub(crate) fn new(limit: usize) -> ParkingLot {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        ParkingLot { limit, permits: Arc::new(Semaphore::new(limit)), seen: Mutex::default() }
    }

    /// Returns the number of parked messages and the limit.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.limit.saturating_sub(self.permits.available_permits()), self.limit)
    }

    /// Returns a parking permit, or `None` at the limit.
    pub(crate) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Waits for a parking permit.
    pub(crate) async fn permit(&self) -> OwnedSemaphorePermit {
        self.permits.clone().acquire_owned().await.expect("the semaphore is never closed")
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
