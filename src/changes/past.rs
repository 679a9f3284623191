//! The history for readers: the summaries of services, and the entries of an address. Retries a little, because somebody
//! waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::entry::Entry;
use super::summary::Summary;
use crate::hosts::{Calls, Error, Operation, Read};
use crate::scan::Key;

/// Summaries of services. A service that is neither found nor unprocessed has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summaries {
    pub summaries: Vec<Summary>,
    /// Services that the table did not look up, because it is throttled.
    pub unprocessed: Vec<Key>,
}

/// The entries of an address to read.
#[derive(Debug, Clone, Copy)]
pub struct EntryQuery<'a> {
    pub ip: IpAddr,
    /// Entries from this time on, in Unix seconds.
    pub start: u64,
    /// Entries before this time.
    pub end: u64,
    pub newest_first: bool,
    /// Whether entries have their bodies.
    pub with_bodies: bool,
    /// The entries after this sort key, in the order of the query.
    pub after: Option<&'a str>,
    pub limit: usize,
}

/// A page of entries. It may have fewer entries than the limit although entries follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    pub entries: Vec<Entry>,
    /// The sort key after which the next page begins. `None` at the end.
    pub next: Option<String>,
}

/// The history for readers. No call retries.
pub trait Past: Send + Sync + 'static {
    /// Returns the summaries of at most 100 services, in any order.
    fn summaries<'a>(&'a self, services: &'a [Key]) -> BoxFuture<'a, Result<Read<Summaries>, Error>>;

    /// Returns a page of the entries of an address.
    fn entries<'a>(&'a self, query: &'a EntryQuery<'a>) -> BoxFuture<'a, Result<Read<Entries>, Error>>;
}

/// Reads the history. Its calls count towards the limit of the records' readers.
#[derive(Clone)]
pub struct PastReader {
    past: Arc<dyn Past>,
    calls: Calls,
}

impl PastReader {
    pub fn new(past: impl Past, calls: Calls) -> PastReader {
        PastReader { past: Arc::new(past), calls }
    }

    /// Returns the summaries of at most 100 services. A service without a summary is left out.
    pub async fn summaries(&self, services: &[Key]) -> Result<HashMap<Key, Summary>, Error> {
        let (mut found, mut left) = (HashMap::with_capacity(services.len()), services.to_vec());
        for attempts in 1.. {
            if left.is_empty() {
                break;
            }
            let answer = self.calls.read(Operation::BatchGetItem, || self.past.summaries(&left)).await?;
            found.extend(answer.summaries.into_iter().map(|summary| (summary.service.clone(), summary)));
            left.retain(|service| answer.unprocessed.contains(service));
            if !left.is_empty() {
                self.calls.wait_for_unprocessed(attempts, left.len()).await?;
            }
        }
        Ok(found)
    }

    /// Returns a page of the entries of an address.
    pub async fn entries(&self, query: &EntryQuery<'_>) -> Result<Entries, Error> {
        self.calls.read(Operation::Query, || self.past.entries(query)).await
    }
}
