//! What the null table holds, and what becomes of a write for it. Pure.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Which records are there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Holds {
    /// None, ever: whatever is put is stored.
    #[default]
    Nothing,
    /// One of this timestamp under every key.
    EveryKey(u64),
    /// Those that were there from the start, and those that were written.
    Written,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Put,
    Update,
    Insert,
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Stored,
    /// The record that is there is of this timestamp.
    Stale(u64),
    /// An update found no record.
    Missing,
    /// An insert found one.
    Duplicate,
}

#[derive(Debug)]
pub(super) struct Records {
    holds: Holds,
    /// The newest timestamp by the hash of a key: two keys of one hash are not told apart, which is one pair in many
    /// runs.
    written: HashMap<u64, u64>,
}

impl Records {
    /// `known` are the keys of the records that [`Holds::Written`] begins with, all of one timestamp.
    pub(super) fn new(holds: Holds, known: &[String], timestamp: u64) -> Records {
        Records { holds, written: known.iter().map(|key| (hash(key), timestamp)).collect() }
    }

    /// Whether keys and timestamps make a difference.
    pub(super) fn are_asked(&self) -> bool {
        !matches!(self.holds, Holds::Nothing)
    }

    pub(super) fn write(&mut self, verb: Verb, key: &str, timestamp: u64) -> Decision {
        let key = hash(key);
        let held = match self.holds {
            Holds::Nothing => None,
            Holds::EveryKey(timestamp) => Some(timestamp),
            Holds::Written => self.written.get(&key).copied(),
        };
        let verdict = match (verb, held) {
            (Verb::Put | Verb::Insert, None) => Decision::Stored,
            (Verb::Update, None) => Decision::Missing,
            (Verb::Insert, Some(_)) => Decision::Duplicate,
            (Verb::Put | Verb::Update, Some(held)) if timestamp <= held => Decision::Stale(held),
            (Verb::Put | Verb::Update, Some(_)) => Decision::Stored,
        };
        if verdict == Decision::Stored && matches!(self.holds, Holds::Written) {
            self.written.insert(key, timestamp);
        }
        verdict
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
