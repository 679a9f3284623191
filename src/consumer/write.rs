//! Writes one scan: attempts with full jitter between them, until the store has answered or the message reaches its deadline.
//! Does not settle messages.

pub(crate) mod batch;
pub(crate) mod describe;
pub(crate) mod refused;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::Instrument;

use self::batch::{Batches, Next};
use super::dedup::{Job, Keys, Proof, Writer};
use super::delivery::Claim;
use super::flow::WritePermit;
use super::policy::{Decision, Outcome, Policy, classify, policy};
use super::ports::{Operation, Ports, Put, ReceiptOf, Store, StoreError, StoreErrorKind, Stored, Throttle, Verb};
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

/// How a write ended.
#[derive(Debug)]
pub(crate) enum Write {
    /// With a proof if the store answered that the record is up to date.
    Settled {
        outcome: Outcome,
        proof: Option<Proof>,
    },
    Refused(StoreError),
}

impl Write {
    /// Returns what the store's answer proves.
    pub(crate) fn proof(&self) -> Option<Proof> {
        match self {
            Write::Settled { proof, .. } => *proof,
            Write::Refused(_) => None,
        }
    }

    /// Returns whether settling the message takes time: it is parked, or its dead letter is being published.
    pub(crate) fn settles_later(&self) -> bool {
        matches!(self, Write::Refused(_) | Write::Settled { outcome: Outcome::Rejected(_), .. })
    }
}

/// How the next attempt is sent.
enum Attempt<'a> {
    /// In a call of its own.
    Put(WritePermit<'a>),
    /// In a batch, which takes the permit itself.
    Batch(&'a Batches),
}

/// Returns the end of a write at its deadline, after its last error.
fn given_up(failed: Option<StoreError>) -> Write {
    let error = failed.unwrap_or_else(|| {
        let detail = "no write permit was free in time".to_owned();
        StoreError { kind: StoreErrorKind::Unavailable, detail }
    });
    Write::Settled { outcome: Outcome::Deferred(error), proof: None }
}

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
    pub(crate) process: &'a Process,
    pub(crate) keys: &'a Keys<ReceiptOf<P>>,
    pub(crate) store: &'a P::Store,
    /// `None` if each scan is written in a call of its own.
    pub(crate) batches: Option<&'a Batches>,
    pub(crate) random: &'a RefCell<StdRng>,
}

