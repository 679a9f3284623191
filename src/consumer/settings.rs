//! How a consumer runs. Checked by the flags that fill it.

use std::num::NonZeroUsize;
use std::time::Duration;

/// One attempt to write is given up after this long, and counts as unavailable.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// At drain, how long the client may take to send its last acknowledgements.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// At drain, how long a stream may take to hand over what it had read.
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Settings {
    /// Workers of the process, each with one stream.
    pub consumers: NonZeroUsize,
    /// Plain threads that share the workers; at most one a worker.
    pub threads: NonZeroUsize,
    /// Messages decoded, waiting or being written, over all workers.
    pub max_outstanding: NonZeroUsize,
    /// Bytes that the streams may hold unsettled, over all workers.
    pub max_outstanding_bytes: u64,
    /// Writes in flight, over all workers: calls, where a call carries many.
    pub max_writes: NonZeroUsize,
    pub write_mode: WriteMode,
    /// How far after its publish time a scan's timestamp may lie.
    pub max_future_skew: Duration,
    /// How long a record lives after its scan's timestamp; for ever when absent.
    pub ttl: Option<Duration>,
    /// The age at which a receipt is given back.
    pub max_retry_time: Duration,
    /// Keys whose newest durable timestamp is remembered, over all workers; none turns it off.
    pub cache_entries: usize,
    /// How long a remembered timestamp is believed: rows can be mended by hand.
    pub cache_max_age: Duration,
    /// How long writes in hand may take after a stop was asked for.
    pub shutdown_grace: Duration,
    /// Full name of the subscription, as dead letters carry it.
    pub subscription: String,
    /// Name of the table, for what is said about it.
    pub table: String,
}

/// How writes reach the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// Each by itself.
    Put,
    /// Several in a call, for which the first of them waits this long at most.
    Batch { linger: Duration },
}

/// A stream's own limit of unsettled messages. Below about 1,000 free slots the client's ack flush (every 100 ms or
/// 1,000 ids) throttles the stream, so each gets that many beside its share of `max_outstanding`.
pub fn stream_messages(max_outstanding: NonZeroUsize, consumers: NonZeroUsize) -> usize {
    1000 + max_outstanding.get().div_ceil(consumers.get())
}

/// As many keep a core busy where the store takes 40 ms.
const MOST_WRITES_A_THREAD: usize = 1024;
/// Open files that are not the streams' (two each) nor the writes' (one each).
const OTHER_FILES: usize = 128;

/// The most writes that may be in flight over all workers: all that is outstanding, and what the threads and the open
/// files bear. Each is one HTTP/1.1 connection of some 50 KB, so that only as many are used as raise the rate.
pub fn write_limit(
    max_outstanding: NonZeroUsize,
    consumers: NonZeroUsize,
    threads: NonZeroUsize,
    open_files: u64,
) -> NonZeroUsize {
    let files = usize::try_from(open_files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES + 2 * consumers.get());
    let limit = max_outstanding.get().min(MOST_WRITES_A_THREAD * threads.get()).min(files);
    NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(value: usize) -> NonZeroUsize {
        NonZeroUsize::new(value).unwrap()
    }

    #[test]
    fn writes_in_flight_stay_below_every_bound() {
        let plenty = 1 << 20;
        assert_eq!(write_limit(n(10), n(10), n(2), plenty), n(10));
        assert_eq!(write_limit(n(1000), n(10), n(2), plenty), n(1000));
        assert_eq!(write_limit(n(8000), n(10), n(2), plenty), n(2048));
        assert_eq!(write_limit(n(100_000), n(10), n(2), plenty), n(2048));
        assert_eq!(write_limit(n(100_000), n(10), n(2), 1024), n(1024 - 128 - 20));
        assert_eq!(write_limit(n(1000), n(500), n(2), 1024), n(1));
    }

    #[test]
    fn a_stream_always_has_room_for_the_ack_flush() {
        assert_eq!(stream_messages(n(1), n(10)), 1001);
        assert_eq!(stream_messages(n(1000), n(10)), 1100);
    }
}
