//! The write path: repeats attempts until DynamoDB has given a definitive answer, or the deadline has passed.
//!
//! - A transaction without an answer is repeated with the same token until it has one, so it is never applied twice.
//! - A transaction that is built again has a new token. If an attempt of the former one may still be applied, only a request
//!   with an Idempotency-Key continues: of all transactions with a key, the table accepts one.
//! - A refused condition is final where the operation names the state that it expects (connect, If-Match). Other
//!   operations read again.

mod request;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dynamodb::{StoreError, StoreErrorKind};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};
use uuid::{Builder, Uuid};

use crate::operation::{Answer, Operation};
use crate::plan::{self, Fresh, Next, Reads, Seen, Step};
use crate::ports::{Commit, Condition, Page, Store};
use crate::transaction::{Action, Transaction};
use crate::widget::{Serial, Timestamp, Widget};

pub use request::RequestKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long an operation may take.
    pub deadline: Duration,
    /// How long one call of the store may take.
    pub attempt_timeout: Duration,
    /// How long a request with an Idempotency-Key is remembered.
    pub remember_for: Duration,
}

const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_millis(400);
/// DynamoDB remembers the token of a transaction for ten minutes. An operation ends long before, unless its process was
/// paused. The monotonic clock does not count the time of a suspended machine, so the wall clock decides too.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// Why an operation has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing was changed.
    #[error("{0}")]
    Store(StoreError),
    /// The last attempts had no answer, so the operation may have been done.
    #[error("the operation may have been done: {0}")]
    Unknown(StoreError),
}

/// Is told of the path of operations. It must not block.
pub trait Observer: Send + Sync + 'static {
    /// A call of the store failed and is repeated.
    fn retried(&self, _: &Operation, _: StoreErrorKind) {}
    /// A refused transaction is built again.
    fn rebuilt(&self, _: &Operation) {}
    fn finished(&self, _: &Operation, _: &Result<Answered, Failure>, _took: Duration) {}
}

/// A definitive answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub answer: Answer,
    /// It is that of an earlier request with the same Idempotency-Key.
    pub is_repeat: bool,
}

pub struct Registry<S> {
    store: S,
    settings: Settings,
    observer: Arc<dyn Observer>,
    random: Mutex<StdRng>,
    clock: fn() -> SystemTime,
}

impl<S: Store> Registry<S> {
    pub fn new(store: S, settings: Settings, observer: Arc<dyn Observer>, clock: fn() -> SystemTime) -> Registry<S> {
        Registry { store, settings, observer, random: Mutex::new(StdRng::from_os_rng()), clock }
    }

    /// Makes all random values depend on a seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Registry<S> {
        self.random = Mutex::new(StdRng::seed_from_u64(seed));
        self
    }

    pub async fn get(&self, serial: &Serial) -> Result<Option<Widget>, Failure> {
        self.read(|| self.store.get(serial)).await
    }

    pub async fn page(&self, after: Option<&Serial>, limit: u16) -> Result<Page, Failure> {
        self.read(|| self.store.page(after, limit)).await
    }

    /// Returns when an operation that begins now must end.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.settings.deadline
    }

    /// Does an operation. With a key, a repeated request gets the answer of the first one.
    pub async fn run(
        &self,
        operation: &Operation,
        key: Option<&RequestKey>,
        deadline: Instant,
    ) -> Result<Answered, Failure> {
        let began = Instant::now();
        let answered = self.attempts(deadline).run(operation, key).await;
        self.observer.finished(operation, &answered, began.elapsed());
        answered
    }

    async fn read<T, F>(&self, call: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        self.attempts(self.deadline()).read(None, call).await
    }

    fn attempts(&self, deadline: Instant) -> Attempts<'_, S> {
        let began_at = (self.clock)();
        Attempts { registry: self, deadline, began_at, backoff: FIRST_BACKOFF, is_unknown: false }
    }

    fn random<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn uuid(&self) -> Uuid {
        Builder::from_random_bytes(self.random(Rng::random)).into_uuid()
    }

    fn fresh(&self) -> Fresh {
        Fresh { now: Timestamp::of((self.clock)()), incarnation: self.uuid() }
    }
}

/// The attempts of one operation.
struct Attempts<'a, S> {
    registry: &'a Registry<S>,
    deadline: Instant,
    began_at: SystemTime,
    /// The bound of the next wait.
    backoff: Duration,
    /// An attempt to write had no answer, and may still be applied.
    is_unknown: bool,
}

