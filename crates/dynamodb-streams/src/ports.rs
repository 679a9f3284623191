//! What the reader needs from outside: a stream, a lease table, a handler of records and an observer.

mod handler;
mod lease_table;
mod observer;
mod stream;

pub use handler::{Handler, Outcome};
pub use lease_table::{
    Expected, LeaseError, LeaseErrorKind, LeasePage, LeaseTable, LeaseUpdate, ScanPosition, Updated,
};
pub use observer::{Gap, GapCause, LostReason, Observer, Report};
pub use stream::{IteratorPosition, Listing, Page, ShardIterator, Stream, StreamError, StreamErrorKind};

/// The error of a handler, or the cause of an error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
