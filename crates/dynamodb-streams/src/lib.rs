#![doc = include_str!("../README.md")]

mod aws;
mod coordinator;
mod lease;
mod lineage;
mod memory;
mod owned_lease;
mod polling;
mod ports;
mod position;
mod reader;
mod record;
mod sequence_number;
mod session;
mod settings;
mod shard;
mod shared;
mod sightings;
#[cfg(test)]
mod simulation;
mod window;

pub use aws::{DecodedStream, DynamoDbLeaseTable, DynamoDbStream};
pub use lease::{Checkpoint, Lease, LeaseKeys, Owner, Start};
pub use ports::{
    BoxError, Expected, Gap, GapCause, Handler, IteratorPosition, LeaseError, LeaseErrorKind, LeasePage, LeaseTable,
    LeaseUpdate, Listing, LostReason, Observer, Outcome, Page, Report, ScanPosition, ShardIterator, Stream,
    StreamError, StreamErrorKind, Updated,
};
pub use reader::{Ended, Reader};
pub use record::{DeadRecord, Record};
pub use sequence_number::SequenceNumber;
pub use settings::{InvalidSettings, Retries, Settings, Waits};
pub use shard::{Shard, ShardId};
