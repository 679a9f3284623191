//! Stores and forgets single records, by the rules of the consumer.

use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use super::reader::Hosts;
use super::records::{Deletion, Error, ErrorKind, Operation, Records};
use super::retry::{MAX_ATTEMPTS, backoff, is_transient};
use crate::consumer::policy::expired_when_published;
use crate::consumer::ports::{Answer, Record, StoreError, StoreErrorKind};
use crate::scan::{Key, Reason, Rejection, Scan, decode};

/// The settings of the consumer that decide what becomes of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteSettings {
    pub max_future_skew: Duration,
    pub ttl: Option<Duration>,
}

/// What became of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Stored(Key),
    /// The record is up to date already.
    Stale(Key),
    /// The scan was past its time to live when it arrived.
    Expired(Key),
    Rejected(Rejection),
}

impl<R: Records> Hosts<R> {
    /// Decodes a scan that arrived at `now`, and stores it unless the record is newer.
    pub async fn store(&self, payload: &[u8], now: SystemTime, settings: &WriteSettings) -> Result<Outcome, Error> {
        let scan = match decode(payload, now, settings.max_future_skew) {
            Ok(scan) => scan,
            Err(rejection) => return Ok(Outcome::Rejected(rejection)),
        };
        if settings.ttl.is_some_and(|ttl| expired_when_published(&scan, ttl, now)) {
            return Ok(Outcome::Expired(scan.key));
        }
        if let Err(rejection) = self.records.measure(&scan) {
            return Ok(Outcome::Rejected(rejection));
        }
        match self.put(&scan).await {
            Ok(Answer::Stored) => Ok(Outcome::Stored(scan.key)),
            Ok(Answer::Stale(_)) => Ok(Outcome::Stale(scan.key)),
            Err(StoreError { kind: StoreErrorKind::ForeignRow, detail }) => {
                Ok(Outcome::Rejected(Rejection::new(Reason::RefusedByStore, detail)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes the record if it still has this timestamp.
    pub async fn forget(&self, key: &Key, timestamp: u64) -> Result<Deletion, Error> {
        let mut is_unanswered = false;
        for attempts in 1.. {
            match self.calls.attempt(Operation::DeleteItem, self.records.delete(key, timestamp)).await {
                // The unanswered attempt deleted it.
                Ok(Deletion::Missing) if is_unanswered => return Ok(Deletion::Deleted),
                Err(error) if attempts < MAX_ATTEMPTS && is_transient(error.kind) => {
                    is_unanswered |= error.kind == ErrorKind::Unavailable;
                    sleep(backoff(attempts)).await;
                }
                result => return result,
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn put(&self, scan: &Scan) -> Result<Answer, StoreError> {
        let mut is_unanswered = false;
        for attempts in 1.. {
            match self.calls.attempt(Operation::PutItem, self.records.put(scan)).await {
                // An equal record shows that the unanswered attempt was written.
                Ok(Answer::Stale(Record { is_same: true, .. })) if is_unanswered => return Ok(Answer::Stored),
                Err(error) if attempts < MAX_ATTEMPTS && is_transient(Error::from(error.clone()).kind) => {
                    is_unanswered |= error.kind == StoreErrorKind::Unavailable;
                    sleep(backoff(attempts)).await;
                }
                attempt => return attempt,
            }
        }
        unreachable!("the last attempt returns")
    }
}
