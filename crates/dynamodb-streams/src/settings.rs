//! The settings of a reader.

use std::time::Duration;

use crate::lease::Start;

/// The settings of a reader. Instances that share a lease table should have the same ones.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the first instance starts. Later instances use what is stored in the lease table.
    pub start: Start,
    /// A lease whose counter stays the same for this long has expired. It is renewed three times in this time.
    pub failover: Duration,
    /// The shortest time between two checkpoints of a shard, unless many records are finished. Each is a write.
    pub checkpoint_interval: Duration,
    /// After this many more finished records, the checkpoint is stored before the end of the interval. A crash repeats them.
    pub checkpoint_records: u64,
    /// How long an owner finishes records in progress before it hands a lease over, or before it stops.
    pub handover_timeout: Duration,
    /// How many leases an instance may be asking others for at the same time.
    pub max_handovers: usize,
    /// The time between two listings of all shards.
    pub discovery_interval: Duration,
    /// The most records of one read. DynamoDB returns at most 1,000 records and 1 MB.
    pub page_records: usize,
    /// The memory that one read may need, which is several times the 1 MB of its records. It is reserved before each read.
    pub page_bytes: usize,
    /// The most unfinished records of this instance.
    pub max_records: usize,
    /// The most memory for unfinished records of this instance.
    pub max_bytes: usize,
    /// A shard with this many unfinished records is not read.
    pub max_records_per_shard: usize,
    /// The most records of a shard that are handled at the same time.
    pub max_concurrency_per_shard: usize,
    /// A handler that takes longer has failed.
    pub handle_timeout: Duration,
    /// A request to the stream or the lease table that takes longer has failed. A write of an owned lease has at most a
    /// quarter of `failover`, so that a write that hangs is repeated before the lease expires.
    pub request_timeout: Duration,
    /// A shard that the stream denies to exist for this long is gone, if newer listings do not show it either.
    pub missing_timeout: Duration,
    /// An instance that cannot read a shard for this long releases its lease.
    pub unreadable_timeout: Duration,
    pub retries: Retries,
    pub waits: Waits,
}

/// Which failed records are retried, and when.
#[derive(Clone, Debug)]
pub struct Retries {
    /// The delay after the first failed attempt. It doubles with each attempt.
    pub first_delay: Duration,
    pub max_delay: Duration,
    /// A record that failed this often is dead.
    pub max_attempts: u32,
    /// A record that failed for this long is dead.
    pub max_time: Duration,
}

/// The time between two reads of a shard.
#[derive(Clone, Debug)]
pub struct Waits {
    /// The wait after a page with records. After a full page there is none.
    pub after_records: Duration,
    /// The longest wait after an empty page. The first one is `after_records`, and each one doubles.
    pub max_after_none: Duration,
    /// The longest wait after a failed read.
    pub max_after_failure: Duration,
}

/// A setting with which the reader could not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the setting {name} is not valid: {reason}")]
pub struct InvalidSettings {
    pub name: &'static str,
    pub reason: &'static str,
}

impl Settings {
    /// Returns the first setting that is not valid.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        let rules = [
            (!self.failover.is_zero(), "failover", "it must be more than 0"),
            (!self.request_timeout.is_zero(), "request_timeout", "it must be more than 0"),
            (!self.discovery_interval.is_zero(), "discovery_interval", "it must be more than 0"),
            (self.page_records > 0, "page_records", "it must be at least 1"),
            (self.page_bytes > 0, "page_bytes", "it must be at least 1"),
            (self.checkpoint_records > 0, "checkpoint_records", "it must be at least 1"),
            (self.max_records > 0, "max_records", "it must be at least 1"),
            (self.max_bytes > 0, "max_bytes", "it must be at least 1"),
            (self.max_records_per_shard > 0, "max_records_per_shard", "it must be at least 1"),
            (self.max_concurrency_per_shard > 0, "max_concurrency_per_shard", "it must be at least 1"),
            (self.max_handovers > 0, "max_handovers", "it must be at least 1, or an instance never gets its share"),
            (!self.handle_timeout.is_zero(), "handle_timeout", "it must be more than 0"),
            (self.retries.max_attempts > 0, "retries.max_attempts", "it must be at least 1"),
        ];
        match rules.into_iter().find(|(is_valid, ..)| !is_valid) {
            Some((_, name, reason)) => Err(InvalidSettings { name, reason }),
            None => Ok(()),
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            start: Start::TrimHorizon,
            failover: Duration::from_secs(10),
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_records: u64::MAX,
            handover_timeout: Duration::from_secs(15),
            max_handovers: 8,
            discovery_interval: Duration::from_secs(30),
            page_records: 1000,
            page_bytes: 4 << 20,
            max_records: 50_000,
            max_bytes: 128 << 20,
            max_records_per_shard: 5000,
            max_concurrency_per_shard: 128,
            handle_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(3),
            missing_timeout: Duration::from_secs(120),
            unreadable_timeout: Duration::from_secs(180),
            retries: Retries {
                first_delay: Duration::from_millis(100),
                max_delay: Duration::from_secs(30),
                max_attempts: 10,
                max_time: Duration::from_secs(600),
            },
            waits: Waits {
                after_records: Duration::from_millis(250),
                max_after_none: Duration::from_secs(1),
                max_after_failure: Duration::from_secs(10),
            },
        }
    }
}

/// Returns a delay that doubles with each failure, with jitter: `random` is from 0 to 1.
pub(crate) fn backoff(first: Duration, longest: Duration, failures: u32, random: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(longest);
    doubled.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}
