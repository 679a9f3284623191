//! Records of the stream.

use std::time::SystemTime;

use tokio::time::Instant;

use crate::sequence_number::SequenceNumber;
use crate::shard::ShardId;

/// One record: what the reader must know of it, and the data of the vendor's client.
#[derive(Clone, Debug)]
pub struct Record<D> {
    pub shard: ShardId,
    pub sequence_number: SequenceNumber,
    /// A hash of the item's key. Records with equal hashes are handled one after the other, in order.
    pub key: u64,
    /// When the item was written, as precisely as the stream tells.
    pub created: Option<SystemTime>,
    /// The memory that the record occupies, for the budget of the reader.
    pub bytes: usize,
    /// When its page arrived.
    pub read_at: Instant,
    pub data: D,
}

/// A record that was given up, with everything that its dead letter needs.
#[derive(Debug)]
pub struct DeadRecord<'a, D> {
    pub shard: &'a ShardId,
    pub record: &'a Record<D>,
    /// How often the handler tried.
    pub attempts: u32,
    pub reason: &'a str,
}
