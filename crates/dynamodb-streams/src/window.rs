//! The unfinished records of one shard: order per key, retries, and the contiguous checkpoint.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::memory::Reservation;
use crate::ports::Outcome;
use crate::sequence_number::SequenceNumber;
use crate::settings::{Retries, backoff};

/// The memory of an entry until the checkpoint passes it, also if its record is finished.
pub(crate) const ENTRY_BYTES: usize = 200;
/// The longest delay of a retry, so that the time of the next attempt can be computed.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 3600);

/// The number of a record since the window began.
pub(crate) type Index = u64;

/// A window over the records of a shard. `T` is what a task needs of its record. It is dropped when the record is finished.
#[derive(Debug)]
pub(crate) struct Window<T> {
    retries: Retries,
    /// The index of the first entry.
    first: Index,
    entries: VecDeque<Entry<T>>,
    /// The last unfinished record of each key. Only the first one is ready, in progress or waits for its retry.
    keys: HashMap<u64, Index>,
    ready: VecDeque<Index>,
    waiting: BTreeSet<(Instant, Index)>,
    in_progress: usize,
    /// The end of the records that were started.
    started: Index,
    checkpoint: Option<SequenceNumber>,
}

#[derive(Debug)]
struct Entry<T> {
    sequence_number: SequenceNumber,
    key: u64,
    /// The next record of this key, which is ready once this one is finished.
    next: Option<Index>,
    /// None once the record is finished.
    record: Option<T>,
    attempts: u32,
    first_attempt: Option<Instant>,
    /// The attempts in a row for which a store of the handler was away.
    outages: u32,
    /// Why the record is dead. Its dead letter is not stored yet.
    dead: Option<String>,
    _memory: Option<Reservation>,
}

impl<T> Entry<T> {
    fn new(sequence_number: SequenceNumber, key: u64, record: Option<T>, memory: Option<Reservation>) -> Entry<T> {
        let (next, attempts, first_attempt, outages, dead) = (None, 0, None, 0, None);
        Entry { sequence_number, key, next, record, attempts, first_attempt, outages, dead, _memory: memory }
    }
}

/// The next step of a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Task<T> {
    pub(crate) index: Index,
    pub(crate) record: T,
    /// The number of this attempt. For a dead record, the number of attempts that it had.
    pub(crate) attempt: u32,
    /// Present if the dead letter must be stored.
    pub(crate) dead: Option<String>,
}

/// How far all records of a shard are finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished<'a> {
    /// The last record of which it and all records before it are finished.
    pub(crate) last: &'a SequenceNumber,
    /// How many records it and those before it are, since the window began.
    pub(crate) records: u64,
}

/// How a task ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Handled(Outcome),
    DeadStored(Result<(), String>),
}

/// What follows from the end of a task, for reports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Finished,
    Retry { delay: Duration, attempt: u32, reason: String },
    Unavailable { delay: Duration, reason: String },
    StoreDead,
    DeadFinished { attempts: u32, reason: String },
    DeadLetterFailed { error: String },
}

impl<T: Clone> Window<T> {
    pub(crate) fn new(retries: Retries) -> Window<T> {
        Window {
            retries,
            first: 0,
            entries: VecDeque::new(),
            keys: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            in_progress: 0,
            started: 0,
            checkpoint: None,
        }
    }

    /// Adds the next record of the shard. `memory` is what the window needs for it until the checkpoint passes it.
    pub(crate) fn push(
        &mut self,
        sequence_number: SequenceNumber,
        key: u64,
        record: T,
        memory: impl Into<Option<Reservation>>,
    ) {
        let index = self.first + self.entries.len() as u64;
        match self.keys.insert(key, index) {
            Some(last) => self.entries[(last - self.first) as usize].next = Some(index),
            None => self.ready.push_back(index),
        }
        self.entries.push_back(Entry::new(sequence_number, key, Some(record), memory.into()));
    }

    /// Adds a record that is not handled.
    pub(crate) fn push_skipped(&mut self, sequence_number: SequenceNumber, memory: impl Into<Option<Reservation>>) {
        self.entries.push_back(Entry::new(sequence_number, 0, None, memory.into()));
        self.advance();
    }

