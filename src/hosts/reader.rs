//! Reads pages of records: keys from an index, then their records. Retries a little, because somebody waits.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::calls::Calls;
use super::page::Found;
use super::records::{Error, Keys, Observer, Operation, Record, Records};
use crate::scan::Key;

/// Queries of one request in flight at a time. A network of 256 addresses takes as many queries.
const QUERIES_PER_REQUEST: usize = 16;
/// Keys that a query reads at least if a filter skips some of them. They are small, and each query takes a round trip.
const FILTERED_KEYS: usize = 1000;
/// A request reads at most this many pages of which no record passes its filter.
const MAX_EMPTY_PAGES: usize = 10;

/// The table of records for readers. All its users share one limit of calls in flight.
#[derive(Clone)]
pub struct Hosts<R> {
    pub(super) records: Arc<R>,
    pub(super) calls: Calls,
}

/// Which records of an address to return.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub port: Option<u16>,
    pub service: Option<String>,
    /// Only records with at least this timestamp. Their number is unknown before they are read, so a page may be short.
    pub since: Option<u64>,
}

impl Filter {
    fn accepts(&self, key: &Key) -> bool {
        self.service.as_deref().is_none_or(|service| service == key.service())
    }
}

/// Which records to return, and from which index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The records of these addresses, which differ from each other, in this order.
    Addresses(Vec<IpAddr>, Filter),
    /// The records with this port and service, from the opt-in index.
    Service { port: u16, service: String, since: Option<u64> },
}

impl Query {
    fn since(&self) -> Option<u64> {
        match self {
            Query::Addresses(_, filter) => filter.since,
            Query::Service { since, .. } => *since,
        }
    }
}

/// A part of an index that one query reads, page by page.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Address(IpAddr, &'a Filter),
    Service(u16, &'a str),
}

impl Part<'_> {
    fn accepts(self, key: &Key) -> bool {
        match self {
            Part::Address(_, filter) => filter.accepts(key),
            Part::Service(..) => true,
        }
    }
}

/// Records or keys in the order of their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The position after this page. `None` if it is the last one.
    pub next: Option<Key>,
}

impl<R: Records> Hosts<R> {
    pub fn new(records: R, observer: Arc<dyn Observer>) -> Hosts<R> {
        Hosts { records: Arc::new(records), calls: Calls::new(observer) }
    }

    /// Returns the limit of calls in flight and the observer, for readers of other tables.
    pub fn calls(&self) -> Calls {
        self.calls.clone()
    }

    /// Returns one record.
    pub async fn record(&self, key: &Key) -> Result<Option<Record>, Error> {
        self.calls.read(Operation::GetItem, || self.records.get_one(key)).await
    }

    /// Returns the keys after a position, without reading a record. `since` therefore has no effect.
    pub async fn keys(&self, query: &Query, after: Option<&Key>, size: usize) -> Result<Page<Key>, Error> {
        let keys = match query {
            Query::Addresses(ips, filter) => self.keys_of_all(ips, filter, after, size + 1).await?,
            Query::Service { port, service, .. } => {
                self.keys_of(Part::Service(*port, service), after, size + 1).await?
            }
        };
        // One key more than the page has shows whether it is the last page.
        Ok(first(keys, size))
    }

    /// Returns the records after a position. Reads pages until one has a record that is new enough, the last one is read, or
    /// the request has read enough.
    pub async fn records(&self, query: &Query, after: Option<&Key>, size: usize) -> Result<Page<Record>, Error> {
        let mut after = after.cloned();
        let mut pages = 0;
        loop {
            let keys = self.keys(query, after.as_ref(), size).await?;
            let (mut items, cut) = self.records_with(&keys.items).await?;
            items.retain(|record| query.since().is_none_or(|since| record.timestamp >= since));
            let next = cut.or(keys.next);
            pages += 1;
            if !items.is_empty() || next.is_none() || pages == MAX_EMPTY_PAGES {
                return Ok(Page { items, next });
            }
            after = next;
        }
    }

    /// Returns the keys of these addresses after a position, at least `limit` if there are that many.
    async fn keys_of_all(
        &self,
        ips: &[IpAddr],
        filter: &Filter,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Key>, Error> {
        let from = after.and_then(|after| ips.iter().position(|ip| ip.to_string() == after.ip()));
        // Owned, because the compiler cannot prove that a stream over borrowed addresses may be sent to another thread.
        let ips = Vec::from(&ips[from.unwrap_or(0)..]);
        let queries = ips.into_iter().map(|ip| {
            let after = after.filter(|after| after.ip() == ip.to_string());
            self.keys_of(Part::Address(ip, filter), after, limit)
        });
        let mut queries = stream::iter(queries).buffered(QUERIES_PER_REQUEST);
        let mut keys = Vec::new();
        while keys.len() < limit
            && let Some(found) = queries.next().await
        {
            keys.extend(found?);
        }
        Ok(keys)
    }

    /// Returns the keys of a part of an index that pass its filter, at least `limit` if there are that many.
    async fn keys_of(&self, part: Part<'_>, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, Error> {
        let mut accepted = Vec::new();
        let mut after = after.cloned();
        loop {
            let Keys { keys, has_more } = match part {
                Part::Address(ip, filter) => {
                    let page = if filter.service.is_some() { limit.max(FILTERED_KEYS) } else { limit };
                    let query = || self.records.by_ip(ip, filter.port, after.as_ref(), page);
                    self.calls.read(Operation::Query, query).await?
                }
                Part::Service(port, service) => {
                    let query = || self.records.by_service(port, service, after.as_ref(), limit);
                    self.calls.read(Operation::Query, query).await?
                }
            };
            after = keys.last().cloned();
            accepted.extend(keys.into_iter().filter(|key| part.accepts(key)));
            if !has_more || after.is_none() || accepted.len() >= limit {
                return Ok(accepted);
            }
        }
    }

    /// Returns the records of these keys in their order, and the last key that was read if the rest does not fit in a page.
    async fn records_with(&self, keys: &[Key]) -> Result<(Vec<Record>, Option<Key>), Error> {
        let mut found = Found::of(keys);
        for attempts in 1.. {
            let asked = found.unprocessed();
            if asked.is_empty() {
                break;
            }
            let batch = self.calls.read(Operation::BatchGetItem, || self.records.get(&asked)).await?;
            found.add(batch.records, &batch.unprocessed);
            if found.is_enough() {
                break;
            }
            self.calls.wait_for_unprocessed(attempts, found.unprocessed().len()).await?;
        }
        Ok(found.cut())
    }
}

/// Returns the first `size` keys, and the position after them if there are more.
fn first(mut keys: Vec<Key>, size: usize) -> Page<Key> {
    let has_more = keys.len() > size;
    keys.truncate(size);
    let next = keys.last().filter(|_| has_more).cloned();
    Page { items: keys, next }
}
