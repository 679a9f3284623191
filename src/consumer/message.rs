//! Processes one message: decodes, deduplicates, writes and settles it. Each message is one future; dropping it nacks the
//! message.

pub mod dead_letter;
mod reject;
mod settle;

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join_all};
use ops::panic_text;
use rand::rngs::StdRng;
use tokio::sync::OwnedSemaphorePermit;

use self::settle::Settler;
use super::dedup::{Admission, Job, Writer};
use super::delivery::{Claim, Message};
use super::policy::{Outcome, expired_when_published};
use super::ports::{End, Envelope, Ports, ReceiptOf, Store};
use super::thread::Thread;
use super::write::refused::Parked;
use super::write::{Write, Writes};
use crate::scan::{self, Reason, Rejection, Scan};

/// Processes the messages of one worker.
pub(crate) struct Pipeline<'a, P: Ports> {
    thread: &'a Thread<'a, P>,
    writes: Writes<'a, P>,
    pub(crate) settler: Settler<'a, P::DeadLetters>,
}

pub(crate) const A_FREE_SLOT: &str = "a free slot of --max-outstanding";
pub(crate) const A_NEWER_WRITE: &str = "the write of a newer scan of its key";

/// A valid payload.
enum Decoded {
    /// With the size of its record.
    Scan(Scan, usize),
    Expired,
}

impl<'a, P: Ports> Pipeline<'a, P> {
    pub(crate) fn new(thread: &'a Thread<'a, P>, random: &'a RefCell<StdRng>) -> Pipeline<'a, P> {
        let settler = Settler::new(thread.process, thread.dead_letters.as_ref());
        let Thread { process, keys, store, batches, .. } = thread;
        let writes = Writes { process, keys, store, batches: batches.as_ref(), random };
        Pipeline { thread, writes, settler }
    }

    /// Processes a message to its end, or until the task that writes its key takes it over. Releases the slot when the message
    /// is not outstanding any more.
    pub(crate) async fn handle(&self, mut message: Box<Message<ReceiptOf<P>>>, slot: OwnedSemaphorePermit) {
        match self.decode(&message.envelope) {
            Ok(Decoded::Scan(scan, record_bytes)) => {
                message.claim.record_bytes = record_bytes;
                if let Some(labels) = &mut message.claim.labels {
                    labels.key = Some(scan.key.clone());
                }
                match self.thread.keys.admit(Job { scan: Arc::new(scan), message, slot }) {
                    Admission::Write(job, writer) => self.write_key(job, writer).await,
                    Admission::Known(job) => job.message.claim.settle(End::Known),
                    Admission::Waits => {}
                }
            }
            Ok(Decoded::Expired) => self.settler.settle(Outcome::Expired, None, message, slot).await,
            Err(rejection) => self.settler.settle(Outcome::Rejected(rejection), None, message, slot).await,
        }
    }

    fn decode(&self, envelope: &Envelope) -> Result<Decoded, Rejection> {
        let settings = &self.thread.process.settings;
        let decode = || {
            let scan = scan::decode(&envelope.payload, envelope.publish_time, settings.max_future_skew)?;
            match settings.ttl {
                Some(ttl) if expired_when_published(&scan, ttl, envelope.publish_time) => Ok(Decoded::Expired),
                _ => self.thread.store.measure(&scan).map(|record_bytes| Decoded::Scan(scan, record_bytes)),
            }
        };
        catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
            Err(Rejection { reason: Reason::HandlerPanicked, detail: panic_text(panic.as_ref()) })
        })
    }

    /// Writes scans of one key until none waits.
    async fn write_key(&self, mut job: Job<ReceiptOf<P>>, mut writer: Writer<'_, ReceiptOf<P>>) {
        // Earlier scans of the key that are parked or whose dead letters are being published. Later ones need not wait for
        // them.
        let mut settling = Vec::new();
        loop {
            let (written, write) = poll_beside(&mut settling, pin!(self.writes.write(job, &writer))).await;
            let (superseded, next) = writer.finish(write.proof());
            self.settle_superseded(superseded, &write);
            let settles_later = write.settles_later();
            let end = self.end(written, write);
            match next {
                None => {
                    poll_beside(&mut settling, pin!(end)).await;
                    break;
                }
                Some(next) if settles_later => {
                    settling.push(end.boxed_local());
                    job = next;
                }
                Some(next) => {
                    end.await;
                    job = next;
                }
            }
        }
        join_all(settling).await;
    }

    /// Settles the messages that a write superseded.
    fn settle_superseded(&self, superseded: Vec<Claim<ReceiptOf<P>>>, write: &Write) {
        for claim in superseded {
            match write {
                Write::Settled { outcome: Outcome::Stored | Outcome::Stale, .. } => claim.settle(End::Superseded),
                Write::Settled { outcome: Outcome::Deferred(_), .. } => {
                    self.settler.give_up_waiting(claim, A_NEWER_WRITE)
                }
                // The item was refused or rejected, which proves nothing about theirs. Their payloads are gone, so they
                // must be redelivered.
                _ => drop(claim),
            }
        }
    }

    async fn end(&self, job: Job<ReceiptOf<P>>, write: Write) {
        match write {
            Write::Settled { outcome, .. } => {
                let Job { scan, message, slot } = job;
                self.settler.settle(outcome, Some(&scan.key), message, slot).await;
            }
            // Boxed because it is rare and large. Otherwise the future of every message would be as large.
            Write::Refused(error) => {
                Box::pin(async {
                    let Job { scan, message, slot } = job;
                    drop(slot);
                    match self.writes.park(&scan, &message, error).await {
                        Parked::Settled(outcome, permit) => {
                            self.settler.settle(outcome, Some(&scan.key), message, permit).await
                        }
                        Parked::GivenUp(error) => self.settler.give_up(&error, Some(&scan.key), *message),
                        Parked::Released => drop(message),
                    }
                })
                .await
            }
        }
    }
}

/// Polls the others as well until the future is done, and removes those that end. The future is pinned by the caller,
/// because an argument by value would be stored twice in the caller's future.
async fn poll_beside<T>(others: &mut Vec<LocalBoxFuture<'_, ()>>, mut future: Pin<&mut impl Future<Output = T>>) -> T {
    poll_fn(|context| {
        others.retain_mut(|other| other.poll_unpin(context).is_pending());
        future.as_mut().poll(context)
    })
    .await
}
