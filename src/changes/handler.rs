//! Handles the records of the table's stream: decides what changed, updates the summary, stores the entry, then tells of it.
//!
//! The summary comes first, because its condition decides which changes are new, and numbers them. If the instance dies
//! before the entry is stored, the next one gets the record again, is refused by its own sequence number, and stores it.
//! It also tells of it again. A change before the recorded one needs no notification: its record was done first.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use dynamodb_streams::{BoxError, Checkpoint, DeadRecord, Gap, GapCause, Handler, Outcome, Record};
use futures_util::future::BoxFuture;
use ops::panic_text;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::change::{Change, Decision, Rules, Step, decide};
use super::compare::{Image, Images, bytes};
use super::entry::{Difference, Entry};
use super::health::Watch;
use super::key::Sequence;
use super::ports::{self, DeadLetter, Handled, History, Notifier, Observer, Updated};
use super::summary::Position;
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::hosts::Row;
use crate::scan::to_unix_seconds;

const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// A dead letter consists of several items.
const DEAD_LETTER_TIMEOUT: Duration = Duration::from_secs(20);
/// Larger records are compared on other threads, because leases are renewed on this one.
const INLINE_BYTES: usize = 16 << 10;
/// The budget of entries in flight, in KiB.
const BUDGET_KIB: u32 = 32 << 10;
/// How many records are compared and stored at the same time. More may wait until others are told of them.
const MAX_RECORDED: usize = 512;
/// If half of this many records are unreadable, the table is one of a newer program.
const RECENT: usize = 100;

/// Records the changes of a stream in the history.
pub struct Recorder<H> {
    history: H,
    notifier: Arc<dyn Notifier>,
    rules: Arc<Rules>,
    /// The label of the stream.
    stream: String,
    observer: Arc<dyn Observer>,
    watch: Arc<Watch>,
    recent: Mutex<Recent>,
    budget: Semaphore,
    recorded: Semaphore,
    /// One permit per core.
    threads: Semaphore,
}

/// The last records, and whether they were unreadable.
#[derive(Debug, Default)]
struct Recent(VecDeque<(Sequence, bool)>);

impl Recent {
    /// Adds a record, unless it is handled again. Returns whether half of the last ones were unreadable.
    fn add(&mut self, sequence: &Sequence, is_unreadable: bool) -> bool {
        if self.0.iter().all(|(known, _)| known != sequence) {
            self.0.push_back((sequence.clone(), is_unreadable));
            if self.0.len() > RECENT {
                self.0.pop_front();
            }
        }
        self.0.iter().filter(|(_, is_unreadable)| *is_unreadable).count() >= RECENT / 2
    }
}

impl<H: History> Recorder<H> {
    pub fn new(
        history: H,
        notifier: Arc<dyn Notifier>,
        rules: Arc<Rules>,
        stream: String,
        observer: Arc<dyn Observer>,
        watch: Arc<Watch>,
    ) -> Recorder<H> {
        let (budget, cores) = (Semaphore::new(BUDGET_KIB as usize), available_parallelism().map_or(1, usize::from));
        let (recorded, threads) = (Semaphore::new(MAX_RECORDED), Semaphore::new(cores));
        let recent = Mutex::default();
        Recorder { history, notifier, rules, stream, observer, watch, recent, budget, recorded, threads }
    }

    /// Decides what the record means. Returns the text of a panic.
    async fn decide(&self, images: &Arc<Images>, position: Position, size: usize) -> Result<Decision, String> {
        if size <= INLINE_BYTES {
            let decided = catch_unwind(AssertUnwindSafe(|| decide(images, position, &self.rules)));
            return decided.map_err(|panic| panic_text(&*panic));
        }
        let _permit = self.threads.acquire().await;
        let (images, rules) = (images.clone(), self.rules.clone());
        let decided = tokio::task::spawn_blocking(move || decide(&images, position, &rules)).await;
        decided.map_err(|error| error.try_into_panic().map_or_else(|error| error.to_string(), |it| panic_text(&*it)))
    }

