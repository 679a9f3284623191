//! The way of one message: decode, coalesce, write, settle. One future a message; dropping it nacks.

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join_all};
use rand::rngs::StdRng;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{info, warn};

use super::batch::Batches;
use super::cause::panic_text;
use super::claim::{Claim, Message};
use super::keys::{Admission, Job, Keys, Writer};
use super::metrics::End;
use super::outcome::{Outcome, expired_when_published};
use super::port::{Envelope, Ports, ReceiptOf, Store, StoreError};
use super::process::Process;
use super::write::Write;
use crate::scan::{self, Key, Reason, Rejection, Scan};

/// What a worker handles messages with.
pub(super) struct Pipeline<'a, P: Ports> {
    pub(super) process: &'a Process,
    pub(super) keys: &'a Keys<ReceiptOf<P>>,
    pub(super) store: &'a P::Store,
    /// Absent where each write goes by itself.
    pub(super) batches: Option<&'a Batches>,
    /// Absent without `--dead-letter-topic`.
    pub(super) letters: Option<&'a P::DeadLetters>,
    pub(super) random: RefCell<StdRng>,
}

pub(super) const A_FREE_SLOT: &str = "a free slot of --max-outstanding";
pub(super) const A_NEWER_WRITE: &str = "the write of a scan of its key that is as new";

/// A payload that was understood.
enum Decoded {
    /// With the bytes of its record.
    Scan(Scan, usize),
    Expired,
}

