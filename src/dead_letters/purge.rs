//! `mini-scan dead-letters purge`: deletes dead letters for good. Acks only selected ones, and none that the operator
//! has not confirmed.

use std::io::Write;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::dead_letter::DeadLetter;
use super::reader::{Closed, Lease, Leased, MAX_IN_FLIGHT, Reader, Seen};
use super::report::{End, Left, Report, Verb};
use super::{LONG_IDLE_TIMEOUT, Outcome, Selection, Subscription, now};
use crate::service::SetupError;

/// The most dead letters that one question is about. They stay leased until the answer.
pub const MAX_CONFIRMED: usize = 10_000;

/// What to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    pub from: Subscription,
    pub select: Selection,
    pub limit: Option<NonZeroUsize>,
    pub dry_run: bool,
    /// Deletes without a question.
    pub is_confirmed: bool,
}

/// Deletes dead letters and reports the results to `out`.
///
/// Unless the task is confirmed or a dry run, it asks `confirm` once, with the number of selected dead letters. It
/// deletes these only if the answer is true.
pub async fn purge(
    task: &Purge,
    stop: impl Future<Output = ()>,
    confirm: impl AsyncFnOnce(usize) -> bool,
    out: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let mut stop = pin!(stop);
    let open = async {
        let details = task.from.details().await?;
        let reader = Reader::open(&details.connection, &task.from.name).await;
        let reader = reader.map_err(|problem| task.from.setup_error(&problem))?;
        Ok((reader, task.from.idle_timeout(LONG_IDLE_TIMEOUT, details.minimum_backoff)))
    };
    let (reader, idle) = tokio::select! {
        biased;
        () = &mut stop => return Err(SetupError("stopped before the first dead letter was read".to_owned())),
        opened = open => opened?,
    };
    let mut run = Run::new(task, reader);
    let mut end = run.read(idle, stop.as_mut()).await;
    if matches!(end, Ok(End::Idle(_) | End::Repeated(_) | End::Limit(_))) && !run.selected.is_empty() {
        end = run.ask(end, stop, confirm, out).await;
    }
    let (report, closed) = run.close().await;
    let verb = if task.dry_run { Verb::WouldPurge } else { Verb::Purge };
    report.finish(verb, end, closed, out)
}

struct Run<'a> {
    task: &'a Purge,
    reader: Reader,
    now: SystemTime,
    limit: usize,
    /// The number of selected dead letters.
    matched: usize,
    seen: Seen,
    /// The dead letters that wait for the answer.
    selected: Vec<(DeadLetter, Lease)>,
    report: Report,
}

