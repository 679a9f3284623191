//! The contents of the null table, and the result of each write. Pure.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The records of the null table.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Contents {
    /// None, ever: every put is stored.
    #[default]
    Nothing,
    /// A record of this timestamp under every key.
    EveryKey(u64),
    /// The initial records, and those that were written.
    Written,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Put,
    Update,
    Insert,
}

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Stored,
    /// The existing record has this timestamp.
    Stale(u64),
    /// An update found no record.
    Missing,
    /// An insert found a record.
    Duplicate,
}

#[derive(Debug)]
pub(super) struct Records {
    contents: Contents,
    /// The newest timestamp by the hash of a key. A collision affects about one pair of keys in many runs.
    written: HashMap<u64, u64>,
}

impl Records {
    /// `known` are the keys of the initial records of [`Contents::Written`], all with this timestamp.
    pub(super) fn new(contents: Contents, known: &[String], timestamp: u64) -> Records {
        Records { contents, written: known.iter().map(|key| (hash(key), timestamp)).collect() }
    }

    /// Returns whether no record ever exists, so that keys and timestamps make no difference.
    pub(super) fn are_none(&self) -> bool {
        matches!(self.contents, Contents::Nothing)
    }

    pub(super) fn write(&mut self, verb: Verb, key: &str, timestamp: u64) -> Decision {
        let key = hash(key);
        let stored = match self.contents {
            Contents::Nothing => None,
            Contents::EveryKey(timestamp) => Some(timestamp),
            Contents::Written => self.written.get(&key).copied(),
        };
        let decision = match (verb, stored) {
            (Verb::Put | Verb::Insert, None) => Decision::Stored,
            (Verb::Update, None) => Decision::Missing,
            (Verb::Insert, Some(_)) => Decision::Duplicate,
            (Verb::Put | Verb::Update, Some(stored)) if timestamp <= stored => Decision::Stale(stored),
            (Verb::Put | Verb::Update, Some(_)) => Decision::Stored,
        };
        if decision == Decision::Stored && matches!(self.contents, Contents::Written) {
            self.written.insert(key, timestamp);
        }
        decision
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