    /// Records a change. Returns its entry, unless a later change was recorded after it.
    async fn store(&self, change: Change) -> Result<(Handled, Option<Entry>), StoreError> {
        let updated = self.call("UpdateItem", CALL_TIMEOUT, self.history.update(&change.update)).await?;
        match super::change::step(&change, &updated) {
            Step::Skip => Ok((Handled::Skipped, None)),
            Step::PutWithoutNumber(entry) => {
                let entry = self.put(*entry).await?;
                tracing::error!(
                    service = change.update.service.as_str(),
                    sequence = change.update.position.sequence.as_str(),
                    "the stream returned changes of a service out of order; the entry has no number"
                );
                Ok((Handled::Disordered, Some(entry)))
            }
            Step::Put { entry, lowers_first_seen, replaces } => {
                if lowers_first_seen {
                    let lower = self.history.lower_first_seen(&change.update.service, entry.key.time);
                    self.call("UpdateItem", CALL_TIMEOUT, lower).await?;
                }
                let entry = self.put(*entry).await?;
                if let Some(repair) = replaces {
                    self.call("DeleteItem", CALL_TIMEOUT, self.history.delete(&repair)).await?;
                }
                let handled = match updated {
                    Updated::Applied(_) => Handled::Recorded(change.update.event),
                    Updated::Refused(_) => Handled::Replayed,
                };
                Ok((handled, Some(entry)))
            }
        }
    }

    /// Puts an entry. If the table refuses it, puts it without its response. Returns the entry that was put.
    async fn put(&self, entry: Entry) -> Result<Entry, StoreError> {
        match self.call("PutItem", CALL_TIMEOUT, self.history.put(&entry)).await {
            Ok(()) => return Ok(entry),
            Err(error) if error.kind == StoreErrorKind::Refused => {}
            Err(error) => return Err(error),
        }
        let difference = entry.difference.map(|difference| Difference { text: None, is_cut: true, ..difference });
        let bare = Entry { is_response_dropped: entry.body.is_some(), body: None, difference, ..entry };
        self.call("PutItem", CALL_TIMEOUT, self.history.put(&bare)).await?;
        Ok(bare)
    }

    /// Makes one call of the history, and notes whether it answers.
    async fn call<T>(
        &self,
        operation: &'static str,
        within: Duration,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let result = timeout(within, call).await.unwrap_or_else(|_| Err(StoreError::no_answer(within)));
        self.observer.called(operation, began.elapsed(), result.as_ref().err());
        self.watch.called(result.as_ref().err());
        result
    }

    /// Decides what becomes of an unreadable record. A table that a newer program writes must not become dead letters.
    fn unreadable(&self, sequence: &Sequence, why: &str) -> Outcome {
        if self.note(sequence, true) {
            let reason = format!("half of the last {RECENT} records are unreadable: {why}");
            return Outcome::Unavailable { after: None, reason };
        }
        Outcome::Dead { reason: why.to_owned() }
    }

    fn note(&self, sequence: &Sequence, is_unreadable: bool) -> bool {
        let are_unreadable = self.recent.lock().unwrap_or_else(PoisonError::into_inner).add(sequence, is_unreadable);
        self.watch.rows(are_unreadable);
        are_unreadable
    }

    fn done(&self, handled: Handled) -> Outcome {
        self.observer.handled(handled);
        Outcome::Done
    }

    /// Records what a record means. Returns the notification that must end before the record is done.
    async fn record(&self, record: &Record<Arc<Images>>) -> Result<(Handled, Option<Notification<'_>>), Outcome> {
        let Some(sequence) = Sequence::parse(record.sequence_number.as_str()) else {
            let reason = "its sequence number is no number of at most 40 digits".to_owned();
            return Err(Outcome::Dead { reason });
        };
        let position = Position { stream: self.stream.clone(), sequence: sequence.clone() };
        let size = response_bytes(&record.data.old) + response_bytes(&record.data.new);
        let kib = u32::try_from(size / 1024 + 1).unwrap_or(u32::MAX).min(BUDGET_KIB);
        let _permit = self.recorded.acquire().await;
        let _budget = self.budget.acquire_many(kib).await;
        let decision = self.decide(&record.data, position, size).await;
        let decision =
            decision.map_err(|panic| Outcome::Dead { reason: format!("the comparison panicked: {panic}") })?;
        let change = match decision {
            Decision::Unreadable(why) => return Err(self.unreadable(&sequence, why)),
            Decision::Foreign => return Ok((Handled::Foreign, None)),
            Decision::Nothing => {
                self.note(&sequence, false);
                return Ok((Handled::Unchanged, None));
            }
            Decision::Store(change) => change,
        };
        self.note(&sequence, false);
        let (handled, entry) = self.store(*change).await.map_err(|error| match error.kind {
            StoreErrorKind::Refused | StoreErrorKind::ForeignRow => Outcome::Dead { reason: error.detail },
            _ => Outcome::Unavailable { after: None, reason: error.detail },
        })?;
        // The response must be gone when the budget is released.
        Ok((handled, entry.map(|entry| self.notifier.notify(entry, record.read_at))))
    }
}

