//! The state of the simulated table: its rows, which may vanish, and what the checks must know of its past.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::faults::{Answer, Attempt, BatchCall, Script};
use crate::consumer::ports::{self, Attempt as Attempted, Fit, Record, Statement, StoreErrorKind, Verb};
use crate::scan::Scan;

/// The default latency of the table.
pub(super) const LATENCY: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<u16, Scan>,
    /// The rows that were deleted, alone or with the table.
    pub(super) vanished: Vec<Vanished>,
    /// While the table does not exist, when it is created again.
    missing_until: Option<Instant>,
    /// When the latest answer told each instance that the table is missing.
    pub(super) noticed: BTreeMap<usize, Instant>,
    history: Vec<Event>,
    /// Every attempt, as a PutItem or in a batch.
    pub(super) calls: Vec<Call>,
    /// The size of each batch.
    pub(super) batches: Vec<usize>,
    pub(super) in_flight: usize,
    pub(super) max_in_flight: usize,
    pub(super) fault: Script<Attempt, (Duration, Answer)>,
    /// The answer to a whole batch, or `None` to answer each statement.
    pub(super) batch_fault: Script<BatchCall, Option<Answer>>,
    /// The answer to a DescribeTable at a simulated time after the start.
    pub(super) description: Script<Duration, Result<Fit, StoreErrorKind>>,
    /// When each DescribeTable was requested.
    pub(super) descriptions: Vec<Instant>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) port: u16,
    pub(super) at: Instant,
    /// `None` for a PutItem.
    pub(super) verb: Option<Verb>,
}

/// A row that was deleted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vanished {
    pub(super) port: u16,
    pub(super) timestamp: u64,
    pub(super) at: Instant,
}

/// The number of events before a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sent(usize);

/// A row that was written, or an answer that counts against a scan.
#[derive(Debug)]
struct Event {
    at: Instant,
    kind: EventKind,
}

#[derive(Debug)]
enum EventKind {
    Stored {
        port: u16,
        sent: Sent,
    },
    /// This instance learned that a PutItem of this scan was refused.
    Refused {
        instance: usize,
        scan: Scan,
        sent: Sent,
    },
    /// This instance learned whether the table fits.
    Described {
        instance: usize,
        fits: bool,
        sent: Sent,
    },
    /// This instance learned that the row of this scan's key was not written by us.
    Foreign {
        instance: usize,
        scan: Scan,
    },
}

impl Default for Table {
    fn default() -> Table {
        Table {
            rows: BTreeMap::new(),
            vanished: Vec::new(),
            missing_until: None,
            noticed: BTreeMap::new(),
            history: Vec::new(),
            calls: Vec::new(),
            batches: Vec::new(),
            in_flight: 0,
            max_in_flight: 0,
            fault: Script::new(|_| (LATENCY, Answer::Normal)),
            batch_fault: Script::new(|_| None),
            description: Script::new(|_| Ok(Fit::Fits)),
            descriptions: Vec::new(),
        }
    }
}

