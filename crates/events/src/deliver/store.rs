//! The deliveries that wait, and the dead-letter queue of those that are given up, as the engine's store.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use delivery_table::{WaitingDeliveries, to_engine};
use dynamodb::StoreError;
use tokio::time::{Instant, sleep, timeout};
use webhooks::{
    Changed, DeadReason, Delivery, DeliveryStore, DueDelivery, EndpointId, StoreError as EngineError, StoredDelivery,
    Token,
};

use super::dead::DeadLetter;
use super::{Condition, DeadLetterQueue, Handled, Observer, Watch};
use crate::key::parse_endpoint;
use crate::routes::{Directory, Found};

/// Below the limit of the engine, which gives up a request without its error.
const CALL_TIMEOUT: Duration = Duration::from_millis(2_800);
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The store of deliveries. Clones share it.
#[derive(Clone)]
pub struct Deliveries {
    waiting: WaitingDeliveries,
    dead: DeadLetterQueue,
    directory: Directory,
    observer: Arc<dyn Observer>,
    watch: Arc<Watch>,
}

impl Deliveries {
    pub fn new(
        waiting: WaitingDeliveries,
        dead: DeadLetterQueue,
        directory: Directory,
        observer: Arc<dyn Observer>,
        watch: Arc<Watch>,
    ) -> Deliveries {
        Deliveries { waiting, dead, directory, observer, watch }
    }

    /// Makes a delivery wait, due now, unless it waits already.
    pub(super) async fn store(&self, delivery: Delivery) -> Result<(), StoreError> {
        self.call(self.waiting.insert(&self.waiting.new_due(delivery))).await
    }

    /// Sends a dead letter. Tries again for about this time.
    pub(super) async fn send(&self, letter: &DeadLetter, reason: &str, within: Duration) -> Result<(), String> {
        let end = Instant::now() + within;
        loop {
            match self.send_once(letter, reason).await {
                Err(_) if Instant::now() + RETRY_INTERVAL < end => sleep(RETRY_INTERVAL).await,
                result => return result,
            }
        }
    }

    async fn send_once(&self, letter: &DeadLetter, reason: &str) -> Result<(), String> {
        let sent = self.dead.send(letter).await;
        self.watch.called(Condition::DeadLetterQueue, sent.as_ref().err().map(|error| ("Unavailable", error)));
        if sent.is_ok() {
            self.observer.dead(reason);
        }
        sent
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let result = timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(StoreError::no_answer(CALL_TIMEOUT)));
        self.watch.called_table(Condition::Deliveries, result.as_ref().err());
        result
    }

    async fn engine_call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, EngineError> {
        self.call(Box::pin(call)).await.map_err(to_engine)
    }

    /// Returns why a delivery is dead. One that was stored because its client had no route is missing its target.
    async fn reason(&self, item: &StoredDelivery, reason: DeadReason) -> Result<&'static str, StoreError> {
        if reason == DeadReason::Missing
            && let Some((client_id, _)) = parse_endpoint(&item.delivery.endpoint)
            && self.directory.find(&client_id).await? == Found::Missing
        {
            return Ok(Handled::NoRoute.name());
        }
        Ok(reason.as_str())
    }
}

impl DeliveryStore for Deliveries {
    async fn insert(&self, item: &StoredDelivery) -> Result<(), EngineError> {
        self.engine_call(self.waiting.insert(item)).await
    }

    async fn endpoints_with_backlog(&self) -> Result<Vec<EndpointId>, EngineError> {
        self.engine_call(self.waiting.endpoints_with_backlog()).await
    }

    async fn due(&self, endpoint: &EndpointId, now: SystemTime, limit: usize) -> Result<Vec<DueDelivery>, EngineError> {
        self.engine_call(self.waiting.due(endpoint, now, limit)).await
    }

    async fn claim(
        &self,
        endpoint: &EndpointId,
        due: &DueDelivery,
        token: Token,
        until: SystemTime,
    ) -> Result<Option<StoredDelivery>, EngineError> {
        self.engine_call(self.waiting.claim(endpoint, due, token, until)).await
    }

    async fn reschedule(&self, item: &StoredDelivery) -> Result<Changed, EngineError> {
        self.engine_call(self.waiting.reschedule(item)).await
    }

    async fn delete(&self, item: &StoredDelivery) -> Result<Changed, EngineError> {
        self.engine_call(self.waiting.delete(item)).await
    }

    /// Sends the dead letter first. After a crash between both, it is sent again.
    async fn store_dead(&self, item: &StoredDelivery, reason: DeadReason) -> Result<(), EngineError> {
        let reason = self.reason(item, reason).await.map_err(to_engine)?;
        let sent = self.send_once(&DeadLetter::of_delivery(item, reason), reason).await;
        sent.map_err(|error| EngineError(error.into()))?;
        self.engine_call(self.waiting.delete(item)).await.map(|_| ())
    }
}
