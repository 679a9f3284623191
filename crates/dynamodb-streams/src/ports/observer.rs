//! The observer: what happens in the reader, for logs, metrics and alerts.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::lease::{Checkpoint, Owner};
use crate::sequence_number::SequenceNumber;
use crate::shard::ShardId;

/// Gets reports. It is called on the reader's threads, so it must neither block nor panic.
pub trait Observer: Send + Sync + 'static {
    fn report(&self, report: &Report<'_>);
}

/// Ignores all reports.
impl Observer for () {
    fn report(&self, _: &Report<'_>) {}
}

/// Calls a closure with each report, e.g. one that prints it.
impl<F: Fn(&Report<'_>) + Send + Sync + 'static> Observer for F {
    fn report(&self, report: &Report<'_>) {
        self(report);
    }
}

/// Records that the stream may have deleted before anyone read them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    pub shard: ShardId,
    /// The checkpoint or the last record before the gap.
    pub after: Checkpoint,
    pub cause: GapCause,
    /// When the last record before the gap was created, if this instance read it.
    pub last_created: Option<SystemTime>,
    /// When the gap was noticed, by the clock of this instance. All missing records are older.
    pub noticed: SystemTime,
}

impl Gap {
    pub fn new(shard: ShardId, after: Checkpoint, cause: GapCause, noticed: SystemTime) -> Gap {
        Gap { shard, after, cause, last_created: None, noticed }
    }
}

/// Why the stream lacks records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapCause {
    /// The stream trimmed the position. Reading continues with the oldest record that is left.
    Trimmed,
    /// The shard is gone, with its ancestors that were not read. Reading continues with its children.
    ShardGone,
}

/// Why an instance lost a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// Another instance took the lease.
    Taken,
    /// The lease was not renewed in time, so another instance may have taken it.
    NotRenewed,
    /// The row was deleted, and another instance created it again.
    Deleted,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Report<'a> {
    /// Count these and alert on them.
    Gap(&'a Gap),
    /// The first instance stored the start of the stream.
    Initialized {
        start: &'a Checkpoint,
    },
    /// The row with the start of the stream was missing beside rows of shards. It was created again.
    StartRestored,
    LeaseTaken {
        shard: &'a ShardId,
        from: Option<&'a Owner>,
        checkpoint: &'a Checkpoint,
    },
    LeaseLost {
        shard: &'a ShardId,
        reason: LostReason,
    },
    LeaseReleased {
        shard: &'a ShardId,
        to: Option<&'a Owner>,
    },
    /// The row of a lease was deleted by hand. Its owner created it again, with its checkpoint.
    LeaseRestored {
        shard: &'a ShardId,
    },
    HandoverRequested {
        shard: &'a ShardId,
        from: &'a Owner,
    },
    ShardFinished {
        shard: &'a ShardId,
        children: &'a [ShardId],
    },
    /// A page was read, perhaps an empty one. `newest` is when the last of them was created, for the lag.
    PageRead {
        shard: &'a ShardId,
        records: usize,
        bytes: usize,
        newest: Option<SystemTime>,
    },
    /// How far an owned shard is read, every few seconds and at the start of its session. It comes also while the shard has
    /// no records and while its reads fail, so that a lag can be computed from it.
    ShardProgress {
        shard: &'a ShardId,
        /// When the last record that this session read was created.
        last_read_created: Option<SystemTime>,
        /// When the first unfinished record was created.
        oldest_unfinished: Option<SystemTime>,
        /// How many records are read and not finished.
        unfinished: usize,
        /// The last reads were empty and successful, and no record is unfinished.
        is_caught_up: bool,
        /// When this session was last caught up. While reads fail, the lag grows from this time.
        caught_up: Option<Instant>,
        /// The first failed read since the last successful one.
        failing_since: Option<Instant>,
    },
    /// The session of a shard ended, so no more progress of it follows from this instance.
    SessionEnded {
        shard: &'a ShardId,
    },
    /// The checkpoint moved. `oldest_unfinished` is when the first unfinished record was created, for the lag.
    CheckpointStored {
        shard: &'a ShardId,
        checkpoint: &'a Checkpoint,
        oldest_unfinished: Option<SystemTime>,
    },
    RecordRetried {
        shard: &'a ShardId,
        sequence_number: &'a SequenceNumber,
        attempt: u32,
        reason: &'a str,
        delay: Duration,
    },
    /// A store of the handler is away. The record is handled again.
    HandlerUnavailable {
        shard: &'a ShardId,
        sequence_number: &'a SequenceNumber,
        reason: &'a str,
        delay: Duration,
    },
    /// The handler could not store a gap. The shard is read on after it is stored.
    GapNotStored {
        gap: &'a Gap,
        error: &'a str,
    },
    /// The handler stored the dead letter of a record.
    RecordDead {
        shard: &'a ShardId,
        sequence_number: &'a SequenceNumber,
        attempts: u32,
        reason: &'a str,
    },
    /// The handler could not store the dead letter. The checkpoint waits for it.
    DeadLetterFailed {
        shard: &'a ShardId,
        sequence_number: &'a SequenceNumber,
        error: &'a str,
    },
    StreamFailed {
        shard: Option<&'a ShardId>,
        error: &'a super::StreamError,
    },
    LeaseTableFailed {
        shard: Option<&'a ShardId>,
        error: &'a super::LeaseError,
    },
    /// The stream was disabled or enabled. A disabled stream is read to its end.
    StreamEnabled(bool),
    /// This instance could not read a shard for minutes, so it released the lease. It takes the lease again after a request
    /// for the shard succeeds.
    ShardUnreadable {
        shard: &'a ShardId,
    },
    /// How many leases exist, how many have an end, and how many this instance owns. `unowned` leases have no owner, or
    /// one whose lease has expired. `waiting` shards have no lease yet, because their parents are unfinished.
    Leases {
        unfinished: usize,
        finished: usize,
        owned: usize,
        unowned: usize,
        waiting: usize,
    },
}
