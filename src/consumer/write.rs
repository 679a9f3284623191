//! The write of one scan: attempts with full jitter between them, until the store has answered or the receipt has
//! reached its age. Settles nothing: what follows from the result is for the message to do.

pub mod batch;
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
use super::ports::{Operation, Ports, Put, ReceiptOf, Store, StoreError, StoreErrorKind, Stored, Verb};
use super::process::Process;
use super::settings::ATTEMPT_TIMEOUT;
use crate::scan::Scan;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// A hot key's partition recovers within a second or two, and nobody else waits for it.
const LONGEST_HOT_KEY_BACKOFF: Duration = Duration::from_secs(2);

/// How long a throttled write keeps its turn. Less than a step of the write limit, or each step would begin without
/// throttling and end with it, and the limit would only grow.
const THROTTLED_PAUSE: Duration = Duration::from_millis(50);
/// The table's own limit of writes in flight paces what it throttles, so nobody waits long beside it.
const LONGEST_THROTTLED_BACKOFF: Duration = Duration::from_secs(1);

/// How a write ended.
#[derive(Debug)]
pub(crate) enum Write {
    /// With a proof where the store answered that the record is as new.
    Settled {
        outcome: Outcome,
        proof: Option<Proof>,
    },
    Refused(StoreError),
}

impl Write {
    pub(crate) fn proof(&self) -> Option<Proof> {
        match self {
            Write::Settled { proof, .. } => *proof,
            Write::Refused(_) => None,
        }
    }

    /// Whether the message is parked, or its dead letter on its way, for a while yet.
    pub(crate) fn settles_later(&self) -> bool {
        matches!(self, Write::Refused(_) | Write::Settled { outcome: Outcome::Rejected(_), .. })
    }
}

/// Where the next attempt is made.
enum Place<'a> {
    Alone(WritePermit<'a>),
    In(&'a Batches),
}

/// The end of a write at its age, after the last error that it met.
fn given_up(failed: Option<StoreError>) -> Write {
    let error = failed.unwrap_or_else(|| {
        let detail = "no turn to write came".to_owned();
        StoreError { kind: StoreErrorKind::Unavailable, detail }
    });
    Write::Settled { outcome: Outcome::Deferred(error), proof: None }
}

/// The most that is waited before the attempt after `attempts`: doubled each time.
fn longest_backoff(kind: StoreErrorKind, attempts: u32) -> Duration {
    let cap = match policy(kind) {
        Policy::DelayKey => LONGEST_HOT_KEY_BACKOFF,
        Policy::SlowDown => LONGEST_THROTTLED_BACKOFF,
        Policy::Retry | Policy::NeedsFix | Policy::Park | Policy::DeadLetter => LONGEST_BACKOFF,
    };
    cap.min(FIRST_BACKOFF * 2u32.saturating_pow(attempts.saturating_sub(1).min(16)))
}

/// What a worker writes with.
pub(crate) struct Writes<'a, P: Ports> {
    pub(crate) process: &'a Process,
    pub(crate) keys: &'a Keys<ReceiptOf<P>>,
    pub(crate) store: &'a P::Store,
    /// Absent where each write goes by itself.
    pub(crate) batches: Option<&'a Batches>,
    pub(crate) random: &'a RefCell<StdRng>,
}

impl<P: Ports> Writes<'_, P> {
    /// Writes the newest scan of a key until the store has answered, the item is refused, or its receipt has reached its
    /// age. A scan that arrives before the next attempt takes the place of an older one, with its attempts.
    pub(crate) async fn write(
        &self,
        mut job: Job<ReceiptOf<P>>,
        writer: &Writer<'_, ReceiptOf<P>>,
    ) -> (Job<ReceiptOf<P>>, Write) {
        let process = self.process;
        let mut failed: Option<StoreError> = None;
        let mut backoff = Duration::ZERO;
        let mut attempts = 0;
        // The timestamp of a scan that may have been written by an attempt without an answer.
        let mut unanswered = None;
        loop {
            attempts += 1;
            let next_turn = async {
                if attempts > 1 {
                    process.store_breaker.sleep(backoff).await;
                }
                // That of a batch is taken by its call.
                match self.batches {
                    Some(batches) => Place::In(batches),
                    None => Place::Alone(process.turn().await),
                }
            };
            let place = match timeout_at(job.message.claim.deadline, next_turn).await {
                Ok(place) if Instant::now() < job.message.claim.deadline => place,
                _ => return (job, given_up(failed)),
            };
            // What goes into a batch at once was the newest just now.
            if attempts > 1 || matches!(place, Place::Alone(_)) {
                job = writer.newest(job);
            }
            if let Some(error) = &failed {
                process.observer.retried(error.kind);
            }
            let generation = self.keys.generation();
            let result = match place {
                Place::Alone(turn) => Some(self.attempt(&job.scan, &job.message.claim, turn).await),
                Place::In(batches) => {
                    let verb = writer.has_record().then_some(Verb::Update);
                    self.attempt_in(batches, &job.scan, verb, &job.message.claim).await
                }
            };
            let Some(mut result) = result else { return (job, given_up(failed)) };
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
            backoff = self.random.borrow_mut().random_range(Duration::ZERO..=longest_backoff(error.kind, attempts));
            failed = Some(error);
        }
    }

    /// One attempt among others, first with this verb if one is known to fit; none if it was not sent by the deadline.
    async fn attempt_in(
        &self,
        batches: &Batches,
        scan: &Arc<Scan>,
        mut verb: Option<Verb>,
        claim: &Claim<ReceiptOf<P>>,
    ) -> Option<Result<Put, StoreError>> {
        let observer = &self.process.observer;
        // The one and the other; a record that comes and goes in between is for the write that knows both cases.
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
        let turn = timeout_at(claim.deadline, self.process.turn()).await.ok()?;
        Some(self.attempt(scan, claim, turn).await)
    }

    /// One attempt by itself, with its turn held to the end.
    async fn attempt(
        &self,
        scan: &Scan,
        claim: &Claim<ReceiptOf<P>>,
        _turn: WritePermit<'_>,
    ) -> Result<Put, StoreError> {
        let process = self.process;
        let span = process.observer.attempt_span(&claim.span, Operation::Put);
        let began = Instant::now();
        let sent = process.refusals.tick();
        let result = match timeout(ATTEMPT_TIMEOUT, self.store.put(scan).instrument(span.clone())).await {
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
                process.store_took();
                if *put == Put::Stored {
                    process.stored(sent, &scan.key);
                }
            }
            Err(error) => {
                if error.kind == StoreErrorKind::MissingTable {
                    // There may be another in its place later.
                    self.keys.forget();
                }
                process.store_failed(error);
                // A table may refuse faster than it writes: with its turn free at once, the next would be refused as soon.
                if error.kind == StoreErrorKind::Throttled {
                    sleep(THROTTLED_PAUSE).await;
                }
            }
        }
        result
    }
}
