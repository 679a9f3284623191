//! Writes one scan: attempts with full jitter between them, until the store has answered or the message reaches its deadline.
//! An attempt is a PutItem, or a statement in a batch, which a PutItem follows if the result is not clear. `policy` decides
//! what follows from its result, and `message` settles the message.

pub(crate) mod batch;
pub(crate) mod describe;
pub(crate) mod refused;

use std::cell::RefCell;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::Instrument;

use self::batch::{Batches, Next};
use super::dedup::{Job, Keys, Proof, Writer};
use super::delivery::Claim;
use super::flow::WritePermit;
use super::policy::{Policy, is_retried, policy};
use super::ports::{
    Answer, Attempt, Operation, Ports, ReceiptOf, Record, Store, StoreError, StoreErrorKind, Throttle, Verb,
};
use super::process::Process;
use super::settings::ATTEMPT_TIMEOUT;
use crate::scan::Scan;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// The partition of a hot key recovers within a second or two, and no other key waits for it.
const MAX_HOT_KEY_BACKOFF: Duration = Duration::from_secs(2);

/// How long a throttled write keeps its permit. This must be shorter than the step of the write limit. Otherwise each step
/// would begin without throttling, and the limit would only grow.
const THROTTLED_PAUSE: Duration = Duration::from_millis(50);
/// The write limit already slows down writes to a throttled table, so the backoff can be short.
const MAX_THROTTLED_BACKOFF: Duration = Duration::from_secs(1);

/// Returns the upper bound of the backoff after this number of attempts. It doubles with each attempt.
fn max_backoff(kind: StoreErrorKind, attempts: u32) -> Duration {
    let cap = match policy(kind) {
        Policy::DelayKey => MAX_HOT_KEY_BACKOFF,
        Policy::SlowDown => MAX_THROTTLED_BACKOFF,
        Policy::Retry | Policy::NeedsFix | Policy::Park | Policy::DeadLetter => MAX_BACKOFF,
    };
    cap.min(FIRST_BACKOFF * 2u32.saturating_pow(attempts.saturating_sub(1).min(16)))
}

/// Writes the scans of one worker.
pub(crate) struct Writes<'a, P: Ports> {
    /// The number of the worker's thread.
    pub(crate) thread: usize,
    pub(crate) process: &'a Process,
    pub(crate) keys: &'a Keys<ReceiptOf<P>>,
    pub(crate) store: &'a P::Store,
    /// `None` if each scan is written in a call of its own.
    pub(crate) batches: Option<&'a Batches>,
    pub(crate) random: &'a RefCell<StdRng>,
}

