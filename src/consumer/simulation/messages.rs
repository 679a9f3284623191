//! The messages of the simulation, each with its expected result. The port of a scan is its key.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;

use crate::scan::{DataVersion, Key, Reason, Scan};

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

/// How a payload contains its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Base64,
    /// As base64, with a byte that is not UTF-8.
    NotUtf8,
}

#[derive(Debug, Clone, Copy)]
enum Content {
    NoScan,
    Record { port: u16, timestamp: u64, format: Format },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Template {
    pub(super) truth: Truth,
    content: Content,
}

impl Template {
    pub(super) fn with_format(self, format: Format) -> Template {
        let content = match self.content {
            Content::NoScan => Content::NoScan,
            Content::Record { port, timestamp, .. } => Content::Record { port, timestamp, format },
        };
        Template { content, ..self }
    }

    /// Returns the payload of message `id`. It contains the id, so that every payload and every response is unique.
    pub(super) fn payload(&self, id: usize) -> Bytes {
        let Content::Record { port, timestamp, format } = self.content else {
            return Bytes::from(format!("message {id} is no scan"));
        };
        let (version, data) = match format {
            Format::Text => (2, format!(r#"{{"response_str":"message {id}"}}"#)),
            Format::Base64 | Format::NotUtf8 => {
                let encoded = BASE64_STANDARD.encode(format.bytes(id));
                (1, format!(r#"{{"response_bytes_utf8":"{encoded}"}}"#))
            }
        };
        Bytes::from(format!(
            r#"{{"ip":"1.1.1.1","port":{port},"service":"HTTP","timestamp":{timestamp},"data_version":{version},"data":{data}}}"#
        ))
    }

    /// Returns the record that message `id` must leave in the table. `None` if it must leave none.
    pub(super) fn record(&self, id: usize) -> Option<Scan> {
        let (Truth::Scan { .. }, Content::Record { port, timestamp, format }) = (self.truth, self.content) else {
            return None;
        };
        let is_utf8 = format != Format::NotUtf8;
        Some(Scan {
            data_version: if format == Format::Text { DataVersion::V2 } else { DataVersion::V1 },
            response_bytes: (!is_utf8).then(|| format.bytes(id)),
            ..row(port, timestamp, &format!("message {id}{}", if is_utf8 { "" } else { "\u{FFFD}" }))
        })
    }

    /// Returns why the payload must be rejected. `None` if it is valid.
    pub(super) fn rejection(&self) -> Option<Reason> {
        match (self.truth, self.content) {
            (Truth::Scan { .. } | Truth::Expired, _) => None,
            (Truth::Broken, Content::NoScan) => Some(Reason::MalformedJson),
            (Truth::Broken, Content::Record { .. }) => Some(Reason::HandlerPanicked),
        }
    }
}

impl Format {
    fn bytes(self, id: usize) -> Vec<u8> {
        let mut bytes = format!("message {id}").into_bytes();
        if self == Format::NotUtf8 {
            bytes.push(0xFF);
        }
        bytes
    }
}

fn template(truth: Truth, port: u16, timestamp: u64) -> Template {
    Template { truth, content: Content::Record { port, timestamp, format: Format::Text } }
}

/// Returns a scan that was taken `second` seconds after the time 1,000 s before its publish time.
pub(super) fn scan(port: u16, second: u64) -> Template {
    let timestamp = PUBLISHED - 1000 + second;
    template(Truth::Scan { port, timestamp }, port, timestamp)
}

/// Returns a scan that was older than a time to live of one day when it was published.
pub(super) fn expired(port: u16) -> Template {
    template(Truth::Expired, port, PUBLISHED - 100_000)
}

pub(super) fn broken() -> Template {
    Template { truth: Truth::Broken, content: Content::NoScan }
}

pub(super) fn panicking() -> Template {
    template(Truth::Broken, PANICKING_PORT, PUBLISHED)
}

/// Returns a record with this response.
pub(super) fn row(port: u16, timestamp: u64, response: &str) -> Scan {
    Scan {
        key: Key::new(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), port, "HTTP"),
        timestamp,
        data_version: DataVersion::V2,
        response: response.to_owned(),
        response_bytes: None,
    }
}
