//! Leases: the rows of the lease table. A row has the attributes of the Kinesis Client Library (KCL).

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::sequence_number::SequenceNumber;
use crate::shard::ShardId;

/// One start of an instance. Two starts with the same name are different owners, because each gets a random number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(Arc<str>);

impl Owner {
    pub fn new(owner: impl Into<Arc<str>>) -> Owner {
        Owner(owner.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Up to where all records of a shard are finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    TrimHorizon,
    /// Nothing is finished. Records that were created before this time are skipped.
    AtTimestamp(SystemTime),
    /// This record and all records before it are finished.
    After(SequenceNumber),
    ShardEnd,
}

impl Checkpoint {
    /// Returns whether nothing of the shard is finished.
    pub fn is_start(&self) -> bool {
        matches!(self, Checkpoint::TrimHorizon | Checkpoint::AtTimestamp(_))
    }
}

/// The position from which a stream is read for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    TrimHorizon,
    /// Records that were created before this time are skipped. For the latest records, give the current time: it is stored
    /// in the lease table at the first start, so that no record is lost between this start and the first checkpoint.
    At(SystemTime),
}

impl Start {
    pub(crate) fn checkpoint(self) -> Checkpoint {
        match self {
            Start::TrimHorizon => Checkpoint::TrimHorizon,
            Start::At(time) => Checkpoint::AtTimestamp(time),
        }
    }
}

/// A row of the lease table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `leaseKey`: see [`LeaseKeys`].
    pub key: String,
    /// `leaseOwner`
    pub owner: Option<Owner>,
    /// `leaseCounter`: increases with each write of an owner.
    pub counter: u64,
    /// `ownerSwitchesSinceCheckpoint`
    pub owner_switches: u64,
    /// `checkpoint`: a sequence number, `TRIM_HORIZON`, `AT_TIMESTAMP` (with `startTimestamp`) or `SHARD_END`.
    pub checkpoint: Checkpoint,
    /// `parentShardId`
    pub parent: Option<ShardId>,
    /// `childShardIds`
    pub children: Vec<ShardId>,
    /// `startingSequenceNumber`, which KCL does not have: the start of the shard, if its records from there on are wanted.
    pub starting_sequence_number: Option<SequenceNumber>,
    /// `handoverTo`, which KCL does not have: another instance asks the owner for the lease.
    pub handover_to: Option<Owner>,
}

impl Lease {
    pub(crate) fn new(key: String, checkpoint: Checkpoint) -> Lease {
        Lease {
            key,
            owner: None,
            counter: 0,
            owner_switches: 0,
            checkpoint,
            parent: None,
            children: Vec::new(),
            starting_sequence_number: None,
            handover_to: None,
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.checkpoint == Checkpoint::ShardEnd
    }
}

/// The keys of one application's rows for one stream. Several applications and streams may share a lease table.
#[derive(Clone, Debug)]
pub struct LeaseKeys {
    prefix: String,
}

impl LeaseKeys {
    /// Names an application and a stream. Instances of one application share the shards, and each application reads all of
    /// them. For the stream, use the name of the table and the label of the stream, because a new stream has new shards.
    pub fn new(application: &str, stream: &str) -> LeaseKeys {
        LeaseKeys { prefix: format!("{application}/{stream}/") }
    }

    /// Returns the key of the row that stores the start of the stream.
    pub fn start(&self) -> String {
        self.prefix.clone()
    }

    pub fn shard(&self, shard: &ShardId) -> String {
        format!("{}{shard}", self.prefix)
    }

    /// Returns the shard of a row, unless the row belongs to another application or stream. The id of a shard has no slash.
    pub fn shard_of(&self, key: &str) -> Option<ShardId> {
        let id = key.strip_prefix(self.prefix.as_str())?;
        (!id.is_empty() && !id.contains('/')).then(|| ShardId::new(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_streams_are_not_ours() {
        let keys = LeaseKeys::new("history", "scans");
        let shard = ShardId::new("shardId-1");
        assert_eq!(keys.shard_of(&keys.shard(&shard)), Some(shard.clone()));
        assert_eq!(keys.shard_of(&keys.start()), None);
        for (application, stream) in
            [("history", "scans-eu"), ("history", "hosts"), ("history", "scans/eu"), ("webhooks", "scans")]
        {
            let other = LeaseKeys::new(application, stream);
            assert_eq!(keys.shard_of(&other.shard(&shard)), None, "{application} {stream}");
            assert_eq!(keys.shard_of(&other.start()), None, "{application} {stream}");
        }
    }
}
