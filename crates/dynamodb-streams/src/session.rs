//! The session of one owned shard: reads it, hands its records to the handler, and keeps its lease.
//!
//! All decisions are made by the state machines. This module makes their requests and gives them the answers.

mod attempt;
mod page;

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::lease::{Checkpoint, Lease};
use crate::lineage::Missing;
use crate::owned_lease::{Intent, OwnedLease, Request, Step};
use crate::polling::Polling;
use crate::ports::{
    Gap, GapCause, Handler, LeaseError, LeaseTable, LostReason, Outcome, Report, ShardIterator, Stream, StreamError,
    StreamErrorKind, Updated,
};
use crate::position::{Position, Recovery};
use crate::settings::backoff;
use crate::shard::{Shard, ShardId};
use crate::shared::Shared;
use crate::window::{Decision, ENTRY_BYTES, Ended, Index, Window};

use attempt::Unfinished;
use page::Read;

/// The time between two reports of the progress of a shard.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug)]
pub(crate) enum SessionEnd {
    /// The shard is finished. Contains its children, as far as they are known.
    Finished(Vec<Shard>),
    Released,
    /// The lease is released, because this instance cannot read the shard.
    Unreadable,
    Lost,
}

/// What the session does with its shard.
#[derive(Debug)]
enum Phase {
    Reading,
    /// All records are read. Some may be unfinished. The children are searched meanwhile.
    Ending {
        children: Option<Vec<Shard>>,
    },
    /// Records in progress are finished until this time, and no more are started.
    Draining {
        until: Instant,
    },
    /// A write that releases the lease was sent. It may be applied at any time, so nothing is started any more.
    Releasing,
}

pub(crate) struct Session<S: Stream, T, H> {
    shared: Arc<Shared<S, T, H>>,
    shard: ShardId,
    lease: OwnedLease,
    position: Position,
    iterator: Option<ShardIterator>,
    polling: Polling,
    next_read: Instant,
    window: Window<Arc<Unfinished<S::Data>>>,
    phase: Phase,
    /// A gap that the handler has not stored yet. Nothing is read meanwhile.
    gap: Option<Gap>,
    gap_failures: u32,
    next_gap: Instant,
    last_read_created: Option<SystemTime>,
    caught_up: Option<Instant>,
    /// Since when the stream denies that the shard exists.
    missing: Option<Missing>,
    /// Since when all reads failed, except for throttled ones.
    unreadable_since: Option<Instant>,
    next_progress: Instant,
    stop: watch::Receiver<bool>,
}

/// The requests and tasks in flight.
struct InFlight<D> {
    write: Option<BoxFuture<'static, Result<Updated, LeaseError>>>,
    read: Option<BoxFuture<'static, Read<D>>>,
    children: Option<BoxFuture<'static, Vec<Shard>>>,
    gap: Option<BoxFuture<'static, Result<(), String>>>,
    tasks: FuturesUnordered<BoxFuture<'static, (Index, Ended)>>,
}

enum Event<D> {
    Written(Result<Updated, LeaseError>),
    Read(Read<D>),
    Children(Vec<Shard>),
    GapStored(Result<(), String>),
    Ended(Index, Ended),
    Time,
}

impl<S: Stream, T: LeaseTable, H: Handler<S::Data>> Session<S, T, H> {
    /// Begins with the row that was written when the lease was taken, and with two times: when the write was sent, and when
    /// the shard may be read first.
    pub(crate) fn new(
        shared: Arc<Shared<S, T, H>>,
        shard: ShardId,
        row: Lease,
        (sent, first_read): (Instant, Instant),
        stop: watch::Receiver<bool>,
    ) -> Session<S, T, H> {
        let settings = &shared.settings;
        Session {
            position: Position::new(&row),
            lease: OwnedLease::new(row, shared.me.clone(), sent, settings),
            iterator: None,
            polling: Polling::new(settings.waits.clone()),
            next_read: first_read,
            window: Window::new(settings.retries.clone()),
            phase: Phase::Reading,
            gap: None,
            gap_failures: 0,
            next_gap: sent,
            last_read_created: None,
            caught_up: None,
            missing: None,
            unreadable_since: None,
            next_progress: sent,
            shard,
            stop,
            shared,
        }
    }

