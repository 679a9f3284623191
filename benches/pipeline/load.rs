//! The messages of each scenario, and of how many keys they are. The same in every round.

use std::net::Ipv4Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use mini_scan::local::generator::{ALL_KEYS, Generator, Shares};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::null_dynamo::{HELD_SERVICE, HELD_TIMESTAMP};

/// Newer than what a table holds from the start, and older.
const NEWER: u64 = HELD_TIMESTAMP + 1_000;
const OLDER: u64 = HELD_TIMESTAMP - 1_000;
/// The bytes of most responses: their scans are of about 200.
pub(crate) const USUAL_RESPONSE: usize = 64;

/// What is published, for so many messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Each of a key of its own.
    New,
    /// Each of a key of its own, of which the table knows all but so many in a hundred, mixed.
    Mixed(usize),
    /// Every second one older than what the table holds.
    HalfStale,
    /// So many copies of each scan, shuffled.
    Copies(usize),
    /// So many timestamps of each key, shuffled.
    TimestampsShuffled(usize),
    /// So many timestamps of each key, one after another, from old to new.
    TimestampsInOrder(usize),
    /// With a response of so many bytes.
    Large(usize),
    /// A tenth cannot be a scan.
    Poison,
    /// New ones, and before them so many whose writes are never answered.
    Held(usize),
    /// All older than what the table holds, of so many keys in turn.
    Backlog(usize),
}

impl Load {
    /// The messages; `newer` is added to each timestamp.
    pub(crate) fn messages(self, count: usize, newer: u64) -> Vec<Bytes> {
        let at = NEWER + newer;
        let new = |n| scan(n, "HTTP", at, USUAL_RESPONSE);
        let mut messages: Vec<Bytes> = match self {
            Load::New | Load::Mixed(_) => (0..count).map(new).collect(),
            Load::HalfStale => {
                (0..count).map(|n| scan(n, "HTTP", if n % 2 == 0 { at } else { OLDER }, USUAL_RESPONSE)).collect()
            }
            Load::Copies(copies) => (0..count).map(|n| new(n / copies)).collect(),
            Load::TimestampsShuffled(each) | Load::TimestampsInOrder(each) => {
                (0..count).map(|n| scan(n / each, "HTTP", at + (n % each) as u64, USUAL_RESPONSE)).collect()
            }
            Load::Large(bytes) => (0..count).map(|n| scan(n, "HTTP", at, bytes)).collect(),
            Load::Poison => poison(count, at),
            Load::Held(held) => {
                let held = (0..held).map(|n| scan(count + n, HELD_SERVICE, at, USUAL_RESPONSE));
                held.chain((0..count).map(new)).collect()
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

    /// The keys among so many messages.
    pub(crate) fn keys(self, count: usize) -> usize {
        match self {
            Load::Copies(each) | Load::TimestampsShuffled(each) | Load::TimestampsInOrder(each) => count / each,
            Load::Backlog(keys) => keys,
            Load::Poison => count - count / 10,
            Load::New | Load::Mixed(_) | Load::HalfStale | Load::Large(_) | Load::Held(_) => count,
        }
    }

    /// The keys, of so many messages, that the table knows from the start.
    pub(crate) fn known_keys(self, count: usize) -> Vec<String> {
        let Load::Mixed(missing) = self else { return Vec::new() };
        let mut keys: Vec<usize> = (0..count).collect();
        keys.shuffle(&mut SmallRng::seed_from_u64(2));
        keys.truncate(count - count * missing / 100);
        keys.into_iter().map(|key| format!("{}#{}#HTTP", address(key), key % 65_535)).collect()
    }

    /// The bytes of a response.
    pub(crate) fn response_bytes(self) -> usize {
        match self {
            Load::Large(bytes) => bytes,
            _ => USUAL_RESPONSE,
        }
    }

    /// The messages that are never settled.
    pub(crate) fn held(self) -> usize {
        match self {
            Load::Held(held) => held,
            _ => 0,
        }
    }
}

/// The address of a key: an odd factor, so that every key is new, and none is beside the one before.
pub(crate) fn address(key: usize) -> Ipv4Addr {
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer keys than addresses")]
    Ipv4Addr::from((key as u32).wrapping_mul(0x9E37_79B1))
}

/// A response of so many bytes.
pub(crate) fn response(key: usize, bytes: usize) -> String {
    let mut response = format!("service response: {key} ");
    response.extend(std::iter::repeat_n('x', bytes.saturating_sub(response.len())));
    response
}

/// About 200 bytes with a usual response; both formats in turn.
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
