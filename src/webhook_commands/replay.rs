//! `mini-scan webhooks replay`: stores changes of the history as deliveries that are due now, at a bounded rate. The ids are
//! those of the first deliveries, so that a replay may be repeated.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use indicatif::{HumanCount, ProgressBar};
use tokio::time::Instant;
use webhooks::{Delivery, EndpointId, Origin};

use super::text::Format;
use super::{OPERATOR, Outcome, Tables, print, unusable};
use crate::changes::Entry;
use crate::consumer::ports::StoreError;
use crate::dynamo::{HistoryKey, HistoryPage, HistoryTable, Replayed};
use crate::export::{Cost, Pacer, progress};
use crate::hosts::Network;
use crate::service::SetupError;
use crate::subscriptions::operations::OperationError;
use crate::subscriptions::{Status, Subscription, event};

/// Deliveries of one page that are stored at the same time.
const CONCURRENCY: usize = 16;

/// Which changes to deliver again.
#[derive(Debug)]
pub struct Replay {
    pub id: EndpointId,
    /// When the table was changed, in Unix seconds.
    pub created: Range<u64>,
    pub ip: Option<IpAddr>,
    pub network: Option<Network>,
    pub history: String,
    pub api_url: Option<String>,
    pub segments: NonZeroU32,
    /// Of reads and writes, per second.
    pub max_units: Option<NonZeroU32>,
}

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    /// Items of the history.
    pub(super) scanned: u64,
    pub(super) stored: u64,
    /// The delivery was waiting, and is due now.
    pub(super) were_waiting: u64,
    pub(super) units: f64,
}

struct Run<'a> {
    tables: &'a Tables<'a>,
    task: &'a Replay,
    subscription: Subscription,
    history: HistoryTable,
    pacer: Pacer,
    counts: RefCell<Counts>,
    /// Whether a delivery could not be stored, rather than the history read.
    is_storing: Cell<bool>,
}

/// Replays until the end or until `stop`.
pub(super) async fn run(
    tables: &Tables<'_>,
    task: &Replay,
    stop: impl Future<Output = ()>,
    format: Format,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let (began, stop) = (Instant::now(), pin!(stop));
    let subscription = tables.operations.get(OPERATOR, &task.id).await.map_err(|error| tables.failure(&error))?;
    if let Status::Disabled(_) = subscription.status {
        let id = &task.id;
        return Err(SetupError(format!(
            "subscription {id} is disabled, so its deliveries would be dead.\nResume it first: mini-scan webhooks resume {id}"
        )));
    }
    let run = Run {
        tables,
        task,
        subscription,
        history: HistoryTable::new(tables.client.clone(), task.history.clone()),
        pacer: Pacer::new(task.max_units.map(|units| f64::from(units.get()))),
        counts: RefCell::default(),
        is_storing: Cell::new(false),
    };
    let bar = progress(None);
    let outcome = run.pages(stop, &bar).await;
    bar.finish_and_clear();
    let outcome = outcome?;
    let counts = run.counts.borrow();
    print(out, &format.replayed(&counts, outcome == Outcome::Stopped))?;
    print(notes, &summary(&counts, task, run.pacer.throttled(), began.elapsed(), outcome))?;
    Ok(outcome)
}

