//! The observer: what happens in the reader, for logs, metrics and alerts.

use std::time::{Duration, SystemTime};

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

/// Records that the stream may have deleted before anyone read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub shard: ShardId,
    /// The checkpoint or the last record before the gap.
    pub after: Checkpoint,
    pub cause: GapCause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// The stream trimmed the position. Reading continues with the oldest record that is left.
    Trimmed,
    /// The shard is gone. Reading continues with its children.
    ShardGone,
    /// The parent of this shard existed and vanished while no instance read it.
    ParentGone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Records were read. `newest` is when the last of them was created, for the lag.
    PageRead {
        shard: &'a ShardId,
        records: usize,
        bytes: usize,
        newest: Option<SystemTime>,
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
    /// How many leases exist, how many have an end, and how many this instance owns.
    Leases {
        unfinished: usize,
        finished: usize,
        owned: usize,
    },
}