impl<P: Ports> Pipeline<'_, P> {
    /// Takes one message to its end, or leaves it with the write of its key. The slot is given back as soon as the
    /// message no longer counts as outstanding.
    pub(super) async fn handle(&self, mut message: Box<Message<ReceiptOf<P>>>, slot: OwnedSemaphorePermit) {
        match self.decode(&message.envelope) {
            Ok(Decoded::Scan(scan, record_bytes)) => {
                message.claim.record_bytes = record_bytes;
                if let Some(labels) = &mut message.claim.labels {
                    labels.key = Some(scan.key.clone());
                }
                match self.keys.admit(Job { scan: Arc::new(scan), message, slot }) {
                    Admission::Write(job, writer) => self.write_key(job, writer).await,
                    Admission::Known(job) => job.message.claim.settle(End::Known),
                    Admission::Parked => {}
                }
            }
            Ok(Decoded::Expired) => self.settle(Outcome::Expired, None, message, slot).await,
            Err(rejection) => self.settle(Outcome::Rejected(rejection), None, message, slot).await,
        }
    }

    fn decode(&self, envelope: &Envelope) -> Result<Decoded, Rejection> {
        let settings = &self.process.settings;
        let decode = || {
            let scan = scan::decode(&envelope.payload, envelope.publish_time, settings.max_future_skew)?;
            match settings.ttl {
                Some(ttl) if expired_when_published(&scan, ttl, envelope.publish_time) => Ok(Decoded::Expired),
                _ => self.store.measure(&scan).map(|record_bytes| Decoded::Scan(scan, record_bytes)),
            }
        };
        catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
            Err(Rejection { reason: Reason::HandlerPanicked, detail: panic_text(panic.as_ref()) })
        })
    }

    /// Writes a key until no scan of it waits.
    async fn write_key(&self, mut job: Job<ReceiptOf<P>>, mut writer: Writer<'_, ReceiptOf<P>>) {
        // Of the same key, held or with a letter on its way: what waits need not wait for them.
        let mut lasting = Vec::new();
        loop {
            let (written, write) = beside(&mut lasting, pin!(self.write(job, &writer))).await;
            let (riders, next) = writer.finish(write.proof());
            self.settle_riders(riders, &write);
            let lasts = write.lasts();
            let end = self.end(written, write);
            match next {
                None => {
                    beside(&mut lasting, pin!(end)).await;
                    break;
                }
                Some(next) if lasts => {
                    lasting.push(end.boxed_local());
                    job = next;
                }
                Some(next) => {
                    end.await;
                    job = next;
                }
            }
        }
        join_all(lasting).await;
    }

    /// Settles the scans that a write carried.
    fn settle_riders(&self, riders: Vec<Claim<ReceiptOf<P>>>, write: &Write) {
        for claim in riders {
            match write {
                Write::Settled { outcome: Outcome::Stored | Outcome::Stale, .. } => claim.settle(End::Superseded),
                Write::Settled { outcome: Outcome::Deferred(_), .. } => self.give_up_waiting(claim, A_NEWER_WRITE),
                // Refused for what was in it. Their own payloads are gone: redelivery brings them, each to be judged.
                _ => drop(claim),
            }
        }
    }

    async fn end(&self, job: Job<ReceiptOf<P>>, write: Write) {
        match write {
            Write::Settled { outcome, .. } => {
                let Job { scan, message, slot } = job;
                self.settle(outcome, Some(&scan.key), message, slot).await;
            }
            // Rare and large: in a box, so that every other message is not as large.
            Write::Refused(error) => Box::pin(self.hold_refused(job, error)).await,
        }
    }

    /// The one place where a delivery ends: ack, dead letter then ack, or nack. `place` is what the message holds
    /// meanwhile: its slot, or its place among the held.
    pub(super) async fn settle(
        &self,
        outcome: Outcome,
        key: Option<&Key>,
        message: Box<Message<ReceiptOf<P>>>,
        place: OwnedSemaphorePermit,
    ) {
        match outcome {
            Outcome::Stored => message.claim.settle(End::Stored),
            Outcome::Stale => message.claim.settle(End::Stale),
            Outcome::Expired => message.claim.settle(End::Expired),
            Outcome::Rejected(rejection) => {
                self.log_rejection(&rejection, key, &message);
                // Rare and large, as above.
                Box::pin(self.reject(rejection, message, place)).await;
            }
            Outcome::Deferred(error) => self.give_up(&error, key, *message),
        }
    }

    /// Gives back a message whose write did not come to an end: at its age, or to make room among the held.
    pub(super) fn give_up(&self, error: &StoreError, key: Option<&Key>, message: Message<ReceiptOf<P>>) {
        let Message { envelope, claim } = message;
        if let Some(suppressed) = self.process.give_up_log.due() {
            warn!(
                message_id = %envelope.message_id,
                delivery_attempt = envelope.delivery_attempt,
                scan_key = key.map(Key::as_str),
                outcome = "deferred",
                error.type = error.kind.name(),
                latency_ms = claim.age_ms(),
                suppressed,
                "given back unwritten: {error}"
            );
        }
        claim.settle(End::GivenUp);
    }

    /// Gives back a message at its age that has not come to a write of its own.
    pub(super) fn give_up_waiting(&self, claim: Claim<ReceiptOf<P>>, waiting_for: &str) {
        if let Some(suppressed) = self.process.give_up_log.due() {
            warn!(
                outcome = "deferred",
                latency_ms = claim.age_ms(),
                suppressed,
                "given back at its age while it waited for {waiting_for}"
            );
        }
        claim.settle(End::GivenUp);
    }

    fn log_rejection(&self, rejection: &Rejection, key: Option<&Key>, message: &Message<ReceiptOf<P>>) {
        let Message { envelope, claim } = message;
        self.process.metrics.rejections(rejection.reason).add_one();
        if let Some(suppressed) = self.process.rejection_logs[rejection.reason as usize].due() {
            info!(
                message_id = %envelope.message_id,
                delivery_attempt = envelope.delivery_attempt,
                scan_key = key.map(Key::as_str),
                outcome = "rejected",
                error.type = %rejection.reason,
                latency_ms = claim.age_ms(),
                suppressed,
                "rejected: {}", rejection.detail
            );
        }
    }
}

/// Polls others too until a future is done, and forgets those that end meanwhile. The future is pinned where it stands:
/// taken by value it would be in its caller twice.
async fn beside<T>(others: &mut Vec<LocalBoxFuture<'_, ()>>, mut future: Pin<&mut impl Future<Output = T>>) -> T {
    poll_fn(|context| {
        others.retain_mut(|other| other.poll_unpin(context).is_pending());
        future.as_mut().poll(context)
    })
    .await
}
