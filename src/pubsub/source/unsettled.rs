//! Counts the unsettled messages of one stream. Each receipt has a guard, which counts its message until the receipt is
//! settled or dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A number of messages and of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) messages: usize,
    pub(super) bytes: u64,
}

impl Amount {
    pub(super) const NOTHING: Amount = Amount { messages: 0, bytes: 0 };

    pub(super) fn plus(self, other: Amount) -> Amount {
        Amount { messages: self.messages + other.messages, bytes: self.bytes + other.bytes }
    }

    /// Returns whether the messages or the bytes reach the limit.
    pub(super) fn reaches(self, limit: Amount) -> bool {
        self.messages >= limit.messages || self.bytes >= limit.bytes
    }

    /// Returns half of the amount, rounded up, so that half of 1 is not zero.
    pub(super) fn half(self) -> Amount {
        Amount { messages: self.messages.div_ceil(2), bytes: self.bytes.div_ceil(2) }
    }
}

/// The unsettled messages of one stream.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    messages: AtomicUsize,
    bytes: AtomicU64,
    all_settled: Notify,
}

impl Unsettled {
    pub(super) fn amount(&self) -> Amount {
        Amount { messages: self.messages.load(Ordering::Acquire), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Counts one message until the returned guard is dropped.
    pub(super) fn add(self: &Arc<Unsettled>, bytes: u64) -> UnsettledGuard {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        UnsettledGuard { unsettled: self.clone(), bytes }
    }

    /// Waits until every receipt is settled.
    pub(super) async fn settled(&self) {
        loop {
            let all_settled = self.all_settled.notified();
            if self.messages.load(Ordering::Acquire) == 0 {
                return;
            }
            all_settled.await;
        }
    }
}

/// Counts one message as unsettled until it is dropped.
#[derive(Debug)]
pub(super) struct UnsettledGuard {
    unsettled: Arc<Unsettled>,
    bytes: u64,
}

impl Drop for UnsettledGuard {
    fn drop(&mut self) {
        self.unsettled.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.unsettled.messages.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.unsettled.all_settled.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_message_is_unsettled_until_its_guard_is_dropped() {
        let unsettled = Arc::new(Unsettled::default());
        let guards = [unsettled.add(10), unsettled.add(20)];
        assert_eq!(unsettled.amount(), Amount { messages: 2, bytes: 30 });
        assert!(unsettled.settled().now_or_never().is_none());
        drop(guards);
        assert_eq!(unsettled.amount(), Amount::NOTHING);
        assert!(unsettled.settled().now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_last_settled_message_wakes_a_waiter() {
        let unsettled = Arc::new(Unsettled::default());
        let mut guards = vec![unsettled.add(10), unsettled.add(20)];
        let settle = async {
            tokio::task::yield_now().await;
            guards.pop();
            tokio::task::yield_now().await;
            guards.pop();
        };
        let settled = tokio::time::timeout(Duration::from_secs(10), unsettled.settled());
        let (settled, ()) = tokio::join!(settled, settle);
        assert!(settled.is_ok(), "the waiter was not woken");
    }

    #[test]
    fn a_limit_is_reached_by_messages_or_by_bytes() {
        let limit = Amount { messages: 4, bytes: 100 };
        for (messages, bytes, reached) in [(3, 99, false), (4, 0, true), (0, 100, true), (0, 0, false)] {
            assert_eq!(Amount { messages, bytes }.reaches(limit), reached);
        }
        assert!(!Amount::NOTHING.reaches(Amount { messages: 1, bytes: 1 }.half()));
    }
}
