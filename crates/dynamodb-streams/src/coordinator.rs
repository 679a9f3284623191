//! The coordinator: lists the shards, scans the lease table, carries out the plans, and starts a session for each lease.

mod operations;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::lease::{Checkpoint, Lease, Owner};
use crate::lineage::{Lineage, Started};
use crate::ports::{Handler, LeaseError, LeaseTable, Listing, Report, Stream, StreamError, StreamErrorKind, Updated};
use crate::reader::Ended;
use crate::session::{Session, SessionEnd};
use crate::settings::backoff;
use crate::shard::{Shard, ShardId};
use crate::shared::{Listed, Shared};
use crate::sightings::{Rows, Sightings};

/// The most requests in flight, so that a stream with many shards does not throttle itself.
const MAX_REQUESTS: usize = 16;
/// The most of them that create rows, because these may search the oldest record for a minute.
const MAX_CREATIONS: usize = 8;
/// How soon a listing or a scan is repeated that is needed now.
const SOON: Duration = Duration::from_millis(150);
/// The time between two requests for a shard that this instance cannot read.
const UNREADABLE_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct Coordinator<S, T, H> {
    shared: Arc<Shared<S, T, H>>,
    random: StdRng,
    lineage: Lineage,
    sightings: Sightings,
    rows: Rows,
    started: Option<Started>,
    sessions: JoinSet<(ShardId, SessionEnd)>,
    owned: BTreeSet<ShardId>,
    /// Requests that wait, and those in flight. A subject has at most one.
    waiting: VecDeque<BoxFuture<'static, Answer>>,
    waiting_creations: VecDeque<BoxFuture<'static, Answer>>,
    creations: usize,
    in_flight: FuturesUnordered<BoxFuture<'static, Answer>>,
    subjects: BTreeSet<Subject>,
    next_scan: Instant,
    next_page: Instant,
    page_after: Option<ShardId>,
    listing_failures: u32,
    listings_without_children: u32,
    is_enabled: bool,
    /// How many complete listings showed that the stream is disabled.
    disabled_listings: u32,
    /// Leases that this instance is taking.
    taking: BTreeSet<ShardId>,
    /// Shards that this instance cannot read.
    unreadable: BTreeSet<ShardId>,
    next_unreadable: Instant,
    /// Something changed since the last plan.
    is_changed: bool,
    stop: watch::Receiver<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Scan,
    Listing,
    Start,
    Probe(ShardId),
    Children(ShardId),
    Readable(ShardId),
    Row(ShardId),
}

/// The answer of a request.
enum Answer {
    Scanned(Result<Vec<Lease>, LeaseError>),
    Listed(Result<Listing, StreamError>),
    StartWritten(Result<Updated, LeaseError>),
    Probed(ShardId, Result<(), StreamError>),
    /// The children of a shard, as far as the stream shows them.
    Described(ShardId, Vec<Shard>),
    /// Whether a shard that this instance could not read is readable again.
    Readable(ShardId, bool),
    Created(ShardId, Result<Updated, LeaseError>),
    /// It is unknown whether the start of the shard is trimmed, so no row was created.
    NotCreated(ShardId, StreamError),
    Taken {
        shard: ShardId,
        from: Option<Owner>,
        /// The former owner may still handle records.
        is_forced: bool,
        sent: Instant,
        result: Result<Updated, LeaseError>,
    },
    Asked {
        shard: ShardId,
        owner: Owner,
        result: Result<Updated, LeaseError>,
    },
    Deleted(ShardId, Result<Updated, LeaseError>),
}

enum Event {
    Answer(Answer),
    SessionEnded(ShardId, SessionEnd),
    Time,
}

impl<S: Stream, T: LeaseTable, H: Handler<S::Data>> Coordinator<S, T, H> {
    pub(crate) fn new(shared: Arc<Shared<S, T, H>>, stop: watch::Receiver<bool>) -> Coordinator<S, T, H> {
        let settings = &shared.settings;
        let (failover, handover) = (settings.failover, settings.handover_timeout);
        let now = Instant::now();
        Coordinator {
            random: shared.fork_random(),
            lineage: Lineage::new(settings.missing_timeout),
            sightings: Sightings::new(shared.me.clone(), failover, handover, settings.max_handovers),
            rows: BTreeMap::new(),
            started: None,
            sessions: JoinSet::new(),
            owned: BTreeSet::new(),
            waiting: VecDeque::new(),
            waiting_creations: VecDeque::new(),
            creations: 0,
            in_flight: FuturesUnordered::new(),
            subjects: BTreeSet::new(),
            next_scan: now,
            next_page: now,
            page_after: None,
            listing_failures: 0,
            listings_without_children: 0,
            is_enabled: true,
            disabled_listings: 0,
            taking: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            next_unreadable: now,
            is_changed: false,
            stop,
            shared,
        }
    }

