//! Compares pages of both tables, makes the summaries that are missing, and repairs what a gap of the stream has left out.
//!
//! Each page may be compared again: what was written before is then up to date. The reader of the stream may write at the
//! same time, because a correction holds only if the summary is as it was read. It reads the summary first, then the record:
//! the other way round, a change between the two reads would be repaired backwards.

use std::collections::HashMap;
use std::future::Future;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::change::Rules;
use super::entry::Event;
use super::repair::{self, Comparison, Correction, compare, has_masks, must_wait};
use super::summary::Summary;
use crate::consumer::ports::StoreError;
use crate::hosts::{MAX_BATCH, Record};
use crate::scan::Key;

/// Services that are read or written at the same time.
const CONCURRENCY: usize = 16;

/// What a backfill needs of the two tables. Its calls retry.
pub trait Tables {
    /// Returns the summaries of at most [`MAX_BATCH`] services. They may be a moment old.
    fn summaries(&self, services: &[Key]) -> impl Future<Output = Result<Vec<Summary>, StoreError>>;

    /// Returns the summary as it is now.
    fn summary(&self, service: &Key) -> impl Future<Output = Result<Option<Summary>, StoreError>>;

    /// Returns which of at most [`MAX_BATCH`] services have a row, also one that is no record. The answer may be a moment
    /// old.
    fn recorded(&self, services: &[Key]) -> impl Future<Output = Result<Vec<Key>, StoreError>>;

    /// Returns what the row of a service is now.
    fn record(&self, service: &Key) -> impl Future<Output = Result<Found, StoreError>>;

    /// Puts a summary unless the service has one. Returns whether it did.
    fn create(&self, summary: &Summary) -> impl Future<Output = Result<bool, StoreError>>;

    /// Corrects a summary and puts the entry of the repair, both or neither. Returns whether it did.
    fn correct(&self, correction: &Correction) -> impl Future<Output = Result<bool, StoreError>>;

    /// Returns the time in Unix seconds.
    fn now(&self) -> u64;
}

/// What a row of the table of scans is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Absent,
    Record(Record),
    /// It is no record, or one of a newer program.
    Unreadable,
}

/// What became of the services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// New summaries.
    pub created: u64,
    /// Repaired changes.
    pub opened: u64,
    pub changed: u64,
    pub closed: u64,
    /// Summaries that took the hashes of other masks.
    pub rebased: u64,
    /// Services whose summary has the hashes of other masks, and another response.
    pub other_masks: u64,
    /// Services that were repaired within a day, and need another repair.
    pub waiting: u64,
    /// Services whose row is no record, or one of a newer program.
    pub unreadable: u64,
    /// Services that the reader of the stream changed meanwhile.
    pub moved: u64,
    /// Records whose summary lacks nothing.
    pub up_to_date: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.created += other.created;
        self.opened += other.opened;
        self.changed += other.changed;
        self.closed += other.closed;
        self.rebased += other.rebased;
        self.other_masks += other.other_masks;
        self.waiting += other.waiting;
        self.unreadable += other.unreadable;
        self.moved += other.moved;
        self.up_to_date += other.up_to_date;
    }
}

/// What became of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Created,
    Repaired(Event),
    Rebased,
    OtherMasks,
    Waiting,
    Unreadable,
    Moved,
    UpToDate,
}

/// The comparison of the tables.
pub struct Backfill<T> {
    pub tables: T,
    pub rules: Rules,
    /// Whether summaries of other masks take new hashes.
    pub rebases: bool,
}

impl<T: Tables> Backfill<T> {
    /// Compares the records of a page with their summaries.
    pub async fn records(&self, records: &[Record]) -> Result<Counts, StoreError> {
        let mut counts = Counts::default();
        for batch in records.chunks(MAX_BATCH) {
            let services: Vec<_> = batch.iter().map(|record| record.key.clone()).collect();
            let found = self.tables.summaries(&services).await?;
            let found: HashMap<_, _> = found.into_iter().map(|summary| (summary.service.clone(), summary)).collect();
            let compared = batch.iter().map(|record| self.compare(record, found.get(&record.key)));
            counts.add(counted(compared).await?);
        }
        Ok(counts)
    }