    /// Runs until the lease is lost, released or finished. Everything in progress is dropped then.
    pub(crate) async fn run(mut self) -> SessionEnd {
        let mut in_flight =
            InFlight { write: None, read: None, children: None, gap: None, tasks: FuturesUnordered::new() };
        let end = self.run_with(&mut in_flight).await;
        self.shared.report(Report::SessionEnded { shard: &self.shard });
        end
    }

    async fn run_with(&mut self, in_flight: &mut InFlight<S::Data>) -> SessionEnd {
        loop {
            let now = Instant::now();
            if now >= self.lease.expires() {
                return self.lost(LostReason::NotRenewed);
            }
            self.report_progress(now);
            self.drain_if_asked(now, in_flight);
            self.start(now, in_flight);
            let wake = self.next_wake(in_flight);
            let event = next_event(in_flight, &mut self.stop, wake).await;
            let now = Instant::now();
            // A pause of this instance may be longer than the lease. Answers that came meanwhile do not count.
            if now >= self.lease.expires() {
                return self.lost(LostReason::NotRenewed);
            }
            match event {
                Event::Written(Ok(updated)) => {
                    if let Some(end) = self.written(updated) {
                        return end;
                    }
                }
                Event::Written(Err(error)) => {
                    self.shared.report(Report::LeaseTableFailed { shard: Some(&self.shard), error: &error });
                    self.lease.fail(now, self.shared.random());
                }
                Event::Read(read) => self.read(read, now),
                Event::GapStored(stored) => self.gap_stored(stored, now),
                Event::Children(found) => self.phase = Phase::Ending { children: Some(found) },
                Event::Ended(index, ended) => {
                    self.ended(index, ended, now);
                    // Most handlers end together. One pass of this loop for all of them saves most of its time.
                    while let Some(Some((index, ended))) = in_flight.tasks.next().now_or_never() {
                        self.ended(index, ended, now);
                    }
                }
                Event::Time => {}
            }
        }
    }

