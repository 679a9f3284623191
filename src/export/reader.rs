//! Reads the pages of all segments: at the rate of the budget, and again after errors that pass.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep, sleep_until};

use super::budget::Budget;
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
    last_response: Cell<Instant>,
    throttled: Cell<u64>,
}

impl Reader {
    pub(super) fn new(pages: Pages, table: String, segments: u32, max_read_units: Option<f64>) -> Reader {
        let now = Instant::now();
        let budget = RefCell::new(Budget::new(max_read_units, now));
        Reader { pages, table, segments, budget, last_response: Cell::new(now), throttled: Cell::new(0) }
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
            let reservation = self.budget.borrow_mut().reserve(Instant::now());
            sleep_until(reservation.at).await;
            let error = match self.pages.read(position, reservation.limit).await {
                Ok(page) => {
                    self.last_response.set(Instant::now());
                    self.budget.borrow_mut().settle(reservation, page.read_units, page.scanned);
                    return Ok((segment, page));
                }
                Err(error) => error,
            };
            match error.kind {
                StoreErrorKind::Throttled | StoreErrorKind::HotKey => {
                    self.throttled.set(self.throttled.get() + 1);
                    self.last_response.set(Instant::now());
                    self.budget.borrow_mut().settle(reservation, 0.0, 0);
                }
                // The request may have been executed, so its units stay reserved.
                StoreErrorKind::Unavailable | StoreErrorKind::OpenFiles | StoreErrorKind::Clock
                    if self.last_response.get().elapsed() < MAX_OUTAGE => {}
                _ => return Err(self.failure(&error)),
            }
            sleep(rand::rng().random_range(Duration::ZERO..backoff)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
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
