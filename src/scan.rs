//! Defines a scan: decoding, the key, and every reason to reject one. Pure: no clock, no I/O, no other module of the
//! program.

mod decode;
mod key;
mod message;
mod rejection;
mod response;
mod text;

use std::time::SystemTime;

pub use decode::decode;
pub use key::{Key, address, check_service};
pub use rejection::{Reason, Rejection};

/// One scan result, ready to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    pub key: Key,
    /// Unix seconds, at most `i64::MAX`.
    pub timestamp: u64,
    pub data_version: DataVersion,
    /// The response as text, with U+FFFD where the bytes were not UTF-8.
    pub response: String,
    /// The exact bytes. `None` if the response is UTF-8.
    pub response_bytes: Option<Vec<u8>>,
}

/// The payload format of the message that contained the scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataVersion {
    /// The response is base64 in `response_bytes_utf8`.
    V1 = 1,
    /// The response is text in `response_str`.
    V2 = 2,
}

/// Returns a time in whole Unix seconds. Times before 1970 are 0.
pub(crate) fn to_unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