    async fn compare(&self, record: &Record, summary: Option<&Summary>) -> Result<Fate, StoreError> {
        match self.comparison(summary, record) {
            Comparison::UpToDate => Ok(Fate::UpToDate),
            Comparison::Missing => {
                let first = repair::first_summary(record, &self.rules.masks);
                Ok(if self.tables.create(&first).await? { Fate::Created } else { Fate::Moved })
            }
            Comparison::OtherMasks if !self.rebases => Ok(Fate::OtherMasks),
            // A page may be older than the summary, so both are read again.
            Comparison::OtherMasks | Comparison::Lacks(_) => self.correct(&record.key).await,
        }
    }

    fn comparison(&self, summary: Option<&Summary>, record: &Record) -> Comparison {
        match compare(summary, record, &self.rules.masks) {
            // So that the next comparison behind these masks is possible.
            Comparison::UpToDate if self.rebases && !summary.is_some_and(|it| has_masks(it, &self.rules.masks)) => {
                Comparison::OtherMasks
            }
            comparison => comparison,
        }
    }

    async fn correct(&self, service: &Key) -> Result<Fate, StoreError> {
        let Some(summary) = self.tables.summary(service).await? else { return Ok(Fate::Moved) };
        let record = match self.tables.record(service).await? {
            Found::Record(record) => record,
            Found::Unreadable => return Ok(Fate::Unreadable),
            Found::Absent => return Ok(Fate::Moved),
        };
        let (correction, fate) = match self.comparison(Some(&summary), &record) {
            Comparison::UpToDate | Comparison::Missing => return Ok(Fate::Moved),
            Comparison::OtherMasks if !self.rebases => return Ok(Fate::OtherMasks),
            Comparison::OtherMasks => (repair::rebase(summary, &record, &self.rules.masks), Fate::Rebased),
            Comparison::Lacks(event) => {
                let now = self.tables.now();
                (repair::change(summary, event, &record, now, &self.rules), Fate::Repaired(event))
            }
        };
        self.apply(&correction, fate).await
    }

    async fn apply(&self, correction: &Correction, fate: Fate) -> Result<Fate, StoreError> {
        if must_wait(correction) {
            return Ok(Fate::Waiting);
        }
        Ok(if self.tables.correct(correction).await? { fate } else { Fate::Moved })
    }

    /// Closes the services of open summaries that have no row.
    pub async fn summaries(&self, summaries: &[Summary]) -> Result<Counts, StoreError> {
        let mut counts = Counts::default();
        for batch in summaries.chunks(MAX_BATCH) {
            let services: Vec<_> = batch.iter().map(|summary| summary.service.clone()).collect();
            let recorded = self.tables.recorded(&services).await?;
            let gone = services.iter().filter(|service| !recorded.contains(service));
            counts.add(counted(gone.map(|service| self.close(service))).await?);
        }
        Ok(counts)
    }

    async fn close(&self, service: &Key) -> Result<Fate, StoreError> {
        let summary = self.tables.summary(service).await?.filter(|summary| summary.is_open);
        let Some(summary) = summary else { return Ok(Fate::Moved) };
        match self.tables.record(service).await? {
            Found::Absent => {}
            Found::Record(_) => return Ok(Fate::Moved),
            Found::Unreadable => return Ok(Fate::Unreadable),
        }
        let correction = repair::close(summary, self.tables.now(), &self.rules);
        self.apply(&correction, Fate::Repaired(Event::Closed)).await
    }
}

async fn counted(
    fates: impl Iterator<Item = impl Future<Output = Result<Fate, StoreError>>>,
) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let mut fates = stream::iter(fates).buffer_unordered(CONCURRENCY);
    while let Some(fate) = fates.try_next().await? {
        let count = match fate {
            Fate::Created => &mut counts.created,
            Fate::Repaired(Event::Opened) => &mut counts.opened,
            Fate::Repaired(Event::Changed) => &mut counts.changed,
            Fate::Repaired(Event::Closed) => &mut counts.closed,
            Fate::Rebased => &mut counts.rebased,
            Fate::OtherMasks => &mut counts.other_masks,
            Fate::Waiting => &mut counts.waiting,
            Fate::Unreadable => &mut counts.unreadable,
            Fate::Moved => &mut counts.moved,
            Fate::UpToDate => &mut counts.up_to_date,
        };
        *count += 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod simulation;
