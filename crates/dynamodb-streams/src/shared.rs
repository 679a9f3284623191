//! What all tasks of a reader use.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::timeout;

use crate::lease::{Checkpoint, LeaseKeys, Owner};
use crate::memory::Budget;
use crate::ports::{
    BoxError, Gap, GapCause, LeaseError, LeaseErrorKind, Observer, Report, StreamError, StreamErrorKind,
};
use crate::settings::Settings;
use crate::shard::ShardId;

pub(crate) struct Shared<S, T, H> {
    pub(crate) stream: S,
    pub(crate) table: T,
    pub(crate) handler: H,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) keys: LeaseKeys,
    pub(crate) me: Owner,
    pub(crate) settings: Settings,
    pub(crate) budget: Budget,
    pub(crate) random: Mutex<StdRng>,
}

impl<S, T, H> Shared<S, T, H> {
    pub(crate) fn report(&self, report: Report<'_>) {
        self.observer.report(&report);
    }

    /// Limits the time of a request. A request without an answer would stop its shard without a report.
    pub(crate) async fn within<A, E: NoAnswer>(&self, request: impl Future<Output = Result<A, E>>) -> Result<A, E> {
        let limit = self.settings.request_timeout;
        timeout(limit, request)
            .await
            .unwrap_or_else(|_| Err(E::no_answer(format!("no answer within {limit:?}").into())))
    }

    /// Limits the time of a write of an owned lease, so that two attempts fit before the lease expires.
    pub(crate) async fn within_lease<A>(
        &self,
        write: impl Future<Output = Result<A, LeaseError>>,
    ) -> Result<A, LeaseError> {
        timeout(self.settings.failover / 4, self.within(write))
            .await
            .unwrap_or_else(|_| Err(LeaseError::no_answer("no answer within a quarter of the failover time".into())))
    }

    /// Notes a gap at the current time.
    #[expect(clippy::disallowed_methods, reason = "the time of a gap is for people, and no decision depends on it")]
    pub(crate) fn gap(&self, shard: &ShardId, after: Checkpoint, cause: GapCause) -> Gap {
        Gap::new(shard.clone(), after, cause, SystemTime::now())
    }

    /// Returns a number from 0 to 1, for jitter.
    pub(crate) fn random(&self) -> f64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// Returns a generator that does not depend on what other tasks draw later.
    pub(crate) fn fork_random(&self) -> StdRng {
        StdRng::seed_from_u64(self.random.lock().unwrap_or_else(PoisonError::into_inner).random())
    }
}

/// An error that can stand for a missing answer.
pub(crate) trait NoAnswer {
    fn no_answer(source: BoxError) -> Self;
}

impl NoAnswer for StreamError {
    fn no_answer(source: BoxError) -> StreamError {
        StreamError::new(StreamErrorKind::Unavailable, source)
    }
}

impl NoAnswer for LeaseError {
    fn no_answer(source: BoxError) -> LeaseError {
        LeaseError::new(LeaseErrorKind::Unavailable, source)
    }
}
