//! The stream and the lease table of AWS, through its official clients. No other module knows these clients.

mod decoded;
mod error;
mod lease_table;
mod record;
mod row;
mod stream;

pub use decoded::DecodedStream;
pub use lease_table::DynamoDbLeaseTable;
pub use stream::DynamoDbStream;
