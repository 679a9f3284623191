//! The bound of messages that are held without a slot, and how long each is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::consumer::ports::Envelope;

const LONGEST: Duration = Duration::from_secs(60);

/// Message ids that are remembered where Pub/Sub does not count the attempts.
const REMEMBERED: usize = 10_000;

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

    /// The places that are taken, and how many there are.
    pub(crate) fn used(&self) -> (usize, usize) {
        (self.limit.saturating_sub(self.permits.available_permits()), self.limit)
    }

    /// A place among the held, or none when the bound is reached.
    pub(crate) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Waits for a place.
    pub(crate) async fn permit(&self) -> OwnedSemaphorePermit {
        self.permits.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// How long to hold this delivery before it is given back: doubled at each attempt, at most a minute.
    pub(crate) fn delay(&self, envelope: &Envelope) -> Duration {
        let attempt = envelope.delivery_attempt.unwrap_or_else(|| {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.count(&envelope.message_id)
        });
        LONGEST.min(Duration::from_secs(1) * 2u32.saturating_pow(attempt.saturating_sub(1).min(16)))
    }
}

/// How often each of the latest message ids was held. The oldest is forgotten first.
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
        if self.order.len() == REMEMBERED
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
    fn the_delay_grows_with_the_attempts_that_pubsub_counts() {
        let parked = ParkingLot::new(1);
        let delays: Vec<u64> =
            [1, 2, 3, 6, 7, 100].map(|attempt| parked.delay(&envelope("a", Some(attempt))).as_secs()).into();
        assert_eq!(delays, [1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn the_delay_grows_with_the_ids_that_are_remembered() {
        let parked = ParkingLot::new(1);
        let delays = [(); 3].map(|()| parked.delay(&envelope("a", None)).as_secs());
        assert_eq!(delays, [1, 2, 4]);
        assert_eq!(parked.delay(&envelope("b", None)).as_secs(), 1);
    }

    #[test]
    fn the_memory_of_ids_is_bounded() {
        let mut seen = Seen::default();
        for id in 0..2 * REMEMBERED {
            seen.count(&id.to_string());
        }
        assert_eq!((seen.counts.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(seen.count("0"), 1);
    }
}
