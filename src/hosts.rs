//! Reads what was scanned: the records of an address, of a network, or of a service. Also stores and forgets single records.
//!
//! Owns the interface to the table ([`Records`]) and knows neither a vendor nor HTTP.

mod address;
mod calls;
mod page;
mod reader;
mod records;
mod retry;
mod write;

pub use address::{InvalidTarget, MAX_ADDRESSES, Network, Target, TooLarge};
pub use calls::Calls;
pub use page::MAX_PAGE_SIZE;
pub use reader::{Filter, Hosts, Page, Query};
pub use records::{
    Batch, Deletion, Error, ErrorKind, Index, Keys, MAX_BATCH, Observer, Operation, Read, Record, Records, Row,
};
pub use write::{Outcome, WriteSettings};
