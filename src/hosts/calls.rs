//! The calls of all readers: one limit of calls in flight, a few attempts, and reports to the observer.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use super::records::{Error, Observer, Operation, Read};
use super::retry::{ATTEMPT_TIMEOUT, MAX_ATTEMPTS, MAX_BATCH_ATTEMPTS, backoff, is_transient};
use crate::consumer::ports::StoreError;
use crate::hosts::ErrorKind;

/// Calls of all requests in flight at a time. Each takes a connection.
const CALLS_IN_FLIGHT: usize = 128;

/// Makes calls. All clones share one limit.
#[derive(Clone)]
pub struct Calls {
    observer: Arc<dyn Observer>,
    permits: Arc<Semaphore>,
}

impl Calls {
    pub fn new(observer: Arc<dyn Observer>) -> Calls {
        Calls { observer, permits: Arc::new(Semaphore::new(CALLS_IN_FLIGHT)) }
    }

    /// Makes a call that reads, and repeats it a few times after a transient error.
    pub async fn read<T, F>(&self, operation: Operation, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Read<T>, Error>>,
    {
        let Read { value, units } = self.call(operation, attempt).await?;
        self.observer.read_units(units);
        Ok(value)
    }

    async fn call<T, F>(&self, operation: Operation, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        for attempts in 1.. {
            match self.attempt(operation, attempt()).await {
                Err(error) if attempts < MAX_ATTEMPTS && is_transient(error.kind) => sleep(backoff(attempts)).await,
                result => return result,
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Makes one attempt, and reports how it ended.
    pub(super) async fn attempt<T, E>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        E: From<StoreError> + Clone,
        Error: From<E>,
    {
        let permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let span = self.observer.calling(operation);
        let began = Instant::now();
        // The SDK's future is large. In a box, it takes no memory while it waits for a permit.
        let result = timeout(ATTEMPT_TIMEOUT, Box::pin(call.instrument(span.clone()))).await;
        let result = result.unwrap_or_else(|_| Err(StoreError::no_answer(ATTEMPT_TIMEOUT).into()));
        drop(permit);
        let failure = result.as_ref().err().map(|error| Error::from(error.clone()));
        self.observer.called(&span, operation, began.elapsed(), failure.as_ref());
        result
    }

    /// Waits after this many batches that left some of their keys unprocessed. Fails after the last one.
    pub async fn wait_for_unprocessed(&self, attempts: u32, left: usize) -> Result<(), Error> {
        self.observer.unprocessed();
        if attempts == MAX_BATCH_ATTEMPTS {
            let detail = format!("{left} keys of a BatchGetItem are unprocessed after {attempts} attempts");
            return Err(Error { kind: ErrorKind::Throttled, detail });
        }
        sleep(backoff(attempts)).await;
        Ok(())
    }
}
