//! The messages of the simulation, each with its expected result. The port of a scan is its key.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// The publish time of every message, in Unix seconds.
pub(super) const PUBLISHED: u64 = 1_700_000_000;

/// The store panics when it measures a scan of this port.
pub(super) const PANICKING_PORT: u16 = 666;

pub(super) fn publish_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(PUBLISHED)
}

/// The expected result of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Scan { port: u16, timestamp: u64 },
    Expired,
    Broken,
}

#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) truth: Truth,
    text: String,
}

impl Template {
    /// Returns the payload of message `id`. It contains the id, so that every dead letter is unique.
    pub(super) fn payload(&self, id: usize) -> Bytes {
        Bytes::from(self.text.replace("ID", &format!("message {id}")))
    }
}

/// Returns a scan that was taken `second` seconds after the time 1,000 s before its publish time.
pub(super) fn scan(port: u16, second: u64) -> Template {
    let timestamp = PUBLISHED - 1000 + second;
    Template { truth: Truth::Scan { port, timestamp }, text: text(port, timestamp) }
}

/// Returns a scan that was older than a time to live of one day when it was published.
pub(super) fn expired(port: u16) -> Template {
    Template { truth: Truth::Expired, text: text(port, PUBLISHED - 100_000) }
}

pub(super) fn broken() -> Template {
    Template { truth: Truth::Broken, text: "ID is no scan".to_owned() }
}

pub(super) fn panicking() -> Template {
    Template { truth: Truth::Broken, text: text(PANICKING_PORT, PUBLISHED) }
}

fn text(port: u16, timestamp: u64) -> String {
    format!(
        r#"{{"ip":"1.1.1.1","port":{port},"service":"HTTP","timestamp":{timestamp},"data_version":2,"data":{{"response_str":"ID"}}}}"#
    )
}
