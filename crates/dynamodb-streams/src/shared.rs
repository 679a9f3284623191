//! What all tasks of a reader use.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep_until, timeout};

use crate::lease::{Checkpoint, LeaseKeys, Owner};
use crate::memory::Budget;
use crate::ports::{
    BoxError, Gap, GapCause, LeaseError, LeaseErrorKind, Observer, Report, StreamError, StreamErrorKind,
};
use crate::settings::Settings;
use crate::shard::ShardId;

/// The time between two descriptions of the stream. DynamoDB allows ten per second for the account.
const DESCRIPTION_INTERVAL: Duration = Duration::from_millis(150);

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
    pub(crate) clock: Clock,
    pub(crate) listed: Mutex<Arc<Listed>>,
    /// When a read of this instance succeeded last.
    pub(crate) last_read: Mutex<Option<Instant>>,
    /// When the stream may be described next.
    pub(crate) next_description: tokio::sync::Mutex<Option<Instant>>,
}

/// The clock of this instance, for times that are compared with those of the stream.
pub(crate) type Clock = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// The last complete listing.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) shards: BTreeSet<ShardId>,
    /// The number of complete listings.
    pub(crate) listings: u64,
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
    pub(crate) fn gap(&self, shard: &ShardId, after: Checkpoint, cause: GapCause) -> Gap {
        Gap::new(shard.clone(), after, cause, (self.clock)())
    }

    pub(crate) fn listed(&self) -> Arc<Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note_read(&self, now: Instant) {
        *self.last_read.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Returns whether a read of this instance succeeded within this time.
    pub(crate) fn has_read_within(&self, time: Duration) -> bool {
        self.last_read.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|read| read.elapsed() < time)
    }

    /// Waits until the stream may be described, because the account limits descriptions.
    pub(crate) async fn description_permit(&self) {
        let mut next = self.next_description.lock().await;
        if let Some(next) = *next {
            sleep_until(next).await;
        }
        *next = Some(Instant::now() + DESCRIPTION_INTERVAL);
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