impl<P: Ports> Writes<'_, P> {
    /// Writes a scan until the store has answered, refuses the item, or the message reaches its deadline. A newer scan of the
    /// key that arrives before the next attempt replaces this one and continues with its number of attempts.
    pub(crate) async fn write(
        &self,
        mut job: Job<ReceiptOf<P>>,
        writer: &Writer<'_, ReceiptOf<P>>,
    ) -> (Job<ReceiptOf<P>>, Write) {
        let process = self.process;
        let mut failed: Option<StoreError> = None;
        let mut backoff = Duration::ZERO;
        let mut attempts = 0;
        // The timestamp of the scan in an unanswered attempt, which may have been written.
        let mut unanswered = None;
        loop {
            attempts += 1;
            let next_attempt = async {
                if attempts > 1 {
                    process.store_breaker.sleep(backoff).await;
                }
                match self.batches {
                    Some(batches) => Attempt::Batch(batches),
                    None => Attempt::Put(process.write_permit().await),
                }
            };
            let attempt = match timeout_at(job.message.claim.deadline, next_attempt).await {
                Ok(attempt) if Instant::now() < job.message.claim.deadline => attempt,
                _ => return (job, given_up(failed)),
            };
            // The first attempt in a batch does not wait before it is queued, so no newer scan can have arrived.
            if attempts > 1 || matches!(attempt, Attempt::Put(_)) {
                job = writer.newest(job);
            }
            if let Some(error) = &failed {
                process.observer.retried(error.kind);
            }
            let generation = self.keys.generation();
            let result = match attempt {
                Attempt::Put(permit) => Some(self.put(&job.scan, &job.message.claim, permit).await),
                Attempt::Batch(batches) => {
                    let verb = writer.has_record().then_some(Verb::Update);
                    self.put_in_batch(batches, &job.scan, verb, &job.message.claim).await
                }
            };
            let Some(mut result) = result else { return (job, given_up(failed)) };
            // An equal record shows that the unanswered attempt was written.
            if matches!(result, Ok(Put::Stale(Stored { is_same: true, .. })) if unanswered == Some(job.scan.timestamp))
            {
                result = Ok(Put::Stored);
            }
            let timestamp = match &result {
                Ok(Put::Stored) => Some(job.scan.timestamp),
                Ok(Put::Stale(stored)) => Some(stored.timestamp),
                Err(_) => None,
            };
            let error = match classify(result) {
                Decision::Settle(outcome) => {
                    let proof = timestamp.map(|timestamp| Proof { timestamp, generation });
                    return (job, Write::Settled { outcome, proof });
                }
                Decision::Refused(error) => return (job, Write::Refused(error)),
                Decision::Retry(error) => error,
            };
            if error.kind == StoreErrorKind::Unavailable {
                unanswered = Some(job.scan.timestamp);
            }
            backoff = self.random.borrow_mut().random_range(Duration::ZERO..=max_backoff(error.kind, attempts));
            failed = Some(error);
        }
    }

    /// Makes an attempt in a batch, first with this verb if the right one is known. Returns `None` if it was not sent before
    /// the deadline.
    async fn put_in_batch(
        &self,
        batches: &Batches,
        scan: &Arc<Scan>,
        mut verb: Option<Verb>,
        claim: &Claim<ReceiptOf<P>>,
    ) -> Option<Result<Put, StoreError>> {
        let process = self.process;
        let observer = &process.observer;
        // At most one statement per verb. If the record appears or disappears in between, a PutItem handles both cases.
        for _ in 0..2 {
            let span = observer.attempt_span(&claim.span, Operation::Batch);
            let next = batches.write(scan, verb, claim.deadline).instrument(span.clone()).await;
            if let Next::Answered(Err(error)) = &next {
                observer.attempt_failed(&span, error.kind);
            }
            match next {
                Next::Answered(result) => {
                    observer.sent(claim.record_bytes, result.as_ref().ok());
                    return Some(result);
                }
                Next::Try(other) => {
                    observer.sent_with_other_verb(claim.record_bytes);
                    verb = Some(other);
                }
                Next::Alone(_) => {
                    observer.sent(claim.record_bytes, None);
                    break;
                }
                Next::Late => return None,
            }
        }
        let permit = timeout_at(claim.deadline, process.write_permit()).await.ok()?;
        Some(self.put(scan, claim, permit).await)
    }

    /// Makes an attempt in a call of its own, and keeps the permit until its end.
    async fn put(&self, scan: &Scan, claim: &Claim<ReceiptOf<P>>, _permit: WritePermit<'_>) -> Result<Put, StoreError> {
        let Writes { process, keys, store, .. } = self;
        let span = process.observer.attempt_span(&claim.span, Operation::Put);
        let began = Instant::now();
        let sent = process.refusals.tick();
        let result = match timeout(ATTEMPT_TIMEOUT, store.put(scan).instrument(span.clone())).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::no_answer(ATTEMPT_TIMEOUT)),
        };
        let failure = result.as_ref().err().map(|error| error.kind);
        if let Some(kind) = failure {
            process.observer.attempt_failed(&span, kind);
        }
        drop(span);
        process.observer.called(Operation::Put, began.elapsed(), failure);
        process.observer.sent(claim.record_bytes, result.as_ref().ok());
        match &result {
            Ok(put) => {
                process.store_succeeded();
                process.put(sent, &scan.key, *put);
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
