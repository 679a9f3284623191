//! What the history needs from outside, with the contract of each call.

use std::future::Future;

use super::EntryKey;
use super::entry::{Entry, Event};
use super::summary::{Hashes, Position, Summary};
use crate::consumer::ports::StoreError;
use crate::scan::Key;

/// What a record of the stream changes in the summary of its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub service: Key,
    pub position: Position,
    pub event: Event,
    /// The time of the entry.
    pub time: u64,
    pub created: u64,
    /// The timestamp of the scan that the service was seen by: of the new record, or of the old one.
    pub seen_at: u64,
    /// Of the new response, with the id of the masks.
    pub hashes: Option<(Hashes, String)>,
}

/// The answer to an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updated {
    /// The summary after the update.
    Applied(Summary),
    /// The summary has this update, or a later one.
    Refused(Summary),
}

/// The table of the history. No call retries, and each may be applied although it returns an error.
pub trait History: Send + Sync + 'static {
    /// Updates a summary if its last change is before this one. Counts the change.
    fn update(&self, update: &Update) -> impl Future<Output = Result<Updated, StoreError>> + Send;

    /// Lowers the time of the first scan, if it is later than this.
    fn lower_first_seen(&self, service: &Key, time: u64) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores an entry unless it exists. Leaves out what does not fit an item.
    fn put(&self, entry: &Entry) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes an entry if it exists.
    fn delete(&self, key: &EntryKey) -> impl Future<Output = Result<(), StoreError>> + Send;
}
