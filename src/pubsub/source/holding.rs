//! What is unsettled of one stream: every receipt of it holds a share until it is settled or dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Messages and bytes.
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

    /// Whether it comes up to the limit in either measure.
    pub(super) fn reaches(self, limit: Amount) -> bool {
        self.messages >= limit.messages || self.bytes >= limit.bytes
    }

    /// Rounded up: half of 1 is not nothing.
    pub(super) fn half(self) -> Amount {
        Amount { messages: self.messages.div_ceil(2), bytes: self.bytes.div_ceil(2) }
    }
}

/// What a stream's receipts hold at this moment.
#[derive(Debug, Default)]
pub(super) struct Holding {
    messages: AtomicUsize,
    bytes: AtomicU64,
    emptied: Notify,
}

impl Holding {
    pub(super) fn amount(&self) -> Amount {
        Amount { messages: self.messages.load(Ordering::Acquire), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// The share of one message, held until it is dropped.
    pub(super) fn share(self: &Arc<Holding>, bytes: u64) -> Share {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Share { holding: self.clone(), bytes }
    }

    /// Resolves when every receipt is settled.
    pub(super) async fn settled(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.messages.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

#[derive(Debug)]
pub(super) struct Share {
    holding: Arc<Holding>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holding.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.holding.messages.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.holding.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_share_is_held_until_it_is_dropped() {
        let holding = Arc::new(Holding::default());
        let shares = [holding.share(10), holding.share(20)];
        assert_eq!(holding.amount(), Amount { messages: 2, bytes: 30 });
        assert!(holding.settled().now_or_never().is_none());
        drop(shares);
        assert_eq!(holding.amount(), Amount::NOTHING);
        assert!(holding.settled().now_or_never().is_some());
    }

    #[test]
    fn a_limit_is_reached_in_either_measure() {
        let limit = Amount { messages: 4, bytes: 100 };
        for (messages, bytes, reached) in [(3, 99, false), (4, 0, true), (0, 100, true), (0, 0, false)] {
            assert_eq!(Amount { messages, bytes }.reaches(limit), reached);
        }
        assert!(!Amount::NOTHING.reaches(Amount { messages: 1, bytes: 1 }.half()));
    }
}
