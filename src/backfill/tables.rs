//! The two tables, with retries and with the capacity units that they take.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use crate::changes::backfill::{Found, Tables};
use crate::changes::{Correction, Summary};
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::dynamo::{HistoryTable, HostTable};
use crate::export::Pacer;
use crate::hosts::{Error, ErrorKind};
use crate::scan::{Key, to_unix_seconds};

/// DynamoDB returns the rest of a batch unprocessed if it is too large or throttled.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);

pub(super) struct BothTables {
    pub(super) scans: HostTable,
    pub(super) history: HistoryTable,
    pub(super) pacer: Pacer,
    units: Cell<f64>,
}

impl BothTables {
    pub(super) fn new(scans: HostTable, history: HistoryTable, pacer: Pacer) -> BothTables {
        BothTables { scans, history, pacer, units: Cell::new(0.0) }
    }

    /// Returns the units of all calls since the last time.
    pub(super) fn take_units(&self) -> f64 {
        self.units.take()
    }

    fn count(&self, units: f64) {
        self.units.set(self.units.get() + units);
    }

    async fn summaries_of(&self, services: &[Key], consistent: bool) -> Result<Vec<Summary>, StoreError> {
        let (mut found, mut left) = (Vec::new(), services.to_vec());
        loop {
            let request = async || self.history.summaries(&left, consistent).await.map_err(store_error);
            let read = Box::pin(self.pacer.repeat(request)).await?;
            self.count(read.units);
            found.extend(read.value.summaries);
            left = read.value.unprocessed;
            if left.is_empty() {
                return Ok(found);
            }
            sleep(BATCH_INTERVAL).await;
        }
    }
}

impl Tables for BothTables {
    async fn summaries(&self, services: &[Key]) -> Result<Vec<Summary>, StoreError> {
        self.summaries_of(services, false).await
    }

    async fn summary(&self, service: &Key) -> Result<Option<Summary>, StoreError> {
        Ok(self.summaries_of(std::slice::from_ref(service), true).await?.pop())
    }

    async fn recorded(&self, services: &[Key]) -> Result<Vec<Key>, StoreError> {
        let (mut found, mut left) = (Vec::new(), services.to_vec());
        loop {
            let request = async || self.scans.rows(&left).await.map_err(store_error);
            let read = Box::pin(self.pacer.repeat(request)).await?;
            self.count(read.units);
            let (keys, unprocessed) = read.value;
            found.extend(keys);
            left = unprocessed;
            if left.is_empty() {
                return Ok(found);
            }
            sleep(BATCH_INTERVAL).await;
        }
    }

    async fn record(&self, service: &Key) -> Result<Found, StoreError> {
        let read = Box::pin(self.pacer.repeat(async || self.scans.get_consistent(service).await)).await?;
        self.count(read.units);
        Ok(read.value)
    }

    async fn create(&self, summary: &Summary) -> Result<bool, StoreError> {
        // Also if it is refused.
        self.count(1.0);
        Box::pin(self.pacer.repeat(async || self.history.create_summary(summary).await)).await
    }

    async fn correct(&self, correction: &Correction) -> Result<bool, StoreError> {
        // A transaction costs twice the summary and the entry, which has up to 1 KB besides the response.
        let entry = correction.repair.as_ref().map(|(_, entry)| entry.response_size.unwrap_or_default());
        #[expect(clippy::cast_precision_loss, reason = "a response is far smaller than 2^52 bytes")]
        let units = entry.map_or(2.0, |bytes| 2.0 * (2.0 + (bytes as f64 / 1024.0).ceil()));
        self.count(units);
        Box::pin(self.pacer.repeat(async || self.history.correct(correction).await)).await
    }

    #[expect(clippy::disallowed_methods, reason = "the time of a repair is that of the read that found it")]
    fn now(&self) -> u64 {
        to_unix_seconds(SystemTime::now())
    }
}

fn store_error(error: Error) -> StoreError {
    let kind = match error.kind {
        ErrorKind::Throttled => StoreErrorKind::Throttled,
        ErrorKind::Unavailable => StoreErrorKind::Unavailable,
        ErrorKind::NotAuthorized => StoreErrorKind::Permission,
        ErrorKind::MissingTable => StoreErrorKind::MissingTable,
        ErrorKind::MissingIndex(_) | ErrorKind::UnfinishedIndex(_) | ErrorKind::Refused => StoreErrorKind::Refused,
    };
    StoreError { kind, detail: error.detail }
}
