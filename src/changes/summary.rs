//! The summary of a service: its state now, and where the stream was when it last changed.

use super::entry::Event;
use super::key::Sequence;
use crate::scan::Key;

pub const HASH_BYTES: usize = 16;

/// The first half of a SHA-256 hash.
pub type Hash = [u8; HASH_BYTES];

/// The hashes of a response. Two responses are equal if their raw hashes are, or those of the bytes after masks. Responses in
/// different formats are equal also if those of the text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// Of the bytes.
    pub raw: Hash,
    /// Of the bytes after masks.
    pub bytes: Hash,
    /// Of the text after masks, because not every format of messages carries bytes.
    pub text: Hash,
    /// The format of the message that contained the response.
    pub data_version: u64,
}

/// The position of a record among all streams of the table. A later stream has a greater label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The label of the stream.
    pub stream: String,
    pub sequence: Sequence,
}

/// A change that was found by comparing the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    pub event: Event,
    /// The time of its entry, whose sequence number is zero.
    pub time: u64,
    /// The last change of the stream before it.
    pub after: Option<Sequence>,
    /// When it was found.
    pub at: u64,
    /// The hash of the text after masks. `None` if it closed the service.
    pub response: Option<Hash>,
}

/// The state of a service. All times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub service: Key,
    pub is_open: bool,
    /// The time of the first scan. `None` if it is from before the history began.
    pub first_seen: Option<u64>,
    /// The first scan was at this time or before.
    pub seen_by: Option<u64>,
    pub opened_at: Option<u64>,
    pub changed_at: Option<u64>,
    pub closed_at: Option<u64>,
    /// The number of changes that the stream showed.
    pub changes: u64,
    /// The last change that the stream showed.
    pub last: Option<Position>,
    /// The time of that change's entry, and when the table was changed.
    pub last_time: Option<u64>,
    pub last_created: Option<u64>,
    /// The time of the change before.
    pub previous_time: Option<u64>,
    /// Of the newest response.
    pub hashes: Option<Hashes>,
    /// The id of the masks behind the hashes.
    pub masks: Option<String>,
    pub repaired: Option<Repair>,
}

impl Summary {
    /// Returns the summary of a closed service of which nothing is known.
    pub fn new(service: Key) -> Summary {
        Summary {
            service,
            is_open: false,
            first_seen: None,
            seen_by: None,
            opened_at: None,
            changed_at: None,
            closed_at: None,
            changes: 0,
            last: None,
            last_time: None,
            last_created: None,
            previous_time: None,
            hashes: None,
            masks: None,
            repaired: None,
        }
    }

    /// Returns when the service was first seen, and whether that is exact. Otherwise it may have been earlier.
    pub fn first_seen(&self) -> Option<(u64, bool)> {
        match (self.first_seen, self.seen_by) {
            (Some(first), Some(by)) if by < first => Some((by, false)),
            (Some(first), _) => Some((first, true)),
            (None, by) => by.map(|by| (by, false)),
        }
    }
}