impl<P: Ports> Writes<'_, P> {
    /// Writes a scan until the store has answered, refuses the item, or the message reaches its deadline. Returns the result of
    /// the last attempt, and what it proves. A newer scan of the key that arrives before the next attempt replaces this one and
    /// continues with its number of attempts.
    pub(crate) async fn write(
        &self,
        mut job: Job<ReceiptOf<P>>,
        writer: &Writer<'_, ReceiptOf<P>>,
    ) -> (Job<ReceiptOf<P>>, Attempt, Option<Proof>) {
        let mut failed = None;
        // The timestamp of the scan in an unanswered attempt, which may have been written.
        let mut unanswered = None;
        for attempts in 1.. {
            let generation = self.keys.generation();
            let last_kind = failed.as_ref().map(|error: &StoreError| error.kind);
            let attempt = match self.batches {
                Some(batches) => self.attempt_batch(batches, &mut job, writer, last_kind).await,
                None => self.attempt_put(&mut job, writer, last_kind).await,
            };
            let error = match attempt {
                None => break,
                Some(Err(error)) if is_retried(error.kind) => error,
                Some(Err(error)) => return (job, Err(error), None),
                Some(Ok(answer)) => {
                    let sent = job.scan.timestamp;
                    let (answer, timestamp) = match answer {
                        // An equal record shows that the unanswered attempt was written.
                        Answer::Stale(Record { is_same: true, .. }) if unanswered == Some(sent) => {
                            (Answer::Stored, sent)
                        }
                        Answer::Stale(record) => (answer, record.timestamp),
                        Answer::Stored => (answer, sent),
                    };
                    return (job, Ok(answer), Some(Proof { timestamp, generation }));
                }
            };
            if error.kind == StoreErrorKind::Unavailable {
                unanswered = Some(job.scan.timestamp);
            }
            let backoff = self.random.borrow_mut().random_range(Duration::ZERO..=max_backoff(error.kind, attempts));
            failed = Some(error);
            if timeout_at(job.message.claim.deadline, self.process.store_breaker.sleep(backoff)).await.is_err() {
                break;
            }
        }
        let no_permit =
            || StoreError { kind: StoreErrorKind::Unavailable, detail: "no write permit was free in time".to_owned() };
        (job, Err(failed.unwrap_or_else(no_permit)), None)
    }

    /// Makes an attempt in a call of its own. Returns `None` if it was not sent before the deadline. `last_kind` is the error
    /// of the last attempt.
    async fn attempt_put(
        &self,
        job: &mut Job<ReceiptOf<P>>,
        writer: &Writer<'_, ReceiptOf<P>>,
        last_kind: Option<StoreErrorKind>,
    ) -> Option<Attempt> {
        let deadline = job.message.claim.deadline;
        let permit = timeout_at(deadline, self.process.write_permit(self.thread)).await.ok()?;
        if Instant::now() >= deadline {
            return None;
        }
        writer.take_newest(job);
        last_kind.inspect(|kind| self.process.observer.retried(*kind));
        Some(self.put(&job.scan, &job.message.claim, permit).await)
    }

    /// Makes an attempt in a batch, and in a call of its own if that of the batch has no clear result. Returns `None` if it was
    /// not sent before the deadline. `last_kind` is the error of the last attempt.
    async fn attempt_batch(
        &self,
        batches: &Batches,
        job: &mut Job<ReceiptOf<P>>,
        writer: &Writer<'_, ReceiptOf<P>>,
        last_kind: Option<StoreErrorKind>,
    ) -> Option<Attempt> {
        let observer = &self.process.observer;
        // The first attempt does not wait before it is queued, so no newer scan can have arrived.
        if let Some(kind) = last_kind {
            writer.take_newest(job);
            observer.retried(kind);
        }
        let claim = &job.message.claim;
        let mut verb = writer.has_record().then_some(Verb::Update);
        // At most one statement per verb. If the record appears or disappears in between, a PutItem handles both cases.
        for _ in 0..2 {
            let span = observer.attempt_span(&claim.span, Operation::Batch);
            match batches.write(&job.scan, verb, claim.deadline).instrument(span.clone()).await? {
                Next::Done(attempt) => {
                    if let Err(error) = &attempt {
                        observer.attempt_failed(&span, error.kind);
                    }
                    observer.sent(claim.record_bytes, attempt.as_ref().ok());
                    return Some(attempt);
                }
                Next::Try(other) => {
                    observer.sent_with_other_verb(claim.record_bytes);
                    verb = Some(other);
                }
                Next::Put => {
                    observer.sent(claim.record_bytes, None);
                    break;
                }
            }
        }
        self.attempt_put(job, writer, None).await
    }

    /// Sends a PutItem, and keeps the permit until its end.
    async fn put(&self, scan: &Scan, claim: &Claim<ReceiptOf<P>>, permit: WritePermit<'_>) -> Attempt {
        let Writes { process, keys, store, .. } = self;
        let span = process.observer.attempt_span(&claim.span, Operation::Put);
        let began = Instant::now();
        let sent = process.refusals.tick();
        let result = timeout(ATTEMPT_TIMEOUT, store.put(scan).instrument(span.clone())).await;
        let result = result.unwrap_or_else(|_| Err(process.write_timed_out(&permit)));
        let failure = result.as_ref().err().map(|error| error.kind);
        if let Some(kind) = failure {
            process.observer.attempt_failed(&span, kind);
        }
        drop(span);
        process.observer.called(Operation::Put, began.elapsed(), failure);
        process.observer.sent(claim.record_bytes, result.as_ref().ok());
        match &result {
            Ok(answer) => {
                process.store_succeeded();
                process.write_answered(sent, &scan.key, *answer);
            }
            Err(error) => {
                if error.kind == StoreErrorKind::MissingTable {
                    // Another table may be created later.
                    keys.clear_cache();
                }
                let throttle = process.store_failed(error, &scan.key);
                // A table may throttle faster than it writes. If the permit were free at once, the next write would be
                // throttled just as fast.
                if throttle.is_some_and(Throttle::lowers_limit) {
                    sleep(THROTTLED_PAUSE).await;
                }
            }
        }
        result
    }
}
