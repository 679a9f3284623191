//! The streams of a worker that have ended. Each stays until its messages are settled and the client has sent their acks.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::unsettled::{Amount, Unsettled};

/// The maximum number of replaced streams beside an open one.
pub(super) const MAX_REPLACED: usize = 4;
/// The client sends acks every 100 ms. Acks of a replaced stream that are not sent within this time are lost.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a worker checks whether its replaced streams leave capacity for a new one.
const CAPACITY_CHECK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Replaced {
    /// The limit of one stream.
    limit: Amount,
    closing: JoinSet<()>,
    unsettled: Vec<Arc<Unsettled>>,
}

impl Replaced {
    pub(super) fn new(limit: Amount) -> Replaced {
        Replaced { limit, closing: JoinSet::new(), unsettled: Vec::new() }
    }

    /// Adds a stream that has ended. It counts until `closing` ends.
    pub(super) fn add(&mut self, closing: impl Future<Output = ()> + Send + 'static, unsettled: Arc<Unsettled>) {
        self.closing.spawn(closing);
        self.unsettled.push(unsettled);
    }

    /// Returns the unsettled messages of all replaced streams.
    pub(super) fn amount(&self) -> Amount {
        self.unsettled.iter().fold(Amount::NOTHING, |sum, unsettled| sum.plus(unsettled.amount()))
    }

    /// Returns whether an open stream may be replaced.
    pub(super) fn allows_another(&mut self) -> bool {
        self.len() < MAX_REPLACED
    }

    /// Returns whether there are so many replaced streams that no other stream may be opened.
    pub(super) fn are_too_many(&mut self) -> bool {
        self.len() > MAX_REPLACED
    }

    /// Waits until a new stream may be opened: until there are not too many replaced streams, and they have less than one
    /// limit unsettled. With a new stream, it is then never more than two limits.
    pub(super) async fn capacity(&mut self) {
        while self.are_too_many() || self.amount().reaches(self.limit) {
            sleep(CAPACITY_CHECK).await;
        }
    }

    pub(super) async fn finished(mut self) {
        while self.closing.join_next().await.is_some() {}
    }

    fn len(&mut self) -> usize {
        while self.closing.try_join_next().is_some() {}
        self.unsettled.retain(|unsettled| unsettled.amount() != Amount::NOTHING);
        self.closing.len()
    }
}

/// Closes a stream after its messages are settled. Returns whether the client sent their last acks. `shutdown` ends when it
/// has.
pub(super) async fn close(shutdown: impl Future<Output = ()>, unsettled: &Unsettled) -> bool {
    let mut flushed = pin!(shutdown);
    tokio::select! {
        biased;
        () = &mut flushed => return true,
        () = unsettled.settled() => {}
    }
    timeout(FLUSH_TIMEOUT, flushed).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::super::unsettled::UnsettledGuard;
    use super::*;

    const LIMIT: Amount = Amount { messages: 8, bytes: 1000 };

    /// Adds a stream with one unsettled message of this size, whose connection is dead.
    fn add(replaced: &mut Replaced, bytes: u64) -> UnsettledGuard {
        let unsettled = Arc::<Unsettled>::default();
        let message = unsettled.add(bytes);
        let closing = unsettled.clone();
        let closing = async move {
            close(pending(), &closing).await;
        };
        replaced.add(closing, unsettled);
        message
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_replaced_streams_is_bounded_until_one_is_settled_and_flushed() {
        let mut replaced = Replaced::new(LIMIT);
        let mut messages: Vec<_> = (0..MAX_REPLACED).map(|_| add(&mut replaced, 1)).collect();
        assert!(!replaced.allows_another() && !replaced.are_too_many());
        assert!(replaced.capacity().now_or_never().is_some());

        messages.push(add(&mut replaced, 1));
        assert!(replaced.are_too_many());
        sleep(60 * FLUSH_TIMEOUT).await;
        assert!(replaced.are_too_many());

        let settled = Instant::now();
        messages.pop();
        replaced.capacity().await;
        assert!(
            (FLUSH_TIMEOUT..=FLUSH_TIMEOUT + CAPACITY_CHECK).contains(&settled.elapsed()),
            "{:?}",
            settled.elapsed()
        );
        assert!(!replaced.allows_another());
        messages.pop();
        sleep(FLUSH_TIMEOUT + CAPACITY_CHECK).await;
        assert!(replaced.allows_another());
    }

    #[tokio::test(start_paused = true)]
    async fn replaced_streams_with_a_whole_limit_unsettled_leave_no_capacity() {
        for bytes in [[LIMIT.bytes, 0], [LIMIT.bytes / 2, LIMIT.bytes / 2]] {
            let mut replaced = Replaced::new(LIMIT);
            let messages = bytes.map(|bytes| add(&mut replaced, bytes));
            assert!(timeout(60 * FLUSH_TIMEOUT, replaced.capacity()).await.is_err());
            assert!(!replaced.are_too_many());
            drop(messages);
            assert!(replaced.capacity().now_or_never().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_closed_when_its_messages_are_settled_and_flushed() {
        let unsettled = Arc::<Unsettled>::default();
        let message = unsettled.add(1);
        let flushed = sleep(FLUSH_TIMEOUT / 2);
        let mut closing = pin!(close(flushed, &unsettled));
        assert!(timeout(FLUSH_TIMEOUT / 4, &mut closing).await.is_err());
        drop(message);
        assert!(closing.await);
        assert!(!close(pending(), &unsettled).await, "a dead connection is given up");
    }
}
