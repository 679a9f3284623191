//! Reads the pages of all segments: at the rate of the budget, and again after errors that pass.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use rand::Rng;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, sleep_until};

use super::budget::{Budget, Decision, Reservation};
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::dynamo::{Page, Pages, Position};
use crate::service::SetupError;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// An export ends after this time without a response. Throttling is a response.
const MAX_OUTAGE: Duration = Duration::from_secs(300);

pub(super) struct Reader {
    pages: Pages,
    table: String,
    segments: u32,
    budget: RefCell<Budget>,
    /// Of the request that is sent next.
    turn: Mutex<()>,
    settled: Notify,
    last_response: Cell<Instant>,
    throttled: Cell<u64>,
}

impl Reader {
    pub(super) fn new(pages: Pages, table: String, segments: u32, max_read_units: Option<f64>) -> Reader {
        let now = Instant::now();
        let budget = RefCell::new(Budget::new(max_read_units, now));
        let (turn, settled) = (Mutex::new(()), Notify::new());
        let (last_response, throttled) = (Cell::new(now), Cell::new(0));
        Reader { pages, table, segments, budget, turn, settled, last_response, throttled }
    }

    /// Returns how many requests DynamoDB has throttled.
    pub(super) fn throttled(&self) -> u64 {
        self.throttled.get()
    }

    /// Reads the page of a segment after this key.
    pub(super) async fn read(&self, segment: u32, after: Option<&str>) -> Result<(u32, Page), SetupError> {
        let position = Position { segment, segments: self.segments, after };
        let mut backoff = FIRST_BACKOFF;
        loop {
            let reservation = self.reserve().await;
            let error = match self.pages.read(position, reservation.limit).await {
                Ok(page) => {
                    self.last_response.set(Instant::now());
                    self.settle(|budget| budget.settle(reservation, page.read_units, page.scanned));
                    return Ok((segment, page));
                }
                Err(error) => error,
            };
            match error.kind {
                StoreErrorKind::Throttled | StoreErrorKind::HotKey => {
                    self.throttled.set(self.throttled.get() + 1);
                    self.last_response.set(Instant::now());
                    self.settle(|budget| budget.settle(reservation, 0.0, 0));
                }
                StoreErrorKind::Unavailable | StoreErrorKind::OpenFiles | StoreErrorKind::Clock
                    if self.last_response.get().elapsed() < MAX_OUTAGE =>
                {
                    self.settle(|budget| budget.keep(reservation));
                }
                _ => return Err(self.failure(&error)),
            }
            sleep(rand::rng().random_range(Duration::ZERO..backoff)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
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

    fn failure(&self, error: &StoreError) -> SetupError {
        let advice = match error.kind {
            StoreErrorKind::Permission => "Grant this identity dynamodb:Scan on the table.",
            StoreErrorKind::MissingTable => "Choose another table with --table, or another region with AWS_REGION.",
            StoreErrorKind::Credentials => "Renew the credentials, e.g. with `aws sso login`.",
            _ => "Run the export again.",
        };
        SetupError(format!("table {} (--table) cannot be read: {}\n{advice}", self.table, error.detail))
    }
}