type Notification<'a> = BoxFuture<'a, Result<(), StoreError>>;

impl<H: History> Handler<Arc<Images>> for Recorder<H> {
    async fn handle(&self, record: &Record<Arc<Images>>, _: u32) -> Outcome {
        let (handled, notification) = match self.record(record).await {
            Ok(recorded) => recorded,
            Err(outcome) => return outcome,
        };
        if let Some(notification) = notification
            && let Err(error) = notification.await
        {
            return Outcome::Unavailable { after: None, reason: error.detail };
        }
        self.done(handled)
    }

    async fn store_dead(&self, dead: DeadRecord<'_, Arc<Images>>) -> Result<(), BoxError> {
        let letter = DeadLetter {
            shard: dead.shard.as_str(),
            sequence: Sequence::parse(dead.record.sequence_number.as_str()).unwrap_or_else(Sequence::none),
            stream: &self.stream,
            images: &dead.record.data,
            attempts: dead.attempts,
            reason: dead.reason,
        };
        self.call("PutItem", DEAD_LETTER_TIMEOUT, self.history.put_dead(&letter)).await?;
        self.done(Handled::Dead);
        Ok(())
    }

    async fn store_gap(&self, gap: &Gap) -> Result<(), BoxError> {
        let gap = ports::Gap {
            noticed: to_unix_seconds(gap.noticed),
            stream: self.stream.clone(),
            shard: gap.shard.as_str().to_owned(),
            after: match &gap.after {
                Checkpoint::After(number) => number.to_string(),
                Checkpoint::TrimHorizon => "TRIM_HORIZON".to_owned(),
                Checkpoint::AtTimestamp(time) => format!("AT_TIMESTAMP {}", to_unix_seconds(*time)),
                Checkpoint::ShardEnd => "SHARD_END".to_owned(),
            },
            last_created: gap.last_created.map(to_unix_seconds),
            cause: match gap.cause {
                GapCause::Trimmed => "trimmed",
                GapCause::ShardGone => "shard_gone",
                _ => "other",
            },
        };
        self.call("PutItem", CALL_TIMEOUT, self.history.put_gap(&gap)).await?;
        self.observer.gap_stored();
        Ok(())
    }
}

fn response_bytes(image: &Image) -> usize {
    match image {
        Image::Row(Row { record, .. }) => bytes(record).len(),
        Image::Absent | Image::Unreadable(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_last_hundred_records_decide_whether_the_table_is_readable() {
        let (mut recent, mut numbers) = (Recent::default(), 0..);
        let mut add = |is_unreadable| recent.add(&sequence(numbers.next()), is_unreadable);
        assert!((0..49).all(|_| !add(true)));
        assert!((0..51).all(|_| !add(false)));
        assert!((0..49).all(|_| !add(true)), "older ones are forgotten");
        assert!(add(true));
        assert!((0..50).all(|_| add(false)));
        assert!(!add(false));
    }

    #[test]
    fn an_unreadable_record_that_is_handled_again_counts_once() {
        let mut recent = Recent::default();
        assert!((0..49).all(|n| !recent.add(&sequence(Some(n)), true)));
        let held = sequence(Some(49));
        assert!(recent.add(&held, true));
        for n in 50..101 {
            recent.add(&sequence(Some(n)), false);
            recent.add(&held, true);
        }
        assert!(!recent.add(&held, true), "51 readable records release it");
    }

    fn sequence(number: Option<u32>) -> Sequence {
        Sequence::parse(&number.expect("a number").to_string()).expect("a sequence number")
    }
}
