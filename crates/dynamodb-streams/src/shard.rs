//! Shards and their ids.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::sequence_number::SequenceNumber;

/// The id of a shard, e.g. `shardId-00000001700000000000-0a1b2c3d`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(Arc<str>);

impl ShardId {
    pub fn new(id: impl Into<Arc<str>>) -> ShardId {
        ShardId(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns when the stream created the shard: the ids of DynamoDB contain it in milliseconds.
    pub fn created(&self) -> Option<SystemTime> {
        let digits = self.0.strip_prefix("shardId-")?.split('-').next()?;
        let milliseconds = digits.parse().ok()?;
        (digits.len() == 20).then(|| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)))?
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A shard as the stream describes it. Whether it is closed is left out, because descriptions of this are unreliable:
/// only the end of its records tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub id: ShardId,
    pub parent: Option<ShardId>,
    /// The first sequence number that the shard may contain.
    pub starting_sequence_number: Option<SequenceNumber>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_contains_the_time_of_creation() {
        let created = |id: &str| ShardId::new(id).created();
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(created("shardId-00000001700000000123-0a1b2c3d"), Some(expected));
        for other in ["shardId-1700000000123-0a1b2c3d", "shardId-0000000170000000012x-0a", "shard-000001", ""] {
            assert_eq!(created(other), None, "{other}");
        }
    }
}
