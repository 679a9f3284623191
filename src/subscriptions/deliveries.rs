//! A store of deliveries whose failures make this instance unready.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;
use webhooks::{
    Changed, DeadReason, DeliveryStore, DueDelivery, EndpointId, StoreError as Failed, StoredDelivery, Token,
};

use crate::changes::Watch;
use crate::consumer::ports::{StoreError, StoreErrorKind};

/// Below the limit of the engine, which gives up a request without its error.
const CALL_TIMEOUT: Duration = Duration::from_millis(2_800);

/// Notes whether a store answers.
pub struct WatchedDeliveries<D> {
    store: D,
    watch: Arc<Watch>,
}

impl<D> WatchedDeliveries<D> {
    pub fn new(store: D, watch: Arc<Watch>) -> WatchedDeliveries<D> {
        WatchedDeliveries { store, watch }
    }

    async fn watched<T>(&self, call: impl Future<Output = Result<T, Failed>> + Send) -> Result<T, Failed> {
        let Ok(result) = timeout(CALL_TIMEOUT, call).await else {
            let error = StoreError { kind: StoreErrorKind::Unavailable, detail: "no answer within 3 s".to_owned() };
            self.watch.called_deliveries(Some(&error));
            return Err(Failed(error.into()));
        };
        match &result {
            Ok(_) => self.watch.called_deliveries(None),
            Err(Failed(error)) => match error.downcast_ref::<StoreError>() {
                Some(error) => self.watch.called_deliveries(Some(error)),
                None => {
                    let error = StoreError { kind: StoreErrorKind::Unavailable, detail: error.to_string() };
                    self.watch.called_deliveries(Some(&error));
                }
            },
        }
        result
    }
}

impl<D: DeliveryStore> DeliveryStore for WatchedDeliveries<D> {
    async fn insert(&self, item: &StoredDelivery) -> Result<(), Failed> {
        self.watched(self.store.insert(item)).await
    }

    async fn endpoints_with_backlog(&self) -> Result<Vec<EndpointId>, Failed> {
        self.watched(self.store.endpoints_with_backlog()).await
    }

    async fn due(&self, endpoint: &EndpointId, now: SystemTime, limit: usize) -> Result<Vec<DueDelivery>, Failed> {
        self.watched(self.store.due(endpoint, now, limit)).await
    }

    async fn claim(
        &self,
        endpoint: &EndpointId,
        due: &DueDelivery,
        token: Token,
        until: SystemTime,
    ) -> Result<Option<StoredDelivery>, Failed> {
        self.watched(self.store.claim(endpoint, due, token, until)).await
    }

    async fn reschedule(&self, item: &StoredDelivery) -> Result<Changed, Failed> {
        self.watched(self.store.reschedule(item)).await
    }

    async fn delete(&self, item: &StoredDelivery) -> Result<Changed, Failed> {
        self.watched(self.store.delete(item)).await
    }

    async fn store_dead(&self, item: &StoredDelivery, reason: DeadReason) -> Result<(), Failed> {
        self.watched(self.store.store_dead(item, reason)).await
    }
}
