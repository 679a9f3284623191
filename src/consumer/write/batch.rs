//! Batches: the scans of one thread wait here for a call that writes them together. `queue` decides when a batch closes and
//! which scans it contains, `forecast` the verbs to try first, and `decision` what follows for each scan. A call counts once
//! for the circuit breaker, and each write continues by itself.

mod decision;
mod forecast;
mod queue;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Fuse, FusedFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use self::forecast::Forecast;
use self::queue::{Entry, Queue};
use crate::consumer::dedup::Keys;
use crate::consumer::flow::WritePermit;
use crate::consumer::ports::{Operation, Receipt, Statement, Store, StoreErrorKind, Verb};
use crate::consumer::process::Process;
use crate::consumer::settings::ATTEMPT_TIMEOUT;
use crate::scan::Scan;

pub(crate) use self::decision::Next;

/// How late a waiting scan may notice its deadline.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The batches of one thread.
#[derive(Debug)]
pub(crate) struct Batches {
    queue: RefCell<Queue>,
    forecast: RefCell<Forecast>,
    /// Whether a call has ended. Without one there is nothing to forecast from, so no second call is sent.
    has_completed: Cell<bool>,
    /// Notified when the queue is no longer empty, or is full.
    changed: Notify,
}

impl Batches {
    pub(crate) fn new(linger: Duration) -> Batches {
        Batches {
            queue: RefCell::new(Queue::new(linger)),
            forecast: RefCell::default(),
            has_completed: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// Writes a scan in a batch. Returns `None` if it was not sent before the deadline.
    pub(crate) async fn write(&self, scan: &Arc<Scan>, verb: Option<Verb>, deadline: Instant) -> Option<Next> {
        let (answer, answered) = oneshot::channel();
        self.push(Entry { scan: scan.clone(), verb, answer, deadline, since: Instant::now() });
        // A late scan is dropped from the queue.
        answered.await.ok()
    }

    fn push(&self, entry: Entry) {
        let mut queue = self.queue.borrow_mut();
        let was_full = queue.is_full();
        queue.push(entry);
        if queue.len() == 1 || queue.is_full() && !was_full {
            self.changed.notify_one();
        }
    }

    /// Sends the batches of the thread with this number, for as long as it is polled beside the workers.
    pub(crate) async fn send<R: Receipt>(
        &self,
        thread: usize,
        process: &Process,
        keys: &Keys<R>,
        store: &impl Store,
    ) -> Infallible {
        let mut calls = FuturesUnordered::new();
        let mut permit = pin!(Fuse::terminated());
        // One timer for all waiting scans. A timer for each would cost more than its share of a call.
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let closes_at = match calls.is_empty() || self.has_completed.get() {
                true => self.queue.borrow().closes_at(calls.is_empty()),
                false => None,
            };
            if permit.is_terminated() && closes_at.is_some_and(|at| at <= Instant::now()) {
                permit.set(process.write_permit(thread).fuse());
            }
            let lingers = permit.is_terminated() && closes_at.is_some();
            let closed = sleep_until(closes_at.unwrap_or_else(Instant::now));
            tokio::select! {
                biased;
                Some(()) = calls.next() => self.has_completed.set(true),
                permit = &mut permit => {
                    // Only now, so that the batch includes scans that arrived while no permit was free.
                    let batch = self.queue.borrow_mut().take(Instant::now());
                    if !batch.is_empty() {
                        calls.push(self.call(process, keys, store, batch, permit));
                    }
                }
                () = self.changed.notified() => {}
                () = closed, if lingers => {}
                now = sweep.tick() => self.queue.borrow_mut().remove_late(now),
            }
        }
    }

    async fn call<R: Receipt>(
        &self,
        process: &Process,
        keys: &Keys<R>,
        store: &impl Store,
        batch: Vec<Entry>,
        permit: WritePermit<'_>,
    ) {
        let forecast = self.forecast.borrow().verb();
        let statement = |entry: &Entry| Statement { scan: entry.scan.clone(), verb: entry.verb.unwrap_or(forecast) };
        let statements: Vec<_> = batch.iter().map(statement).collect();
        let verbs: Vec<_> = statements.iter().map(|statement| statement.verb).collect();
        let began = Instant::now();
        let sent = process.refusals.tick();
        let result = timeout(ATTEMPT_TIMEOUT, store.batch(&statements)).await;
        let result = result.unwrap_or_else(|_| Err(process.write_timed_out(&permit)));
        let failure = result.as_ref().err().map(|error| error.kind);
        process.observer.called(Operation::Batch, began.elapsed(), failure);
        let nexts = decision::classify(result, &verbs);
        record(process, keys, sent, &statements, &nexts);
        for ((entry, verb), next) in batch.into_iter().zip(verbs).zip(nexts) {
            if entry.verb.is_none()
                && let Some(is_missing) = was_missing(verb, &next)
            {
                self.forecast.borrow_mut().record(is_missing);
            }
            // The write may have been dropped meanwhile.
            let _ = entry.answer.send(next);
        }
    }
}

/// Returns whether the record of a scan was missing, if its answer tells.
fn was_missing(verb: Verb, next: &Next) -> Option<bool> {
    match (verb, next) {
        (Verb::Insert, Next::Done(Ok(_))) | (Verb::Update, Next::Try(_)) => Some(true),
        (Verb::Update, Next::Done(Ok(_))) | (Verb::Insert, Next::Try(_)) => Some(false),
        (_, Next::Done(Err(_)) | Next::Put) => None,
    }
}

/// Records what a call shows about the store. Each kind of error is recorded once per call, and answers are recorded last, so
/// that one call never counts as several failures in a row.
fn record<R: Receipt>(process: &Process, keys: &Keys<R>, sent: u64, statements: &[Statement], nexts: &[Next]) {
    let mut kinds: Vec<StoreErrorKind> = Vec::new();
    let (mut has_answered, mut has_succeeded) = (false, false);
    for (statement, next) in statements.iter().zip(nexts) {
        match next {
            Next::Done(Ok(answer)) => {
                has_succeeded = true;
                process.write_answered(sent, &statement.scan.key, *answer);
            }
            Next::Try(_) => has_succeeded = true,
            Next::Put => has_answered = true,
            Next::Done(Err(error)) if kinds.contains(&error.kind) => {
                process.report_throttling(error, &statement.scan.key);
            }
            Next::Done(Err(error)) => {
                kinds.push(error.kind);
                if error.kind == StoreErrorKind::MissingTable {
                    keys.clear_cache();
                }
                process.store_failed(error, &statement.scan.key);
            }
        }
    }
    if has_succeeded {
        process.store_succeeded();
    } else if has_answered {
        process.store_answered();
    }
}