impl Table {
    pub(super) fn calls_of(&self, port: u16) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.port == port)
    }

    /// Returns the number of calls between two simulated times.
    pub(super) fn calls_between(&self, start: Instant, from: Duration, to: Duration) -> usize {
        self.calls.iter().filter(|call| (from..to).contains(&(call.at - start))).count()
    }

    /// Deletes a row, by hand or because it expired.
    pub(super) fn delete_row(&mut self, port: u16) {
        if let Some(Scan { timestamp, .. }) = self.rows.remove(&port) {
            self.vanished.push(Vanished { port, timestamp, at: Instant::now() });
        }
    }

    /// Deletes the table, which is created again at this time.
    pub(super) fn delete(&mut self, created: Instant) {
        let ports: Vec<u16> = self.rows.keys().copied().collect();
        ports.into_iter().for_each(|port| self.delete_row(port));
        self.missing_until = Some(created);
    }

    pub(super) fn is_missing(&self) -> bool {
        self.missing_until.is_some_and(|created| Instant::now() < created)
    }

    /// Records an attempt, and returns its latency and answer.
    pub(super) fn attempt(&mut self, scan: &Scan, verb: Option<Verb>, start: Instant) -> (Duration, Answer) {
        let (port, at) = (port_of(scan), Instant::now());
        self.calls.push(Call { port, at, verb });
        let of_key = self.calls_of(port).count();
        self.fault.call(Attempt {
            port,
            verb,
            number: self.calls.len(),
            of_key,
            others: self.in_flight,
            at: at - start,
        })
    }

    /// Returns the time of a request that is sent now.
    pub(super) fn sent(&self) -> Sent {
        Sent(self.history.len())
    }

    pub(super) fn write(&mut self, scan: &Scan, sent: Sent) -> ports::Answer {
        let port = port_of(scan);
        if let Some(row) = self.rows.get(&port).filter(|row| row.timestamp >= scan.timestamp) {
            return ports::Answer::Stale(Record {
                timestamp: row.timestamp,
                is_same: row == scan,
                bytes: row.response.len(),
            });
        }
        self.rows.insert(port, scan.clone());
        self.record(EventKind::Stored { port, sent });
        ports::Answer::Stored
    }

    pub(super) fn run(&mut self, statement: &Statement, sent: Sent) -> Option<Attempted> {
        let has_row = self.rows.contains_key(&port_of(&statement.scan));
        match (statement.verb, has_row) {
            (Verb::Update, false) | (Verb::Insert, true) => None,
            (Verb::Update, true) | (Verb::Insert, false) => Some(Ok(self.write(&statement.scan, sent))),
        }
    }

    /// Records an answer to an instance, if it counts against this scan.
    pub(super) fn answered(&mut self, instance: usize, scan: &Scan, verb: Option<Verb>, sent: Sent, answer: Answer) {
        match (answer, verb) {
            (Answer::Refused, None) => self.record(EventKind::Refused { instance, scan: scan.clone(), sent }),
            (Answer::ForeignRow, _) => self.record(EventKind::Foreign { instance, scan: scan.clone() }),
            _ => {}
        }
    }

    /// Records a description that an instance receives.
    pub(super) fn described(&mut self, instance: usize, fits: bool, sent: Sent) {
        self.record(EventKind::Described { instance, fits, sent });
    }

    fn record(&mut self, kind: EventKind) {
        self.history.push(Event { at: Instant::now(), kind });
    }

    /// Returns whether the answers to an instance since this time reject a scan: its row is not ours, or it was refused twice.
    /// Between the two refusals, a write of another key and the latest description, which fits, were both sent and answered.
    pub(super) fn rejects(&self, instance: usize, scan: &Scan, since: Instant) -> bool {
        let is_of_scan = |to: usize, other: &Scan| to == instance && other == scan;
        let refusals = |number: usize| match &self.history[number].kind {
            EventKind::Refused { instance: to, scan: other, sent } if is_of_scan(*to, other) => Some((number, *sent)),
            _ => None,
        };
        let first = self.history.partition_point(|event| event.at < since);
        let numbers = first..self.history.len();
        let is_foreign = |event: &Event| matches!(&event.kind, EventKind::Foreign { instance: to, scan: other } if is_of_scan(*to, other));
        let refusals: Vec<(usize, Sent)> = numbers.clone().filter_map(refusals).collect();
        let is_proven = |after: usize, Sent(before): Sent| {
            let between = || self.history[..before].iter().skip(after);
            let stored = between().any(|event| match event.kind {
                EventKind::Stored { port, sent } => sent > Sent(after) && port != port_of(scan),
                _ => false,
            });
            let latest = between().rev().find_map(|event| match event.kind {
                EventKind::Described { instance: to, fits, sent } if to == instance => Some(fits && sent > Sent(after)),
                _ => None,
            });
            stored && latest == Some(true)
        };
        let is_refused = refusals.iter().any(|(first, _)| refusals.iter().any(|(_, sent)| is_proven(*first, *sent)));
        is_refused || self.history[first..].iter().any(is_foreign)
    }
}

pub(super) fn port_of(scan: &Scan) -> u16 {
    scan.key.port().parse().expect("a port")
}