    /// Returns the next task that can start now, and counts it as in progress. Before a handover, only records before the
    /// last started one are wanted, because the next owner repeats what is finished behind an unfinished record.
    pub(crate) fn start(&mut self, now: Instant, is_draining: bool) -> Option<Task<T>> {
        while let Some(&(due, index)) = self.waiting.first()
            && due <= now
        {
            self.waiting.pop_first();
            self.ready.push_back(index);
        }
        let position = self.ready.iter().position(|index| !is_draining || *index < self.started)?;
        let index = self.ready.remove(position)?;
        self.started = self.started.max(index + 1);
        self.in_progress += 1;
        let entry = &mut self.entries[(index - self.first) as usize];
        entry.first_attempt.get_or_insert(now);
        if entry.dead.is_none() {
            entry.attempts += 1;
        }
        let record = entry.record.clone().expect("an unfinished record is kept");
        Some(Task { index, record, attempt: entry.attempts, dead: entry.dead.clone() })
    }

    /// Takes the end of a task. `random` is from 0 to 1, for the jitter of a retry.
    pub(crate) fn end(&mut self, index: Index, ended: Ended, now: Instant, random: f64) -> Decision {
        self.in_progress -= 1;
        let position = (index - self.first) as usize;
        match ended {
            Ended::Handled(Outcome::Done) => {
                self.finish(index);
                Decision::Finished
            }
            Ended::Handled(Outcome::Dead { reason }) => self.give_up(index, reason),
            Ended::Handled(Outcome::Unavailable { after, reason }) => {
                let entry = &mut self.entries[position];
                entry.attempts -= 1;
                entry.outages += 1;
                // The time of the outage does not count either.
                entry.first_attempt = None;
                let (first, longest) = (self.retries.first_delay, self.retries.max_delay);
                let delay = after.unwrap_or_else(|| backoff(first, longest, entry.outages, random)).min(LONGEST_DELAY);
                self.waiting.insert((now + delay, index));
                Decision::Unavailable { delay, reason }
            }
            Ended::Handled(Outcome::RetryLater { after, reason }) => {
                let entry = &mut self.entries[position];
                entry.outages = 0;
                let attempt = entry.attempts;
                let delay =
                    after.unwrap_or_else(|| backoff(self.retries.first_delay, self.retries.max_delay, attempt, random));
                let tried = entry.first_attempt.map_or(Duration::ZERO, |first| now - first);
                if attempt >= self.retries.max_attempts || tried.saturating_add(delay) > self.retries.max_time {
                    return self.give_up(index, format!("gave up after {attempt} attempts: {reason}"));
                }
                let delay = delay.min(LONGEST_DELAY);
                self.waiting.insert((now + delay, index));
                Decision::Retry { delay, attempt, reason }
            }
            Ended::DeadStored(Ok(())) => {
                let entry = &mut self.entries[position];
                let (attempts, reason) = (entry.attempts, entry.dead.take().unwrap_or_default());
                self.finish(index);
                Decision::DeadFinished { attempts, reason }
            }
            Ended::DeadStored(Err(error)) => {
                let delay = backoff(self.retries.max_delay, self.retries.max_delay, 1, random);
                self.waiting.insert((now + delay, index));
                Decision::DeadLetterFailed { error }
            }
        }
    }

    fn give_up(&mut self, index: Index, reason: String) -> Decision {
        self.entries[(index - self.first) as usize].dead = Some(reason);
        self.ready.push_back(index);
        Decision::StoreDead
    }

    fn finish(&mut self, index: Index) {
        let entry = &mut self.entries[(index - self.first) as usize];
        entry.record = None;
        match entry.next {
            Some(next) => self.ready.push_back(next),
            None => drop(self.keys.remove(&entry.key)),
        }
        self.advance();
    }

    /// Moves the checkpoint to the first unfinished record.
    fn advance(&mut self) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.record.is_none()) {
            self.first += 1;
            self.checkpoint = Some(entry.sequence_number);
        }
    }

    /// Returns how far all records are finished, if any are.
    pub(crate) fn finished(&self) -> Option<Finished<'_>> {
        Some(Finished { last: self.checkpoint.as_ref()?, records: self.first })
    }

    /// Returns the record that the checkpoint waits for.
    pub(crate) fn oldest(&self) -> Option<&T> {
        self.entries.front()?.record.as_ref()
    }

    pub(crate) fn sequence_number(&self, index: Index) -> Option<&SequenceNumber> {
        let position = index.checked_sub(self.first)?;
        Some(&self.entries.get(position as usize)?.sequence_number)
    }

    /// Returns when the next retry is due.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// Returns the number of records since the first unfinished one, finished ones included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn in_progress(&self) -> usize {
        self.in_progress
    }
}

#[cfg(test)]
mod tests;