impl Run<'_> {
    /// Replays page after page, each segment in its own order.
    async fn pages(
        &self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        bar: &ProgressBar,
    ) -> Result<Outcome, SetupError> {
        // The entries of an address are one query.
        let segments = if self.task.ip.is_some() { 1 } else { self.task.segments.get() };
        let next = |segment, after| Box::pin(self.page(segment, segments, after));
        let mut pages: FuturesUnordered<_> = (0..segments).map(|segment| next(segment, None)).collect();
        loop {
            let page = tokio::select! {
                biased;
                () = &mut stop => return Ok(Outcome::Stopped),
                page = pages.next() => page,
            };
            let Some(page) = page else { return Ok(Outcome::Done) };
            let (segment, last) = page?;
            if last.is_some() {
                pages.push(next(segment, last));
            }
            let counts = self.counts.borrow();
            bar.set_position(counts.scanned);
            bar.set_message(format!("{} stored", HumanCount(counts.stored + counts.were_waiting)));
        }
    }

    async fn page(
        &self,
        segment: u32,
        segments: u32,
        after: Option<HistoryKey>,
    ) -> Result<(u32, Option<HistoryKey>), SetupError> {
        // The units of the deliveries belong to the page, so that the budget has them before the next one.
        let replay = async |limit| {
            let page = self.read((segment, segments), after.as_ref(), limit).await?;
            let units = page.read_units + self.store_all(page.items).await?;
            let mut counts = self.counts.borrow_mut();
            counts.scanned += page.scanned;
            counts.units += units;
            Ok((page.last, Cost { units, rows: page.scanned }))
        };
        match self.pacer.page(replay).await {
            Ok(last) => Ok((segment, last)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Stores the deliveries of the entries that fit. Returns the units that this took.
    async fn store_all(&self, entries: Vec<Entry>) -> Result<f64, StoreError> {
        let units = Cell::new(0.0);
        let stores = entries.into_iter().filter(|entry| self.selects(entry)).map(|entry| self.store(entry, &units));
        let mut stores = stream::iter(stores).buffer_unordered(CONCURRENCY);
        while let Some(stored) = stores.next().await {
            let stored = stored.inspect_err(|_| self.is_storing.set(true))?;
            let mut counts = self.counts.borrow_mut();
            match stored {
                Replayed::Stored => counts.stored += 1,
                Replayed::WasWaiting => counts.were_waiting += 1,
            }
        }
        Ok(units.get())
    }

    async fn read(
        &self,
        segment: (u32, u32),
        after: Option<&HistoryKey>,
        limit: Option<i32>,
    ) -> Result<HistoryPage<Entry>, StoreError> {
        let created = self.task.created.clone();
        match self.task.ip {
            Some(ip) => self.history.entries_of(ip, created, after, limit).await,
            None => self.history.entries_created(segment, created, after, limit).await,
        }
    }

    fn selects(&self, entry: &Entry) -> bool {
        let service = &entry.key.service;
        let is_in = |network: &Network| service.ip().parse().is_ok_and(|ip| network.contains(ip));
        self.subscription.filter.selects(service, entry.event) && self.task.network.as_ref().is_none_or(is_in)
    }

    async fn store(&self, entry: Entry, units: &Cell<f64>) -> Result<Replayed, StoreError> {
        let id = event::webhook_id(&entry.key, &self.task.id);
        let body = event::body(entry, self.task.api_url.as_deref());
        // The item has some 300 bytes beside the body, and the index one unit.
        #[expect(clippy::cast_precision_loss, reason = "a body is far smaller than 2^52 bytes")]
        let cost = ((body.len() + 300) as f64 / 1024.0).ceil() + 1.0;
        units.set(units.get() + cost);
        let delivery = Delivery { id, endpoint: self.task.id.clone(), body, origin: Origin::default() };
        self.pacer.repeat(async || self.tables.deliveries.replay(delivery.clone()).await).await
    }

    fn failure(&self, error: &StoreError) -> SetupError {
        if self.is_storing.get() {
            return self.tables.failure(&OperationError::Deliveries(error.clone()));
        }
        SetupError(unusable(&format!("{} (--history-table)", self.task.history), "mini-scan setup changes", error))
    }
}

/// Returns the lines for a person after a replay.
fn summary(counts: &Counts, task: &Replay, throttled: u64, took: Duration, outcome: Outcome) -> String {
    let mut text = String::new();
    if throttled > 0 {
        text += &format!("DynamoDB throttled {throttled} requests, which were repeated.\n");
    }
    text += &format!(
        "Read {} items of table {} in {}: about {:.0} capacity units.\n",
        HumanCount(counts.scanned),
        task.history,
        indicatif::HumanDuration(took),
        counts.units
    );
    if outcome == Outcome::Stopped {
        text += "Stopped before the end. The same command starts again, and receivers recognize what they have.\n";
    }
    text
}
