//! A store whose calls are measured.

use std::sync::Arc;

use dynamodb::StoreError;
use tokio::time::Instant;
use uuid::Uuid;

use super::ApiMetrics;
use crate::ports::{Commit, Page, Store};
use crate::transaction::Transaction;
use crate::widget::{Serial, Widget};

/// Counts and times every call of a store. A call that the registry gives up for its timeout is counted as one.
#[derive(Debug)]
pub struct TimedStore<S> {
    store: S,
    metrics: Arc<ApiMetrics>,
}

impl<S: Store> TimedStore<S> {
    pub fn new(store: S, metrics: Arc<ApiMetrics>) -> TimedStore<S> {
        TimedStore { store, metrics }
    }

    async fn timed<T>(
        &self,
        call: &'static str,
        result: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let mut timed = Timed { metrics: &self.metrics, call, began: Instant::now(), error: Some(ABANDONED) };
        let result = result.await;
        timed.error = result.as_ref().err().map(|error| error.kind.name());
        result
    }
}

const ABANDONED: &str = "Abandoned";

/// A call that is counted when it has ended, also by its timeout.
struct Timed<'a> {
    metrics: &'a ApiMetrics,
    call: &'static str,
    began: Instant,
    error: Option<&'static str>,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.metrics.called(self.call, self.error, self.began.elapsed());
    }
}

impl<S: Store> Store for TimedStore<S> {
    async fn get(&self, serial: &Serial) -> Result<Option<Widget>, StoreError> {
        self.timed("GetItem", self.store.get(serial)).await
    }

    async fn get_two(&self, serials: [&Serial; 2]) -> Result<[Option<Widget>; 2], StoreError> {
        self.timed("GetItem", self.store.get_two(serials)).await
    }

    async fn snapshot(&self, serials: &[Serial]) -> Result<Vec<Option<Widget>>, StoreError> {
        self.timed("TransactGetItems", self.store.snapshot(serials)).await
    }

    async fn commit(&self, transaction: &Transaction, token: Uuid) -> Result<Commit, StoreError> {
        self.timed("TransactWriteItems", self.store.commit(transaction, token)).await
    }

    async fn page(&self, after: Option<&Serial>, limit: u16) -> Result<Page, StoreError> {
        self.timed("Scan", self.store.page(after, limit)).await
    }
}
