//! The settings of a consumer. `cli` validates them.

use std::num::NonZeroUsize;
use std::time::Duration;

/// The timeout of one attempt to write. An attempt without an answer counts as unavailable.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// During drain, how long to wait until the client has sent its last acknowledgements.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// During drain, how long to wait for the messages that a stream has read already.
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Settings {
    /// The number of workers. Each has one stream.
    pub consumers: NonZeroUsize,
    /// The number of threads that share the workers; at most one per worker.
    pub threads: NonZeroUsize,
    /// The limit of messages that are decoded, waiting or being written, over all workers.
    pub max_outstanding: NonZeroUsize,
    /// The limit of unsettled bytes, over all workers.
    pub max_outstanding_bytes: u64,
    /// The limit of writes in flight (in batch mode, of calls), over all workers; at least one per thread.
    pub max_writes: NonZeroUsize,
    pub write_mode: WriteMode,
    /// How far a scan's timestamp may be after its publish time.
    pub max_future_skew: Duration,
    /// How long a record lives after its scan's timestamp; forever if `None`.
    pub ttl: Option<Duration>,
    /// The age at which an unsettled message is nacked.
    pub max_retry_time: Duration,
    /// The number of keys whose newest durable timestamp is cached, over all workers; 0 turns the cache off.
    pub cache_entries: usize,
    /// How long a cached timestamp is trusted. It can become wrong when somebody changes rows by hand.
    pub cache_max_age: Duration,
    /// How long to wait for writes in flight during drain.
    pub shutdown_grace: Duration,
    /// The full name of the subscription, for dead letters.
    pub subscription: String,
    /// The name of the table, for log messages.
    pub table: String,
}

/// How scans are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// One scan per call.
    Put,
    /// Several scans per call. The first of them waits at most this long for the others.
    Batch { linger: Duration },
}

/// Returns the limit of unsettled messages per stream: its share of `max_outstanding`, and 1,000 more. With less, the
/// client's ack flush (every 100 ms or 1,000 ids) would throttle the stream.
pub fn stream_messages(max_outstanding: NonZeroUsize, consumers: NonZeroUsize) -> usize {
    1000 + max_outstanding.get().div_ceil(consumers.get())
}

/// Returns the limit of unsettled bytes per stream: its share of `max_outstanding_bytes`.
pub fn stream_bytes(max_outstanding_bytes: u64, consumers: NonZeroUsize) -> u64 {
    (max_outstanding_bytes / consumers.get() as u64).max(1)
}

/// A message that reaches `max_retry_time` may still wait for an answer or for the end of a drain.
const LEASE_MARGIN: Duration = Duration::from_secs(600);

/// Returns how long the client extends the lease of a message. The client then drops the lease silently, so this is longer
/// than the age at which the consumer nacks.
pub fn max_lease(max_retry_time: Duration) -> Duration {
    max_retry_time + LEASE_MARGIN
}

/// This many keep a core busy with a store that answers in 40 ms.
const MAX_WRITES_PER_THREAD: usize = 1024;
/// Open files of a worker: of its stream, of the replaced streams that may still have unsettled messages, and of a probe.
const FILES_PER_STREAM: usize = 6;
/// Open files other than those of streams and writes (one each).
const OTHER_FILES: usize = 128;

/// Returns the upper bound of writes in flight over all workers. It depends on `max_outstanding`, the threads and the limit
/// of open files. Each write needs an HTTP/1.1 connection of about 50 KB, so fewer are used unless more raise throughput.
pub fn write_limit(
    max_outstanding: NonZeroUsize,
    consumers: NonZeroUsize,
    threads: NonZeroUsize,
    open_files: u64,
) -> NonZeroUsize {
    let files = usize::try_from(open_files)
        .unwrap_or(usize::MAX)
        .saturating_sub(OTHER_FILES + FILES_PER_STREAM * consumers.get());
    let limit = max_outstanding.get().min(MAX_WRITES_PER_THREAD * threads.get()).min(files);
    NonZeroUsize::new(limit).unwrap_or(threads).max(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(value: usize) -> NonZeroUsize {
        NonZeroUsize::new(value).unwrap()
    }

    #[test]
    fn the_write_limit_respects_every_bound() {
        let plenty = 1 << 20;
        assert_eq!(write_limit(n(10), n(10), n(2), plenty), n(10));
        assert_eq!(write_limit(n(1000), n(10), n(2), plenty), n(1000));
        assert_eq!(write_limit(n(8000), n(10), n(2), plenty), n(2048));
        assert_eq!(write_limit(n(100_000), n(10), n(2), plenty), n(2048));
        assert_eq!(write_limit(n(100_000), n(10), n(2), 1024), n(1024 - 128 - 60));
        assert_eq!(write_limit(n(1000), n(500), n(2), 1024), n(2));
    }

    #[test]
    fn a_stream_always_has_1000_messages_for_the_ack_flush() {
        assert_eq!(stream_messages(n(1), n(10)), 1001);
        assert_eq!(stream_messages(n(1000), n(10)), 1100);
    }
}
