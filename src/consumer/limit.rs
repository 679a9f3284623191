//! The limit of writes in flight.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// What is granted at first. A burst of first writes would open a connection each, and half of them would then stand
/// idle beside those that were freed meanwhile.
const FIRST_WRITES: usize = 16;

/// Permits for writes in flight: few at first, one more with each answer, up to the limit.
#[derive(Debug)]
pub(super) struct WriteLimit {
    permits: Semaphore,
    granted: AtomicUsize,
    limit: usize,
}

impl WriteLimit {
    pub(super) fn new(limit: NonZeroUsize) -> WriteLimit {
        let limit = limit.get().min(Semaphore::MAX_PERMITS);
        let granted = limit.min(FIRST_WRITES);
        WriteLimit { permits: Semaphore::new(granted), granted: AtomicUsize::new(granted), limit }
    }

    /// Waits for a permit; held for one attempt, never through a backoff.
    pub(super) async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.expect("the semaphore is never closed")
    }

    /// Notes that the store answered.
    pub(super) fn answered(&self) {
        let grow = |granted| (granted < self.limit).then_some(granted + 1);
        if self.granted.fetch_update(Ordering::AcqRel, Ordering::Acquire, grow).is_ok() {
            self.permits.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_each_answer_up_to_the_limit() {
        let writes = WriteLimit::new(NonZeroUsize::new(20).unwrap());
        assert_eq!(writes.permits.available_permits(), 16);
        (0..3).for_each(|_| writes.answered());
        assert_eq!(writes.permits.available_permits(), 19);
        (0..100).for_each(|_| writes.answered());
        assert_eq!(writes.permits.available_permits(), 20);
    }

    #[test]
    fn a_small_limit_is_granted_at_once() {
        assert_eq!(WriteLimit::new(NonZeroUsize::MIN).permits.available_permits(), 1);
    }
}
