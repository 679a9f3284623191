//! Decides from the log of all clients whether the table can be right. Pure.
//!
//! Requests overlap, so their order is known only if one ended before another began. A table, or an answer, is wrong if no order
//! explains it.

mod index;

use std::collections::BTreeMap;

use demo::Check;

use self::index::Index;
use crate::widget::{Peers, Port, Serial};

/// A point in the order of events that all clients share.
pub type Moment = u64;

/// What a request changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Created(Serial),
    Deleted(Serial),
    Connected {
        port: Port,
        ends: [Serial; 2],
        /// It frees the ports before.
        replaces: bool,
    },
    Disconnected {
        serial: Serial,
        port: Port,
    },
}

/// A request that changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub effect: Effect,
    pub begin: Moment,
    /// When it was answered. A request without an answer may have an effect at any time, or never.
    pub end: Option<Moment>,
}

/// What an answer shows of a widget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    Exists(Serial),
    Missing(Serial),
    Connected { serial: Serial, port: Port, peer: Serial },
    Free { serial: Serial, port: Port },
}

/// A fact that was true at some time in an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub fact: Fact,
    pub begin: Moment,
    pub end: Moment,
}

/// The log of all clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub writes: Vec<Write>,
    pub seen: Vec<Seen>,
}

/// The table after all requests.
pub type Table = BTreeMap<Serial, Peers>;

/// What is compared with the table, or with the other answers.
#[derive(Debug)]
pub struct Checks {
    pub created: Check,
    pub deleted: Check,
    pub connected: Check,
    pub replaced: Check,
    pub disconnected: Check,
    /// The connections of the table that a request explains.
    pub explained: Check,
    /// The facts of answers that requests explain.
    pub seen: Check,
    /// Ends of connections whose other end is missing.
    pub half: Check,
}

impl Checks {
    /// Returns the checks, each with its subject and its predicate.
    pub fn lines(&self) -> [(&Check, &'static str, &'static str); 8] {
        [
            (&self.created, "created widgets", "exist, or were deleted later"),
            (&self.deleted, "deleted widgets", "are missing, or were created again"),
            (&self.connected, "connections", "are in the table, or were changed later"),
            (&self.replaced, "replaced connections", "are in the table, or were changed later"),
            (&self.disconnected, "disconnected ports", "are free, or were connected later"),
            (&self.explained, "ends of connections in the table", "were asked for, and not disconnected later"),
            (&self.seen, "answers and refusals", "agree with the requests before"),
            (&self.half, "half connections", "are in the table"),
        ]
    }

    pub fn passed(&self) -> bool {
        self.lines().iter().all(|(check, ..)| check.passed())
    }

    /// Returns everything that is wrong.
    pub fn differences(&self) -> Vec<String> {
        self.lines().iter().flat_map(|(check, ..)| check.differences.clone()).collect()
    }
}

/// Compares the log with the table, and with itself.
pub fn verify(log: &Log, table: &Table) -> Checks {
    let index = Index::of(&log.writes);
    let of_kind = |is_kind: fn(&Effect) -> bool| {
        let acknowledged = log.writes.iter().filter(|write| write.end.is_some() && is_kind(&write.effect));
        Check::of(acknowledged.map(|write| stored(write, &index, table)))
    };
    let edges = || table.iter().flat_map(|(serial, peers)| peers.iter().map(move |(port, peer)| (serial, port, peer)));
    let in_table = |(serial, port, peer): (&Serial, Port, &Serial)| {
        let fact = Fact::Connected { serial: serial.clone(), port, peer: peer.clone() };
        explained(&Seen { fact, begin: Moment::MAX, end: Moment::MAX }, &index)
    };
    let half =
        edges().filter(|(serial, port, peer)| table.get(*peer).and_then(|peers| peers.get(*port)) != Some(*serial));
    Checks {
        created: of_kind(|effect| matches!(effect, Effect::Created(_))),
        deleted: of_kind(|effect| matches!(effect, Effect::Deleted(_))),
        connected: of_kind(|effect| matches!(effect, Effect::Connected { replaces: false, .. })),
        replaced: of_kind(|effect| matches!(effect, Effect::Connected { replaces: true, .. })),
        disconnected: of_kind(|effect| matches!(effect, Effect::Disconnected { .. })),
        explained: Check::of(edges().map(in_table)),
        seen: Check::of(log.seen.iter().map(|seen| explained(seen, &index))),
        half: Check::nothing(half.map(|(serial, port, peer)| format!("{port} of {serial} names {peer}")).collect()),
    }
}

/// Returns an error if an acknowledged request is not in the table, and nothing can have undone it.
fn stored(write: &Write, index: &Index<'_>, table: &Table) -> Result<(), String> {
    let peer = |serial: &Serial, port: Port| table.get(serial).and_then(|peers| peers.get(port));
    let (is_stored, undone) = match &write.effect {
        Effect::Created(serial) => (table.contains_key(serial), index.deletes(serial)),
        Effect::Deleted(serial) => (!table.contains_key(serial), index.creates(serial)),
        Effect::Connected { port, ends: [one, other], .. } => {
            let is_stored = peer(one, *port) == Some(other) && peer(other, *port) == Some(one);
            (is_stored, index.may_disconnect(*port, [one, other]))
        }
        Effect::Disconnected { serial, port } => (peer(serial, *port).is_none(), index.connects(serial, *port)),
    };
    let undone = || undone.iter().any(|later| later.end.is_none_or(|end| end > write.begin));
    if is_stored || undone() { Ok(()) } else { Err(format!("lost: {write:?}")) }
}

/// Returns an error if no order of the requests explains what was seen.
fn explained(seen: &Seen, index: &Index<'_>) -> Result<(), String> {
    let is_explained = match &seen.fact {
        Fact::Exists(serial) => remains(seen, &index.creates(serial), &index.deletes(serial)),
        Fact::Missing(serial) => undone(seen, &index.creates(serial), |_| index.deletes(serial)),
        Fact::Connected { serial, port, peer } => {
            let ends = [serial, peer];
            remains(seen, &index.connects_both(*port, ends), &index.must_disconnect(*port, ends))
        }
        Fact::Free { serial, port } => undone(seen, &index.connects(serial, *port), |write| match &write.effect {
            Effect::Connected { port, ends: [one, other], .. } => index.may_disconnect(*port, [one, other]),
            _ => Vec::new(),
        }),
    };
    if is_explained { Ok(()) } else { Err(format!("not explained: {seen:?}")) }
}

/// Returns whether one of these requests can have done it, without one that undid it between it and the moment it was seen.
fn remains(seen: &Seen, done: &[&Write], undone: &[&Write]) -> bool {
    let undone = undone.iter().filter(|write| write.end.is_some_and(|end| end < seen.begin));
    let last = undone.map(|write| write.begin).max().unwrap_or_default();
    done.iter().any(|write| write.begin < seen.end && write.end.is_none_or(|end| end >= last))
}

/// Returns whether the last of the requests that did it before can have been undone before it was seen.
fn undone<'a>(seen: &Seen, done: &[&'a Write], undone: impl Fn(&'a Write) -> Vec<&'a Write>) -> bool {
    let before = done.iter().filter(|write| write.end.is_some_and(|end| end < seen.begin));
    before.max_by_key(|write| write.begin).is_none_or(|last| {
        let mut later = undone(last).into_iter();
        later.any(|write| write.begin < seen.end && write.end.is_none_or(|end| end > last.begin))
    })
}

#[cfg(test)]
mod tests;