    /// Runs until the reader stops. Then it waits until all sessions released their leases.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            let is_stopping = *self.stop.borrow_and_update();
            let now = Instant::now();
            if is_stopping {
                self.waiting.clear();
                self.waiting_creations.clear();
                // A request in flight may still give this instance a lease, which is then released.
                if self.owned.is_empty() && self.in_flight.is_empty() {
                    return Ended::Stopped;
                }
            } else if self.is_stream_ended() {
                return Ended::StreamEnded;
            } else {
                self.start_due(now);
            }
            self.send_requests();
            let wake = self.next_wake(now);
            let event = tokio::select! {
                biased;
                Some(ended) = self.sessions.join_next(), if !self.sessions.is_empty() => match ended {
                    Ok((shard, end)) => Event::SessionEnded(shard, end),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => Event::Time,
                },
                Some(answer) = self.in_flight.next(), if !self.in_flight.is_empty() => Event::Answer(answer),
                _ = self.stop.changed(), if !is_stopping => Event::Time,
                () = sleep_until(wake), if !is_stopping => Event::Time,
            };
            match event {
                Event::Answer(answer) => {
                    self.answered(answer);
                    // One plan for all answers that came together.
                    while let Some(Some(answer)) = self.in_flight.next().now_or_never() {
                        self.answered(answer);
                    }
                }
                Event::SessionEnded(shard, end) => self.session_ended(shard, end),
                Event::Time => {}
            }
        }
    }

    fn send_requests(&mut self) {
        while self.in_flight.len() < MAX_REQUESTS
            && let Some(request) = self.waiting.pop_front()
        {
            self.in_flight.push(request);
        }
        while self.in_flight.len() < MAX_REQUESTS
            && self.creations < MAX_CREATIONS
            && let Some(request) = self.waiting_creations.pop_front()
        {
            self.creations += 1;
            self.in_flight.push(request);
        }
    }

    /// Returns whether the stream is disabled and all of its shards are finished.
    fn is_stream_ended(&self) -> bool {
        let is_finished = |id: &ShardId| self.rows.get(id).is_some_and(Lease::is_finished);
        self.disabled_listings >= 2
            && !self.rows.is_empty()
            && self.owned.is_empty()
            && self.rows.values().all(Lease::is_finished)
            && self.lineage.listed().iter().all(is_finished)
    }

    /// Returns when the next scan or page is due. One in flight is not repeated, and its answer wakes the loop.
    fn next_wake(&self, now: Instant) -> Instant {
        let due = [(Subject::Scan, self.next_scan), (Subject::Listing, self.next_page)];
        let due = due.into_iter().filter(|(subject, _)| !self.subjects.contains(subject));
        due.map(|(_, time)| time).min().unwrap_or(now + self.shared.settings.failover)
    }

    /// Starts a scan and the next page of a listing when they are due, and carries out the plans.
    fn start_due(&mut self, now: Instant) {
        if now >= self.next_scan && !self.subjects.contains(&Subject::Scan) {
            let is_waiting = self.sightings.is_waiting();
            let interval = self.shared.settings.failover / if is_waiting { 8 } else { 2 };
            self.next_scan = now + interval.mul_f64(0.75 + self.shared.random() / 4.0);
            let shared = self.shared.clone();
            self.request(Subject::Scan, operations::scan(shared));
        }
        if now >= self.next_page && !self.subjects.contains(&Subject::Listing) {
            // The answer sets the time of the next page.
            self.next_page = now + self.shared.settings.discovery_interval;
            let (shared, after) = (self.shared.clone(), self.page_after.clone());
            self.request(Subject::Listing, operations::list(shared, after));
        }
        if now >= self.next_unreadable && !self.unreadable.is_empty() {
            self.next_unreadable = now + UNREADABLE_INTERVAL;
            for shard in self.unreadable.clone() {
                self.request(Subject::Readable(shard.clone()), operations::readable(self.shared.clone(), shard));
            }
        }
        if self.is_changed {
            self.is_changed = false;
            self.carry_out_plans(now);
        }
    }

    /// Queues a request, unless its subject has one already.
    fn request(&mut self, subject: Subject, request: impl Future<Output = Answer> + Send + 'static) -> bool {
        let is_new = self.subjects.insert(subject);
        if is_new {
            self.waiting.push_back(Box::pin(request));
        }
        is_new
    }

    fn request_creation(&mut self, shard: ShardId, request: impl Future<Output = Answer> + Send + 'static) {
        if self.subjects.insert(Subject::Row(shard)) {
            self.waiting_creations.push_back(Box::pin(request));
        }
    }

    fn carry_out_plans(&mut self, now: Instant) {
        let Some(started) = self.started.clone() else { return };
        let started = Started { is_too_old: self.is_too_old(&started.checkpoint), ..started };
        let plan = self.lineage.plan(&self.rows, &started, now);
        let is_first_done = plan.create.is_empty() && plan.probe.is_empty() && self.lineage.listings() > 0;
        if is_first_done && !started.is_complete && self.lineage.is_started(&self.rows, &started) {
            self.request(Subject::Start, operations::complete_start(self.shared.clone()));
        }
        for lease in plan.create {
            let shard = lease.shard.clone();
            if !self.owned.contains(&shard) && self.sightings.may_create(&shard, !started.is_complete, now) {
                self.request_creation(shard, operations::create(self.shared.clone(), lease));
            }
        }
        for shard in plan.probe {
            self.request(Subject::Probe(shard.clone()), operations::probe(self.shared.clone(), shard));
        }
        for shard in plan.describe {
            self.request(Subject::Children(shard.clone()), operations::describe(self.shared.clone(), shard));
        }
        for shard in plan.delete {
            let row = self.rows[&shard].clone();
            self.request(Subject::Row(shard.clone()), operations::delete(self.shared.clone(), shard, row));
        }
        self.lineage.forget(&self.rows, &started);
        // An instance that can read nothing leaves all leases to others.
        if self.unreadable.is_empty() || self.shared.has_read_within(self.shared.settings.unreadable_timeout) {
            self.take_leases(now);
        }
    }

    fn take_leases(&mut self, now: Instant) {
        let owned = self.owned.union(&self.taking).cloned().collect();
        let plan = self.sightings.plan(&self.rows, &owned, &self.unreadable, now, &mut self.random);
        let taken = plan.take.into_iter().map(|shard| (shard, false));
        for (shard, is_forced) in taken.chain(plan.force.into_iter().map(|shard| (shard, true))) {
            let row = self.rows[&shard].clone();
            let take = operations::take(self.shared.clone(), shard.clone(), row, is_forced);
            if self.request(Subject::Row(shard.clone()), take) {
                self.taking.insert(shard);
            }
        }
        for (shard, owner) in plan.ask {
            let row = self.rows[&shard].clone();
            let ask = operations::ask(self.shared.clone(), shard.clone(), row, owner);
            if !self.request(Subject::Row(shard.clone()), ask) {
                self.sightings.asked(&shard, false, now);
            }
        }
    }

    /// Returns whether the stream may have deleted records after the start before anyone could read them.
    fn is_too_old(&self, start: &Checkpoint) -> bool {
        let Checkpoint::AtTimestamp(start) = start else { return false };
        *start + self.shared.stream.retention() <= (self.shared.clock)()
    }

    fn answered(&mut self, answer: Answer) {
        self.subjects.remove(&answer.subject());
        match &answer {
            Answer::Created(..) | Answer::NotCreated(..) => self.creations -= 1,
            Answer::Taken { shard, .. } => drop(self.taking.remove(shard)),
            Answer::Asked { shard, result, .. } => {
                self.sightings.asked(shard, matches!(result, Ok(Updated::Applied(_))), Instant::now());
            }
            _ => {}
        }
        match answer {
            Answer::Scanned(Ok(rows)) => self.scanned(rows),
            Answer::Listed(Ok(listing)) => self.listed(listing),
            Answer::Listed(Err(error)) => self.listing_failed(&error),
            Answer::Probed(shard, Ok(())) => self.probed(&shard, true),
            Answer::Probed(shard, Err(error)) if error.kind == StreamErrorKind::NotFound => self.probed(&shard, false),
            // The shard exists, or else there would be nothing to trim.
            Answer::Probed(shard, Err(error)) if error.kind == StreamErrorKind::Trimmed => self.probed(&shard, true),
            Answer::Probed(shard, Err(error)) | Answer::NotCreated(shard, error) => {
                self.shared.report(Report::StreamFailed { shard: Some(&shard), error: &error });
            }
            Answer::Described(_, children) => {
                self.is_changed |= !children.is_empty();
                children.into_iter().for_each(|child| self.lineage.learn(child));
            }
            Answer::Readable(shard, is_readable) => {
                if is_readable {
                    self.unreadable.remove(&shard);
                    self.is_changed = true;
                }
            }
            Answer::StartWritten(Ok(Updated::Applied(row) | Updated::Refused(Some(row)))) => self.set_start(&row),
            Answer::StartWritten(Ok(Updated::Refused(None))) => self.started = None,
            Answer::Created(shard, Ok(Updated::Applied(row))) => self.set_row(shard, Some(row)),
            Answer::Created(shard, Ok(Updated::Refused(row))) => self.set_row(shard, row),
            Answer::Taken { shard, from, is_forced, sent, result: Ok(Updated::Applied(row)) } => {
                self.taken(shard, from.as_ref(), row, is_forced, sent);
            }
            Answer::Taken { shard, result: Ok(Updated::Refused(row)), .. } => self.set_row(shard, row),
            Answer::Asked { shard, owner, result: Ok(updated) } => self.asked(shard, &owner, updated),
            Answer::Deleted(shard, Ok(Updated::Applied(_))) => self.set_row(shard, None),
            Answer::Deleted(shard, Ok(Updated::Refused(row))) => self.set_row(shard, row),
            Answer::Scanned(Err(error)) | Answer::StartWritten(Err(error)) => {
                self.shared.report(Report::LeaseTableFailed { shard: None, error: &error });
            }
            Answer::Created(shard, Err(error))
            | Answer::Taken { shard, result: Err(error), .. }
            | Answer::Asked { shard, result: Err(error), .. }
            | Answer::Deleted(shard, Err(error)) => {
                self.shared.report(Report::LeaseTableFailed { shard: Some(&shard), error: &error });
            }
        }
    }

    fn scanned(&mut self, rows: Vec<Lease>) {
        let start_key = self.shared.keys.start();
        let start = rows.iter().find(|row| row.key == start_key).cloned();
        let shard_row = |row: Lease| Some((self.shared.keys.shard_of(&row.key)?, row));
        self.rows = rows.into_iter().filter_map(shard_row).collect();
        self.sightings.note(&self.rows, Instant::now());
        match start {
            Some(row) => self.set_start(&row),
            None => {
                self.started = None;
                let is_first = self.rows.is_empty();
                let start = self.shared.settings.start.checkpoint();
                let checkpoint = if is_first { start } else { Checkpoint::TrimHorizon };
                self.request(Subject::Start, operations::write_start(self.shared.clone(), checkpoint, is_first));
            }
        }
        let finished = self.rows.values().filter(|row| row.is_finished()).count();
        let unfinished = self.rows.len() - finished;
        let unowned = self.sightings.unowned(&self.rows, Instant::now());
        let (owned, waiting) = (self.owned.len(), self.lineage.waiting(&self.rows));
        self.shared.report(Report::Leases { unfinished, finished, owned, unowned, waiting });
        self.is_changed = true;
    }

    fn set_start(&mut self, row: &Lease) {
        let (checkpoint, is_complete) = (row.checkpoint.clone(), row.counter > 0);
        self.started = Some(Started { checkpoint, is_complete, is_too_old: false });
        self.is_changed = true;
    }

    fn set_row(&mut self, shard: ShardId, row: Option<Lease>) {
        match row {
            Some(row) => drop(self.rows.insert(shard, row)),
            None => drop(self.rows.remove(&shard)),
        }
        self.is_changed = true;
    }

    fn listed(&mut self, listing: Listing) {
        self.listing_failures = 0;
        if self.is_enabled != listing.is_enabled {
            self.is_enabled = listing.is_enabled;
            self.shared.report(Report::StreamEnabled(listing.is_enabled));
        }
        let is_last = listing.next.is_none();
        self.lineage.learn_page(listing.shards, is_last);
        if is_last {
            let listed = Listed { shards: self.lineage.listed().clone(), listings: self.lineage.listings() };
            *self.shared.listed.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(listed);
        }
        self.page_after = listing.next;
        let now = Instant::now();
        self.next_page = now;
        if is_last {
            self.disabled_listings = if self.is_enabled { 0 } else { self.disabled_listings + 1 };
            let interval = self.shared.settings.discovery_interval;
            let is_incomplete = self.is_enabled && self.lineage.misses_children(&self.rows, now);
            self.listings_without_children = if is_incomplete { self.listings_without_children + 1 } else { 0 };
            self.next_page = now
                + match self.listings_without_children {
                    0 => interval,
                    listings => backoff(Duration::from_secs(1), interval, listings, self.shared.random()),
                };
        }
        self.is_changed = true;
    }

    /// Repeats the page that failed. A listing continues after a shard, which may be gone by now.
    fn listing_failed(&mut self, error: &StreamError) {
        self.shared.report(Report::StreamFailed { shard: None, error });
        if matches!(error.kind, StreamErrorKind::NotFound | StreamErrorKind::Invalid | StreamErrorKind::Trimmed) {
            self.page_after = None;
            self.lineage.restart_listing();
        }
        self.listing_failures += 1;
        let longest = Duration::from_secs(10);
        let wait = backoff(Duration::from_millis(200), longest, self.listing_failures, self.shared.random());
        self.next_page = Instant::now() + wait;
    }

    fn probed(&mut self, shard: &ShardId, is_present: bool) {
        self.lineage.probed(shard, is_present, Instant::now());
        self.is_changed = true;
    }

    fn taken(&mut self, shard: ShardId, from: Option<&Owner>, row: Lease, is_forced: bool, sent: Instant) {
        self.rows.insert(shard.clone(), row.clone());
        self.is_changed = true;
        let checkpoint = &row.checkpoint;
        self.shared.report(Report::LeaseTaken { shard: &shard, from, checkpoint });
        self.owned.insert(shard.clone());
        // The former owner renewed its lease before this write, at the latest.
        let first_read = Instant::now() + if is_forced { self.shared.settings.failover } else { Duration::ZERO };
        let session = Session::new(self.shared.clone(), shard.clone(), row, (sent, first_read), self.stop.clone());
        self.sessions.spawn(async move { (shard, session.run().await) });
    }

    fn asked(&mut self, shard: ShardId, owner: &Owner, updated: Updated) {
        match updated {
            Updated::Applied(row) => {
                self.shared.report(Report::HandoverRequested { shard: &shard, from: owner });
                self.set_row(shard, Some(row));
                self.next_scan = self.next_scan.min(Instant::now() + self.shared.settings.failover / 8);
            }
            Updated::Refused(row) => self.set_row(shard, row),
        }
    }

    fn session_ended(&mut self, shard: ShardId, end: SessionEnd) {
        self.owned.remove(&shard);
        let now = Instant::now();
        match end {
            SessionEnd::Finished(children) => {
                if let Some(row) = self.rows.get_mut(&shard) {
                    row.checkpoint = Checkpoint::ShardEnd;
                    row.owner = None;
                    row.children = children.iter().map(|child| child.id.clone()).collect();
                }
                if children.is_empty() {
                    self.next_page = self.next_page.min(now + SOON);
                }
                children.into_iter().for_each(|child| self.lineage.learn(child));
                self.is_changed = true;
            }
            // The known row is out of date. The next scan shows who owns the lease.
            SessionEnd::Released | SessionEnd::Unreadable | SessionEnd::Lost => {
                self.rows.remove(&shard);
                self.next_scan = self.next_scan.min(now + SOON);
                if matches!(end, SessionEnd::Unreadable) {
                    self.unreadable.insert(shard);
                    self.next_unreadable = now + UNREADABLE_INTERVAL;
                }
            }
        }
    }
}

impl Answer {
    fn subject(&self) -> Subject {
        match self {
            Answer::Scanned(_) => Subject::Scan,
            Answer::Listed(_) => Subject::Listing,
            Answer::StartWritten(_) => Subject::Start,
            Answer::Probed(shard, _) => Subject::Probe(shard.clone()),
            Answer::Described(shard, _) => Subject::Children(shard.clone()),
            Answer::Readable(shard, _) => Subject::Readable(shard.clone()),
            Answer::Created(shard, _)
            | Answer::NotCreated(shard, _)
            | Answer::Taken { shard, .. }
            | Answer::Asked { shard, .. }
            | Answer::Deleted(shard, _) => Subject::Row(shard.clone()),
        }
    }
}
