//! The messages of each scenario, and the number of their keys. They are the same in every round.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use mini_scan::local::generator::{ALL_KEYS, Generator, Shares};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::null_dynamo::UNANSWERED_SERVICE;
use crate::record::{NEWER, OLDER, address};

/// The size of most responses, in bytes. Their scans have about 200 bytes.
pub(crate) const USUAL_RESPONSE: usize = 64;

/// The kind of messages that a scenario publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Each message has its own key.
    New,
    /// Each message has its own key. The table lacks this percentage of them, in random order.
    Mixed(usize),
    /// Each message has its own key. Every other message is older than the stored record.
    HalfStale,
    /// Each message has its own key, and is older than the stored record.
    Stale,
    /// This many copies of each scan, shuffled.
    Copies(usize),
    /// This many timestamps per key, shuffled.
    TimestampsShuffled(usize),
    /// This many timestamps per key, one after another, from old to new.
    TimestampsInOrder(usize),
    /// With a response of this many bytes.
    Large(usize),
    /// A tenth of the messages are invalid.
    Poison,
    /// New scans, preceded by this many whose writes never get a response.
    Unanswered(usize),
    /// All older than the stored record, cycling through this many keys.
    Backlog(usize),
}

impl Load {
    /// Returns the messages; `newer` is added to each timestamp.
    pub(crate) fn messages(self, count: usize, newer: u64) -> Vec<Bytes> {
        let at = NEWER + newer;
        let new = |n| scan(n, "HTTP", at, USUAL_RESPONSE);
        let mut messages: Vec<Bytes> = match self {
            Load::New | Load::Mixed(_) => (0..count).map(new).collect(),
            Load::HalfStale => {
                (0..count).map(|n| scan(n, "HTTP", if n % 2 == 0 { at } else { OLDER }, USUAL_RESPONSE)).collect()
            }
            Load::Stale => (0..count).map(|n| scan(n, "HTTP", OLDER, USUAL_RESPONSE)).collect(),
            Load::Copies(copies) => (0..count).map(|n| new(n / copies)).collect(),
            Load::TimestampsShuffled(each) | Load::TimestampsInOrder(each) => {
                (0..count).map(|n| scan(n / each, "HTTP", at + (n % each) as u64, USUAL_RESPONSE)).collect()
            }
            Load::Large(bytes) => (0..count).map(|n| scan(n, "HTTP", at, bytes)).collect(),
            Load::Poison => poison(count, at),
            Load::Unanswered(unanswered) => {
                let unanswered = (0..unanswered).map(|n| scan(count + n, UNANSWERED_SERVICE, at, USUAL_RESPONSE));
                unanswered.chain((0..count).map(new)).collect()
            }
            Load::Backlog(keys) => {
                (0..count).map(|n| scan(n % keys, "HTTP", OLDER + (n / keys) as u64, USUAL_RESPONSE)).collect()
            }
        };
        if matches!(self, Load::Copies(_) | Load::TimestampsShuffled(_)) {
            messages.shuffle(&mut SmallRng::seed_from_u64(1));
        }
        messages
    }

    /// Returns the number of keys among this many messages.
    pub(crate) fn keys(self, count: usize) -> usize {
        match self {
            Load::Copies(each) | Load::TimestampsShuffled(each) | Load::TimestampsInOrder(each) => count / each,
            Load::Backlog(keys) => keys,
            Load::Poison => count - count / 10,
            Load::New | Load::Mixed(_) | Load::HalfStale | Load::Stale | Load::Large(_) | Load::Unanswered(_) => count,
        }
    }

    /// Returns the keys, among this many messages, that have a record from the start.
    pub(crate) fn known_keys(self, count: usize) -> Vec<String> {
        let Load::Mixed(missing) = self else { return Vec::new() };
        let mut keys: Vec<usize> = (0..count).collect();
        keys.shuffle(&mut SmallRng::seed_from_u64(2));
        keys.truncate(count - count * missing / 100);
        keys.into_iter().map(|key| format!("{}#{}#HTTP", address(key), key % 65_535)).collect()
    }

    /// Returns the size of a response, in bytes.
    pub(crate) fn response_bytes(self) -> usize {
        match self {
            Load::Large(bytes) => bytes,
            _ => USUAL_RESPONSE,
        }
    }

    /// Returns the share of its writes that the table answers with a failed condition. `None` if it depends on the order.
    pub(crate) fn stale_share(self) -> Option<f64> {
        match self {
            Load::HalfStale => Some(0.5),
            Load::Stale | Load::Backlog(_) => Some(1.0),
            _ => None,
        }
    }

    /// Returns the number of messages that are never settled.
    pub(crate) fn unanswered(self) -> usize {
        match self {
            Load::Unanswered(unanswered) => unanswered,
            _ => 0,
        }
    }
}

/// Returns a response of this many bytes.
fn response(key: usize, bytes: usize) -> String {
    let mut response = format!("service response: {key} ");
    response.extend(std::iter::repeat_n('x', bytes.saturating_sub(response.len())));
    response
}

/// Returns a scan of about 200 bytes with a usual response, in alternating formats.
fn scan(key: usize, service: &str, timestamp: u64, bytes: usize) -> Bytes {
    let (ip, port, response) = (address(key), key % 65_535, response(key, bytes));
    let start = format!(r#"{{"ip":"{ip}","port":{port},"service":"{service}","timestamp":{timestamp}"#);
    match key.is_multiple_of(2) {
        true => format!(r#"{start},"data_version":2,"data":{{"response_str":"{response}"}}}}"#),
        false => {
            let response = BASE64.encode(response);
            format!(r#"{start},"data_version":1,"data":{{"response_bytes_utf8":"{response}"}}}}"#)
        }
    }
    .into()
}

fn poison(count: usize, at: u64) -> Vec<Bytes> {
    let mut broken = Generator::new(1, Shares { broken: 1.0, ..Shares::default() }, ALL_KEYS);
    let mut next =
        |n: usize| if n % 10 == 9 { broken.next_at(at).payload } else { scan(n, "HTTP", at, USUAL_RESPONSE) };
    (0..count).map(&mut next).collect()
}
