//! What the engine needs from its program: stores, a clock and an observer.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::delivery::{DeadReason, LastAttempt, StoredDelivery, Token};
use crate::ids::{EndpointId, WebhookId};
use crate::origin::Origin;
use crate::secret::Secret;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request to a store that failed, or that has no answer. It is unknown whether the store applied it.
#[derive(Debug, thiserror::Error)]
#[error("the store did not answer: {0}")]
pub struct StoreError(#[source] pub BoxError);

/// Whether a conditional change was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Applied,
    /// The item is gone, or another instance claimed it.
    Refused,
}

impl Changed {
    /// Returns `Applied` if it is true.
    pub fn of(is_applied: bool) -> Changed {
        if is_applied { Changed::Applied } else { Changed::Refused }
    }
}

/// A delivery that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDelivery {
    pub id: WebhookId,
    pub token: Token,
}

/// The deliveries that wait for an attempt. Each method makes its change durable before it returns `Ok`, and the engine
/// repeats failed ones.
pub trait DeliveryStore: Send + Sync + 'static {
    /// Writes a delivery if none with its endpoint and id waits. One that waits stays, and is also `Ok`: an event that is
    /// replayed is not stored twice. A dead delivery stays dead, and the new one waits beside it.
    fn insert(&self, item: &StoredDelivery) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the endpoints with deliveries that are due or claimed. It may return others. An endpoint may be missing for
    /// seconds after an insert, but not for ever.
    fn endpoints_with_backlog(&self) -> impl Future<Output = Result<Vec<EndpointId>, StoreError>> + Send;

    /// Returns deliveries of an endpoint that are due, the longest due ones first. Some may be missing for seconds.
    fn due(
        &self,
        endpoint: &EndpointId,
        now: SystemTime,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DueDelivery>, StoreError>> + Send;

    /// Sets the token and the due time of a delivery, if its token is that of `due`. Returns None if it is not. It may also
    /// return None if the delivery is not due any more, because `due` may be late.
    fn claim(
        &self,
        endpoint: &EndpointId,
        due: &DueDelivery,
        token: Token,
        until: SystemTime,
    ) -> impl Future<Output = Result<Option<StoredDelivery>, StoreError>> + Send;

    /// Stores the attempts, the due time and the last attempt of a delivery, if its token is unchanged.
    fn reschedule(&self, item: &StoredDelivery) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Deletes a delivery that succeeded, if its token is unchanged.
    fn delete(&self, item: &StoredDelivery) -> impl Future<Output = Result<Changed, StoreError>> + Send;

    /// Stores a dead delivery, and removes it from those that wait if its token is unchanged. It may never have waited. If
    /// these are two writes, the dead delivery is the first. After a crash between them, it is stored again. One of a missing
    /// endpoint may be removed only: nobody can look at it.
    fn store_dead(
        &self,
        item: &StoredDelivery,
        reason: DeadReason,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// An endpoint as its owner configured it. `Debug` hides its URL, because URLs may contain secrets.
#[derive(Clone)]
pub struct Endpoint {
    pub id: EndpointId,
    pub url: String,
    /// The newest secret is the first. During a rotation there are two. Without one, nothing is sent, unless the settings allow
    /// it.
    pub secrets: Vec<Secret>,
    pub status: EndpointStatus,
    /// How many attempts may run at the same time, on each instance. A change applies after a second without deliveries.
    pub max_concurrency: usize,
    /// How many attempts may start per second, on each instance.
    pub max_per_second: Option<f64>,
    /// Since when there have been only failures, if a circuit breaker opened since the last success.
    pub failing_since: Option<SystemTime>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Endpoint").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointStatus {
    Active,
    /// Deliveries are stored until the endpoint is active again.
    Paused,
    /// Deliveries are dead.
    Disabled,
}

/// Why the engine disables an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisabledReason {
    /// It answered with status 410.
    Gone,
    /// All attempts failed for days.
    Failing,
}

impl DisabledReason {
    /// Returns the reason in words that complete "it is disabled, because".
    pub fn why(self) -> &'static str {
        match self {
            DisabledReason::Gone => "it answered with status 410",
            DisabledReason::Failing => "all its attempts failed for five days",
        }
    }
}

/// The endpoints.
pub trait EndpointStore: Send + Sync + 'static {
    /// Returns an endpoint. It is asked for before each attempt, so it should be a cache. A change should be seen within
    /// seconds.
    fn get(&self, id: &EndpointId) -> impl Future<Output = Result<Option<Endpoint>, StoreError>> + Send;

    /// Stores since when an endpoint has been failing, unless a time is stored.
    fn mark_failing(&self, id: &EndpointId, since: SystemTime) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the time of [`EndpointStore::mark_failing`].
    fn clear_failing(&self, id: &EndpointId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Disables an active endpoint, if it still has been failing since the given time.
    fn disable(
        &self,
        id: &EndpointId,
        reason: DisabledReason,
        failing_since: Option<SystemTime>,
    ) -> impl Future<Output = Result<Changed, StoreError>> + Send;
}

/// The time of day, for timestamps and due times. Decisions within an instance use the monotonic clock.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> SystemTime;
}

/// The clock of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        #[expect(clippy::disallowed_methods, reason = "receivers compare the signed time with theirs")]
        SystemTime::now()
    }
}

/// Why a delivery was stored without a finished attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deferred {
    /// There was no result in time.
    Late,
    Paused,
    CircuitOpen,
    /// All attempts of the endpoint have been running for long.
    Stalled,
    /// The queue of the endpoint is full.
    QueueFull,
    /// The memory of all queues is full, or too many attempts run.
    Overloaded,
}

impl Deferred {
    pub const ALL: [Deferred; 6] = [
        Deferred::Late,
        Deferred::Paused,
        Deferred::CircuitOpen,
        Deferred::Stalled,
        Deferred::QueueFull,
        Deferred::Overloaded,
    ];

    /// Returns its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Deferred::Late => "late",
            Deferred::Paused => "paused",
            Deferred::CircuitOpen => "circuit_open",
            Deferred::Stalled => "stalled",
            Deferred::QueueFull => "queue_full",
            Deferred::Overloaded => "overloaded",
        }
    }
}

/// What happened. Nothing in a report contains a URL or a secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Report<'a> {
    /// `attempts` counts the successful one.
    Delivered {
        endpoint: &'a EndpointId,
        id: &'a WebhookId,
        origin: &'a Origin,
        attempts: u32,
        took: Duration,
    },
    AttemptFailed {
        endpoint: &'a EndpointId,
        id: &'a WebhookId,
        attempts: u32,
        attempt: &'a LastAttempt,
    },
    Deferred {
        endpoint: &'a EndpointId,
        id: &'a WebhookId,
        reason: Deferred,
    },
    Dead {
        endpoint: &'a EndpointId,
        id: &'a WebhookId,
        reason: DeadReason,
    },
    CircuitOpened {
        endpoint: &'a EndpointId,
    },
    Recovered {
        endpoint: &'a EndpointId,
    },
    Disabled {
        endpoint: &'a EndpointId,
        reason: DisabledReason,
    },
    StoreFailed {
        error: &'a StoreError,
    },
    /// How many endpoints have deliveries that wait.
    Backlogs {
        endpoints: usize,
    },
}

/// Gets reports. It is called on the threads of the engine, so it must neither block nor panic.
pub trait Observer: Send + Sync + 'static {
    fn report(&self, report: &Report<'_>);
}

/// Ignores all reports.
impl Observer for () {
    fn report(&self, _: &Report<'_>) {}
}
