//! Sends the requests of a scan at the rate of the budget, and again after errors that pass.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use rand::Rng;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, sleep_until};

use super::budget::{Budget, Decision, Reservation};
use crate::consumer::ports::{StoreError, StoreErrorKind};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A scan ends after this time without a response. Throttling is a response.
const MAX_OUTAGE: Duration = Duration::from_secs(300);

pub(crate) struct Pacer {
    budget: RefCell<Budget>,
    /// Of the request that is sent next.
    turn: Mutex<()>,
    settled: Notify,
    last_response: Cell<Instant>,
    throttled: Cell<u64>,
}

/// What a page has cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) units: f64,
    pub(crate) rows: u64,
}

/// An error after which the request may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transient {
    /// The request was not executed.
    Throttled,
    Unknown,
}

impl Pacer {
    /// `rate` is the capacity units per second. Without it nothing is delayed.
    pub(crate) fn new(rate: Option<f64>) -> Pacer {
        let now = Instant::now();
        let budget = RefCell::new(Budget::new(rate, now));
        let (turn, settled) = (Mutex::new(()), Notify::new());
        Pacer { budget, turn, settled, last_response: Cell::new(now), throttled: Cell::new(0) }
    }

    /// Returns how many requests DynamoDB has throttled.
    pub(crate) fn throttled(&self) -> u64 {
        self.throttled.get()
    }

    /// Sends the request for a page with the number of rows that the budget allows, until it succeeds.
    pub(crate) async fn page<T>(
        &self,
        request: impl AsyncFn(Option<i32>) -> Result<(T, Cost), StoreError>,
    ) -> Result<T, StoreError> {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let reservation = self.reserve().await;
            let error = match request(reservation.limit).await {
                Ok((page, cost)) => {
                    self.last_response.set(Instant::now());
                    self.settle(|budget| budget.settle(reservation, cost.units, cost.rows));
                    return Ok(page);
                }
                Err(error) => error,
            };
            match self.transient(&error) {
                Some(Transient::Throttled) => self.settle(|budget| budget.settle(reservation, 0.0, 0)),
                Some(Transient::Unknown) => self.settle(|budget| budget.keep(reservation)),
                None => return Err(error),
            }
            wait(&mut backoff).await;
        }
    }

    /// Sends a request that belongs to a page, until it succeeds. The page includes its cost.
    pub(crate) async fn repeat<T>(&self, request: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut backoff = FIRST_BACKOFF;
        loop {
            match request().await {
                Ok(value) => {
                    self.last_response.set(Instant::now());
                    return Ok(value);
                }
                Err(error) if self.transient(&error).is_none() => return Err(error),
                Err(_) => wait(&mut backoff).await,
            }
        }
    }

    /// Counts an error. Returns `None` if another attempt would fail too.
    fn transient(&self, error: &StoreError) -> Option<Transient> {
        match error.kind {
            StoreErrorKind::Throttled | StoreErrorKind::HotKey => {
                self.throttled.set(self.throttled.get() + 1);
                self.last_response.set(Instant::now());
                Some(Transient::Throttled)
            }
            StoreErrorKind::Unavailable
            | StoreErrorKind::OpenFiles
            | StoreErrorKind::Clock
            | StoreErrorKind::Conflict
                if self.last_response.get().elapsed() < MAX_OUTAGE =>
            {
                Some(Transient::Unknown)
            }
            _ => None,
        }
    }

    /// Waits until the budget allows another request.
    async fn reserve(&self) -> Reservation {
        let since = Instant::now();
        let _turn = self.turn.lock().await;
        loop {
            let decision = self.budget.borrow_mut().reserve(since, Instant::now());
            match decision {
                Decision::Send(reservation) => return reservation,
                Decision::WaitUntil(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.settled.notified() => {}
                },
                Decision::WaitForPage => self.settled.notified().await,
            }
        }
    }

    /// Corrects the budget, and wakes the request that waits for it.
    fn settle(&self, correct: impl FnOnce(&mut Budget)) {
        correct(&mut self.budget.borrow_mut());
        self.settled.notify_one();
    }
}

async fn wait(backoff: &mut Duration) {
    sleep(rand::rng().random_range(Duration::ZERO..*backoff)).await;
    *backoff = (*backoff * 2).min(MAX_BACKOFF);
}