    fn lost(&self, reason: LostReason) -> SessionEnd {
        self.shared.report(Report::LeaseLost { shard: &self.shard, reason });
        SessionEnd::Lost
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    fn is_unreadable(&self, now: Instant) -> bool {
        self.unreadable_since.is_some_and(|since| now - since >= self.shared.settings.unreadable_timeout)
    }

    /// Begins to drain when the reader stops, another instance asked for the lease, or this one cannot read the shard.
    fn drain_if_asked(&mut self, now: Instant, in_flight: &mut InFlight<S::Data>) {
        let is_asked = self.is_stopping() || self.is_unreadable(now) || self.lease.lease().handover_to.is_some();
        if is_asked && matches!(self.phase, Phase::Reading | Phase::Ending { .. }) {
            self.phase = Phase::Draining { until: now + self.shared.settings.handover_timeout };
            in_flight.read = None;
            in_flight.children = None;
            in_flight.gap = None;
        }
    }

    /// Returns what the next write of the lease is for.
    fn intent(&self, now: Instant) -> Intent {
        match &self.phase {
            Phase::Reading => Intent::Keep,
            Phase::Ending { children: Some(children) } if self.window.len() == 0 && self.gap.is_none() => {
                Intent::Finish { children: children.iter().map(|child| child.id.clone()).collect() }
            }
            Phase::Ending { .. } => Intent::Keep,
            Phase::Draining { until } if self.window.in_progress() > 0 && now < *until => Intent::Keep,
            Phase::Draining { .. } | Phase::Releasing => {
                let to = self.lease.lease().handover_to.clone().filter(|_| !self.is_stopping());
                Intent::Release { to }
            }
        }
    }

    /// Starts everything that is due.
    fn start(&mut self, now: Instant, in_flight: &mut InFlight<S::Data>) {
        let settings = &self.shared.settings;
        let (is_draining, may_start) = match self.phase {
            Phase::Reading | Phase::Ending { .. } => (false, true),
            Phase::Draining { until } => (true, now < until),
            Phase::Releasing => (true, false),
        };
        while may_start
            && self.window.in_progress() < settings.max_concurrency_per_shard
            && let Some(task) = self.window.start(now, is_draining)
        {
            in_flight.tasks.push(Box::pin(attempt::run(self.shared.clone(), self.shard.clone(), task)));
        }
        let intent = self.intent(now);
        if matches!(intent, Intent::Release { .. }) {
            // What is still in progress would outlive the lease.
            in_flight.tasks.clear();
            self.phase = Phase::Releasing;
        }
        if in_flight.write.is_none()
            && let Some(request) = self.lease.write(now, self.window.finished(), &intent)
        {
            in_flight.write = Some(self.send(request));
        }
        if let Some(gap) = &self.gap
            && in_flight.gap.is_none()
            && now >= self.next_gap
            && !is_draining
        {
            in_flight.gap = Some(Box::pin(attempt::store_gap(self.shared.clone(), gap.clone())));
        }
        match self.phase {
            Phase::Reading if in_flight.read.is_none() && now >= self.next_read && self.can_read() => {
                let (shared, shard) = (self.shared.clone(), self.shard.clone());
                in_flight.read =
                    Some(Box::pin(page::read(shared, shard, self.iterator.clone(), self.position.iterator())));
            }
            Phase::Ending { children: None } if in_flight.children.is_none() => {
                in_flight.children = Some(Box::pin(page::children(self.shared.clone(), self.shard.clone())));
            }
            _ => {}
        }
    }

    fn can_read(&self) -> bool {
        self.gap.is_none() && self.window.len() < self.shared.settings.max_records_per_shard
    }

    /// Sends a write in a future of its own, because its answer may come after others.
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Updated, LeaseError>> {
        let (shared, key) = (self.shared.clone(), self.lease.lease().key.clone());
        Box::pin(async move {
            match request {
                Request::Update(expected, update) => {
                    shared.within_lease(shared.table.update(&key, &expected, &update)).await
                }
                Request::Restore(row) => shared.within_lease(shared.table.create(&row)).await,
            }
        })
    }

    fn next_wake(&self, in_flight: &InFlight<S::Data>) -> Instant {
        let now = Instant::now();
        let is_draining = matches!(self.phase, Phase::Draining { .. } | Phase::Releasing);
        let mut wake = self.lease.expires().min(self.next_progress);
        if self.gap.is_some() && in_flight.gap.is_none() && !is_draining {
            wake = wake.min(self.next_gap);
        }
        if in_flight.write.is_none()
            && let Some(due) = self.lease.next_write(self.window.finished(), &self.intent(now))
        {
            wake = wake.min(due);
        }
        if in_flight.read.is_none() && matches!(self.phase, Phase::Reading) && self.can_read() {
            wake = wake.min(self.next_read);
        }
        if !is_draining
            && self.window.in_progress() < self.shared.settings.max_concurrency_per_shard
            && let Some(due) = self.window.next_retry()
        {
            wake = wake.min(due);
        }
        if let Phase::Draining { until } = self.phase
            && until > now
        {
            wake = wake.min(until);
        }
        wake
    }

    /// Takes the answer of a write. Returns the end of the session, if it is one.
    fn written(&mut self, updated: Updated) -> Option<SessionEnd> {
        let to = self.lease.lease().handover_to.clone();
        match self.lease.answer(updated) {
            Step::Kept { stored, is_restored } => {
                if is_restored {
                    self.shared.report(Report::LeaseRestored { shard: &self.shard });
                }
                if let Some(checkpoint) = &stored {
                    self.report_checkpoint(checkpoint);
                }
                None
            }
            Step::Released => {
                let to = to.as_ref().filter(|_| !self.is_stopping());
                self.shared.report(Report::LeaseReleased { shard: &self.shard, to });
                if !self.is_unreadable(Instant::now()) {
                    return Some(SessionEnd::Released);
                }
                self.shared.report(Report::ShardUnreadable { shard: &self.shard });
                Some(SessionEnd::Unreadable)
            }
            Step::Finished => {
                let Phase::Ending { children } = &mut self.phase else { return Some(SessionEnd::Released) };
                let children = children.take().unwrap_or_default();
                let ids: Vec<_> = children.iter().map(|child| child.id.clone()).collect();
                self.report_checkpoint(&Checkpoint::ShardEnd);
                self.shared.report(Report::ShardFinished { shard: &self.shard, children: &ids });
                Some(SessionEnd::Finished(children))
            }
            Step::Lost(reason) => Some(self.lost(reason)),
        }
    }

    fn report_checkpoint(&self, checkpoint: &Checkpoint) {
        let oldest_unfinished = self.window.oldest().and_then(|unfinished| unfinished.record.created);
        self.shared.report(Report::CheckpointStored { shard: &self.shard, checkpoint, oldest_unfinished });
    }

    /// Reports how far the shard is read, at most once per interval.
    fn report_progress(&mut self, now: Instant) {
        let is_caught_up = self.window.len() == 0 && self.polling.is_caught_up();
        if is_caught_up {
            self.caught_up = Some(now);
        }
        if now < self.next_progress {
            return;
        }
        self.next_progress = now + PROGRESS_INTERVAL;
        self.shared.report(Report::ShardProgress {
            shard: &self.shard,
            last_read_created: self.last_read_created,
            oldest_unfinished: self.window.oldest().and_then(|unfinished| unfinished.record.created),
            unfinished: self.window.len(),
            is_caught_up,
            caught_up: self.caught_up,
            failing_since: self.polling.failing_since(),
        });
    }

    fn gap_stored(&mut self, stored: Result<(), String>, now: Instant) {
        match (stored, &self.gap) {
            (Err(error), Some(gap)) => {
                self.shared.report(Report::GapNotStored { gap, error: &error });
                self.gap_failures += 1;
                let retries = &self.shared.settings.retries;
                let random = self.shared.random();
                self.next_gap = now + backoff(retries.first_delay, retries.max_delay, self.gap_failures, random);
            }
            _ => {
                self.gap = None;
                self.gap_failures = 0;
            }
        }
    }

    /// Takes the result of a read.
    fn read(&mut self, read: Read<S::Data>, now: Instant) {
        let Read { iterator, result } = read;
        let is_of_iterator = iterator.is_none();
        if !is_of_iterator {
            self.missing = None;
        }
        let (page, mut reserved) = match result {
            Ok(page) => page,
            Err(error) => {
                self.iterator = iterator;
                return self.read_failed(&error, is_of_iterator, now);
            }
        };
        self.unreadable_since = None;
        self.shared.note_read(now);
        let records = page.records.len();
        let bytes: usize = page.records.iter().map(|record| record.bytes).sum();
        let newest = page.records.last().and_then(|record| record.created);
        let is_full = records >= reserved.records() || bytes >= self.shared.settings.page_bytes / 4;
        for record in page.records {
            self.position.advance(record.sequence_number.clone());
            let entry = reserved.split(0, ENTRY_BYTES);
            if self.position.skips(record.created) {
                self.window.push_skipped(record.sequence_number, entry);
                continue;
            }
            let (number, key) = (record.sequence_number.clone(), record.key);
            let memory = reserved.split(1, record.bytes);
            self.window.push(number, key, Arc::new(Unfinished { record, _memory: memory }), entry);
        }
        self.next_read = now + self.polling.after_page(records, is_full);
        self.iterator = page.next;
        if self.iterator.is_none() {
            self.phase = Phase::Ending { children: None };
        }
        self.last_read_created = newest.or(self.last_read_created);
        self.shared.report(Report::PageRead { shard: &self.shard, records, bytes, newest });
    }

    fn read_failed(&mut self, error: &StreamError, is_of_iterator: bool, now: Instant) {
        self.shared.report(Report::StreamFailed { shard: Some(&self.shard), error });
        if error.kind != StreamErrorKind::Throttled {
            self.unreadable_since.get_or_insert(now);
        }
        let after = self.position.before_gap();
        let recovery = self.position.recover(error.kind, is_of_iterator);
        if recovery == Recovery::Missing {
            // All instances get this answer. A release would only begin the time until the shard is gone again.
            self.unreadable_since = None;
        }
        match recovery {
            Recovery::Wait => {}
            Recovery::Renew => self.iterator = None,
            Recovery::Gap => {
                self.iterator = None;
                self.begin_gap(after, GapCause::Trimmed, now);
            }
            Recovery::Missing if self.is_gone(now) => {
                self.phase = Phase::Ending { children: None };
                self.begin_gap(after, GapCause::ShardGone, now);
            }
            Recovery::Missing => {}
        }
        self.next_read = now + self.polling.after_failure(now, self.shared.random());
    }

    /// Notes that the stream denies the shard, and returns whether it does so for long enough and in its listings, too.
    fn is_gone(&mut self, now: Instant) -> bool {
        let listed = self.shared.listed();
        let missing = *self.missing.get_or_insert(Missing::new(now, listed.listings));
        missing.is_gone(now, self.shared.settings.missing_timeout, listed.listings, listed.shards.contains(&self.shard))
    }

    fn begin_gap(&mut self, after: Checkpoint, cause: GapCause, now: Instant) {
        let mut gap = self.shared.gap(&self.shard, after, cause);
        gap.last_created = self.last_read_created;
        self.shared.report(Report::Gap(&gap));
        self.gap = Some(gap);
        self.next_gap = now;
    }

    /// Takes the end of an attempt.
    fn ended(&mut self, index: Index, ended: Ended, now: Instant) {
        let number = match &ended {
            // Nothing is reported of most records.
            Ended::Handled(Outcome::Done) => None,
            _ => self.window.sequence_number(index).cloned(),
        };
        let decision = self.window.end(index, ended, now, self.shared.random());
        let (Some(sequence_number), shard) = (&number, &self.shard) else { return };
        self.shared.report(match &decision {
            Decision::Finished | Decision::StoreDead => return,
            Decision::Retry { delay, attempt, reason } => {
                Report::RecordRetried { shard, sequence_number, attempt: *attempt, reason, delay: *delay }
            }
            Decision::Unavailable { delay, reason } => {
                Report::HandlerUnavailable { shard, sequence_number, reason, delay: *delay }
            }
            Decision::DeadFinished { attempts, reason } => {
                Report::RecordDead { shard, sequence_number, attempts: *attempts, reason }
            }
            Decision::DeadLetterFailed { error } => Report::DeadLetterFailed { shard, sequence_number, error },
        });
    }
}

/// Waits for the next event. Answers of the lease table come first, because they may end the session.
async fn next_event<D>(in_flight: &mut InFlight<D>, stop: &mut watch::Receiver<bool>, wake: Instant) -> Event<D> {
    let InFlight { write, read, children, gap, tasks } = in_flight;
    let is_stopping = *stop.borrow_and_update();
    tokio::select! {
        biased;
        updated = finish(write) => Event::Written(updated),
        Some((index, ended)) = tasks.next(), if !tasks.is_empty() => Event::Ended(index, ended),
        done = finish(read) => Event::Read(done),
        found = finish(children) => Event::Children(found),
        stored = finish(gap) => Event::GapStored(stored),
        changed = stop.changed(), if !is_stopping => {
            if changed.is_err() {
                // The reader is gone, and its tasks with it.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Event::Time
        }
        () = sleep_until(wake) => Event::Time,
    }
}

/// Waits for a request, and clears it. Without a request, this waits for ever.
async fn finish<F: Future + Unpin>(request: &mut Option<F>) -> F::Output {
    let Some(future) = request else { return pending().await };
    let output = future.await;
    *request = None;
    output
}
