//! The interface to the table of records and its indexes, with the contract of each call.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use tracing::Span;

use crate::consumer::ports::Attempt;
use crate::scan::{Key, Rejection, Scan};

/// The most records that one call can read.
pub const MAX_BATCH: usize = 100;

/// The table, for readers. No call retries.
pub trait Records: Send + Sync + 'static {
    /// Returns up to `limit` keys of an address from the index, in its order: by port. `after` excludes the keys up to and
    /// including this one, whether its record still exists or not. The index may be a moment behind the table.
    fn by_ip(
        &self,
        ip: IpAddr,
        port: Option<u16>,
        after: Option<&Key>,
        limit: usize,
    ) -> impl Future<Output = Result<Read<Keys>, Error>> + Send;

    /// Returns up to `limit` keys with this port and service from the opt-in index, in its order: by address as text.
    fn by_service(
        &self,
        port: u16,
        service: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> impl Future<Output = Result<Read<Keys>, Error>> + Send;

    /// Returns the records of at most [`MAX_BATCH`] keys, in any order. A key that is neither found nor unprocessed has no
    /// record.
    fn get(&self, keys: &[Key]) -> impl Future<Output = Result<Read<Batch>, Error>> + Send;

    /// Returns one record.
    fn get_one(&self, key: &Key) -> impl Future<Output = Result<Read<Option<Record>>, Error>> + Send;

    /// Rejects a scan that the table could never hold. Makes no call.
    fn measure(&self, scan: &Scan) -> Result<(), Rejection>;

    /// Attempts the same conditional write as the consumer.
    fn put(&self, scan: &Scan) -> impl Future<Output = Attempt> + Send;

    /// Deletes the record if it still has this timestamp.
    fn delete(&self, key: &Key, timestamp: u64) -> impl Future<Output = Result<Deletion, Error>> + Send;
}

/// A stored scan. A newer program may have written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: Key,
    /// Unix seconds.
    pub timestamp: u64,
    pub data_version: u64,
    /// The response as text, with U+FFFD where the bytes were not UTF-8.
    pub response: String,
    /// The exact bytes. `None` if the response is UTF-8.
    pub response_bytes: Option<Vec<u8>>,
}

/// A record with its expiry time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub record: Record,
    /// Unix seconds.
    pub expires_at: Option<u64>,
}

impl Record {
    /// Returns the size of the response in JSON, which is most of a record. JSON writes a control character with six.
    pub(super) fn json_size(&self) -> usize {
        let in_json = |byte: u8| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..0x20 => 6,
            _ => 1,
        };
        let in_base64 = self.response_bytes.as_ref().map_or(0, |bytes| bytes.len().div_ceil(3) * 4);
        self.response.bytes().map(in_json).sum::<usize>() + in_base64
    }
}

/// What a read returned, and the read units that it consumed.
#[derive(Debug, Clone, PartialEq)]
pub struct Read<T> {
    pub value: T,
    pub units: f64,
}

/// A page of an index. It may have fewer keys than the limit although keys follow, because rows that are no records count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    pub keys: Vec<Key>,
    /// Whether keys may follow. If so, this page has at least one.
    pub has_more: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub records: Vec<Record>,
    /// Keys that the table did not look up: it is throttled, or the response would be too large.
    pub unprocessed: Vec<Key>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Deleted,
    /// The record has another timestamp now.
    Changed,
    /// There is no record.
    Missing,
}

/// An index of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    ByIp,
    ByService,
}

impl Index {
    pub fn name(self) -> &'static str {
        match self {
            Index::ByIp => "by-ip",
            Index::ByService => "by-service",
        }
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a call failed. The detail is for the operator: it may name the account and the identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    pub kind: ErrorKind,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The table, the index or the account is throttled.
    Throttled,
    /// The table has no such index.
    MissingIndex(Index),
    /// The index is still being built.
    UnfinishedIndex(Index),
    MissingTable,
    /// The identity may not do this, or its credentials are missing or expired.
    NotAuthorized,
    /// The store refused the request: the table or the program is at fault.
    Refused,
    /// A timeout, a failed connection, or a fault of the service.
    Unavailable,
}

impl ErrorKind {
    /// Returns its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Throttled => "Throttled",
            ErrorKind::MissingIndex(_) => "MissingIndex",
            ErrorKind::UnfinishedIndex(_) => "UnfinishedIndex",
            ErrorKind::MissingTable => "MissingTable",
            ErrorKind::NotAuthorized => "NotAuthorized",
            ErrorKind::Refused => "Refused",
            ErrorKind::Unavailable => "Unavailable",
        }
    }
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Query,
    BatchGetItem,
    GetItem,
    PutItem,
    DeleteItem,
}

impl Operation {
    pub const ALL: [Operation; 5] =
        [Operation::Query, Operation::BatchGetItem, Operation::GetItem, Operation::PutItem, Operation::DeleteItem];

    /// Returns the name of the operation in DynamoDB's API.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Query => "Query",
            Operation::BatchGetItem => "BatchGetItem",
            Operation::GetItem => "GetItem",
            Operation::PutItem => "PutItem",
            Operation::DeleteItem => "DeleteItem",
        }
    }
}

/// Is told what the calls cost and how they end. The methods must not block.
pub trait Observer: Send + Sync + 'static {
    /// One call begins. Returns the span around it.
    fn calling(&self, _: Operation) -> Span {
        Span::none()
    }

    /// One call has ended.
    fn called(&self, call: &Span, operation: Operation, took: Duration, failure: Option<&Error>);

    /// A read consumed this many read units.
    fn read_units(&self, units: f64);

    /// The table did not look up some keys of a read.
    fn unprocessed(&self);
}