impl<S: Store> Attempts<'_, S> {
    async fn run(mut self, operation: &Operation, key: Option<&RequestKey>) -> Result<Answered, Failure> {
        loop {
            let seen = self.see(operation).await?;
            let (actions, outcome) = match plan::step(operation, &seen, &self.registry.fresh()) {
                Step::Answer(answer) => return self.remember(operation, key, answer).await,
                Step::Commit(actions, outcome) => (actions, outcome),
            };
            let next = match self.commit(operation, key, actions.clone(), Ok(outcome)).await? {
                Committed::Answered(answered) => return Ok(*answered),
                Committed::Refused(conditions) => {
                    self.rule_out_late_attempts(&actions, &conditions, key)?;
                    plan::refused(operation, &seen, &actions, &conditions)
                }
            };
            match next {
                Next::Answer(answer) => return self.remember(operation, key, answer).await,
                Next::ReadAgain => {}
                Next::Suspect(suspects) => {
                    let store = &self.registry.store;
                    let snapshot = self.read(Some(operation), || store.snapshot(&suspects)).await?;
                    if let Some(refusal) = plan::contradiction(&suspects, &snapshot) {
                        // It is not remembered, because a person will fix the items.
                        return Ok(Answered { answer: Err(refusal), is_repeat: false });
                    }
                }
            }
            self.registry.observer.rebuilt(operation);
            self.wait(met_others()).await?;
        }
    }

    async fn see(&mut self, operation: &Operation) -> Result<Seen, Failure> {
        let store = &self.registry.store;
        match plan::reads(operation) {
            Reads::Nothing => Ok(Seen::default()),
            Reads::One(serial) => {
                let subject = self.read(Some(operation), || store.get(serial)).await?;
                Ok(Seen { subject, peer: None })
            }
            Reads::Two(serials) => {
                let [subject, peer] = self.read(Some(operation), || store.get_two(serials)).await?;
                Ok(Seen { subject, peer })
            }
        }
    }

    /// Fails if an attempt of a refused transaction may be applied after the answer.
    ///
    /// A key prevents that: the answer is remembered under the condition that no attempt was applied, and then no attempt can.
    fn rule_out_late_attempts(
        &mut self,
        actions: &[Action],
        conditions: &[Condition],
        key: Option<&RequestKey>,
    ) -> Result<(), Failure> {
        if plan::is_final(actions, conditions) {
            self.is_unknown = false;
        }
        match key {
            None if self.is_unknown => Err(self.failure(StoreError::no_answer(self.registry.settings.attempt_timeout))),
            None | Some(_) => Ok(()),
        }
    }

    /// Returns this answer, which needs no write, or that of the same request if it was done before.
    async fn remember(
        &mut self,
        operation: &Operation,
        key: Option<&RequestKey>,
        answer: Answer,
    ) -> Result<Answered, Failure> {
        if key.is_none() {
            return Ok(Answered { answer, is_repeat: false });
        }
        loop {
            match self.commit(operation, key, Vec::new(), answer.clone()).await? {
                Committed::Answered(answered) => return Ok(*answered),
                Committed::Refused(_) => self.wait(met_others()).await?,
            }
        }
    }

    async fn commit(
        &mut self,
        operation: &Operation,
        key: Option<&RequestKey>,
        actions: Vec<Action>,
        answer: Answer,
    ) -> Result<Committed, Failure> {
        let now = (self.registry.clock)();
        let request = key.map(|key| key.request(operation, &answer, now, self.registry.settings.remember_for));
        let transaction = Transaction { actions, request };
        let mut token = self.registry.uuid();
        let mut is_unanswered = false;
        loop {
            let attempt = self.registry.store.commit(&transaction, token);
            let error = match self.attempt(attempt).await? {
                Ok(Commit::Applied) => return Ok(Committed::Answered(Box::new(Answered { answer, is_repeat: false }))),
                Ok(Commit::Refused { request: Some(stored), .. }) => {
                    return Ok(Committed::Answered(Box::new(request::answered(*stored, operation))));
                }
                Ok(Commit::Refused { actions, request: None }) => return Ok(Committed::Refused(actions)),
                Err(error) => error,
            };
            is_unanswered |= error.kind == StoreErrorKind::Unavailable;
            self.is_unknown |= is_unanswered && !transaction.actions.is_empty();
            self.again(Some(operation), error).await?;
            if !is_unanswered {
                // What a store remembers of a cancelled transaction's token is not documented.
                token = self.registry.uuid();
            }
        }
    }

    async fn read<T, F>(&mut self, operation: Option<&Operation>, call: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        loop {
            match self.attempt(call()).await? {
                Err(error) => self.again(operation, error).await?,
                Ok(found) => return Ok(found),
            }
        }
    }

    /// Makes a call of the store, unless it is too late for one.
    async fn attempt<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<Result<T, StoreError>, Failure> {
        if self.is_over() {
            let detail = "the time for the request is over".to_owned();
            return Err(self.failure(StoreError { kind: StoreErrorKind::Unavailable, detail }));
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let bound = self.registry.settings.attempt_timeout.min(left);
        Ok(timeout(bound, call).await.unwrap_or_else(|_| Err(StoreError::no_answer(bound))))
    }

    /// Waits before the next attempt, if the error may pass by itself.
    async fn again(&mut self, operation: Option<&Operation>, error: StoreError) -> Result<(), Failure> {
        use StoreErrorKind::{Conflict, HotKey, OpenFiles, Throttled, Unavailable};
        if !matches!(error.kind, Conflict | HotKey | OpenFiles | Throttled | Unavailable) {
            return Err(self.failure(error));
        }
        if let Some(operation) = operation {
            self.registry.observer.retried(operation, error.kind);
        }
        self.wait(error).await
    }

    /// Waits for a random time, or fails with this error if the deadline comes first.
    async fn wait(&mut self, error: StoreError) -> Result<(), Failure> {
        let bound = self.backoff;
        let wait = self.registry.random(|random| random.random_range(Duration::ZERO..=bound));
        if Instant::now() + wait >= self.deadline {
            return Err(self.failure(error));
        }
        self.backoff = MAX_BACKOFF.min(2 * self.backoff);
        sleep(wait).await;
        // This process may have been paused.
        if self.is_over() { Err(self.failure(error)) } else { Ok(()) }
    }

    fn is_over(&self) -> bool {
        let elapsed = (self.registry.clock)().duration_since(self.began_at).unwrap_or_default();
        Instant::now() >= self.deadline || elapsed >= LONGEST
    }

    fn failure(&self, error: StoreError) -> Failure {
        if self.is_unknown { Failure::Unknown(error) } else { Failure::Store(error) }
    }
}

fn met_others() -> StoreError {
    let detail = "other requests changed the same widgets each time".to_owned();
    StoreError { kind: StoreErrorKind::Conflict, detail }
}

enum Committed {
    Answered(Box<Answered>),
    /// Which conditions held.
    Refused(Vec<Condition>),
}

#[cfg(test)]
mod tests;