impl Run<'_> {
    fn new(task: &Purge, reader: Reader) -> Run<'_> {
        let most = if task.dry_run || task.is_confirmed { usize::MAX } else { MAX_CONFIRMED };
        let limit = task.limit.map_or(most, |limit| limit.get().min(most));
        Run {
            task,
            reader,
            now: now(),
            limit,
            matched: 0,
            seen: Seen::default(),
            selected: Vec::new(),
            report: Report::default(),
        }
    }

    /// Reads dead letters until the run ends. If the task is confirmed, also deletes the selected ones.
    async fn read(&mut self, idle: Duration, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<End, SetupError> {
        let mut in_flight = FuturesUnordered::new();
        let mut last = Instant::now();
        let end = loop {
            if self.matched >= self.limit {
                break Ok(End::Limit(self.limit));
            }
            if let Err(problem) = self.reader.make_room().await {
                break Err(self.task.from.setup_error(&problem));
            }
            tokio::select! {
                biased;
                () = &mut stop => break Ok(End::Stopped),
                Some(deleted) = in_flight.next() => self.record(deleted),
                leased = self.reader.next(true), if in_flight.len() < MAX_IN_FLIGHT.messages => match leased {
                    Ok(leased) => in_flight.extend(self.receive(leased)),
                    Err(problem) => break Err(self.task.from.setup_error(&problem)),
                },
                () = sleep_until(last + idle), if in_flight.is_empty() => break Ok(self.reader.idle_end(last, idle)),
            }
            last = Instant::now();
        };
        while let Some(deleted) = in_flight.next().await {
            self.record(deleted);
        }
        end
    }

    /// Leaves a dead letter, selects it for the question, or starts to delete it.
    fn receive(&mut self, Leased { envelope, lease }: Leased) -> Option<impl Future<Output = Deleted> + use<>> {
        let dead_letter = DeadLetter::read(&envelope);
        if let Some(why) = self.task.select.excludes(&dead_letter, self.now) {
            self.report.left(Left::NotSelected(why));
            self.reader.leave(&dead_letter.message_id, lease);
            return None;
        }
        // Pub/Sub may deliver a dead letter twice, for example after a lost ack.
        let is_new = self.seen.insert(&dead_letter.message_id);
        self.matched += usize::from(is_new);
        if self.task.is_confirmed && !self.task.dry_run {
            return Some(delete(dead_letter, lease, is_new));
        }
        if self.task.dry_run || !is_new {
            self.reader.leave(&dead_letter.message_id, lease);
            if is_new {
                self.report.purged(dead_letter.reason);
            }
            return None;
        }
        self.reader.hold(&lease);
        self.selected.push((dead_letter, lease));
        None
    }

    /// Deletes the selected dead letters if the operator confirms that. Returns how the run ends then.
    async fn ask(
        &mut self,
        end: Result<End, SetupError>,
        stop: Pin<&mut impl Future<Output = ()>>,
        confirm: impl AsyncFnOnce(usize) -> bool,
        out: &mut impl Write,
    ) -> Result<End, SetupError> {
        let mut question = Report::default();
        for (dead_letter, _) in &self.selected {
            question.purged(dead_letter.reason.clone());
        }
        let written = question.write_selected(out);
        written.map_err(SetupError::cannot_write)?;
        let is_confirmed = tokio::select! {
            biased;
            () = stop => false,
            answer = confirm(self.selected.len()) => answer,
        };
        if !is_confirmed {
            return Ok(End::Declined);
        }
        self.delete_selected().await;
        end
    }

    /// Deletes the dead letters that the question was about.
    async fn delete_selected(&mut self) {
        let now = Instant::now();
        let (valid, expired): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.selected).into_iter().partition(|(_, lease)| lease.is_valid(now));
        for (dead_letter, lease) in expired {
            self.report.left(Left::LeaseEnded);
            self.reader.leave(&dead_letter.message_id, lease);
        }
        let deletions = valid.into_iter().map(|(dead_letter, lease)| delete(dead_letter, lease, true));
        let mut deleted = futures_util::stream::iter(deletions).buffer_unordered(MAX_IN_FLIGHT.messages);
        while let Some(deleted) = deleted.next().await {
            self.record(deleted);
        }
    }

    fn record(&mut self, Deleted { reason, is_new, is_acked }: Deleted) {
        match is_acked {
            _ if !is_new => {}
            true => self.report.purged(reason),
            false => self.report.left(Left::NotAcked),
        }
    }

    /// Releases the dead letters that are left.
    async fn close(mut self) -> (Report, Closed) {
        for (dead_letter, lease) in std::mem::take(&mut self.selected) {
            self.report.left(Left::NotConfirmed);
            self.reader.leave(&dead_letter.message_id, lease);
        }
        (self.report, self.reader.close().await)
    }
}

/// The result of deleting one dead letter.
struct Deleted {
    reason: String,
    /// The run has not deleted it before.
    is_new: bool,
    is_acked: bool,
}

async fn delete(dead_letter: DeadLetter, lease: Lease, is_new: bool) -> Deleted {
    Deleted { reason: dead_letter.reason, is_new, is_acked: lease.ack().await }
}
