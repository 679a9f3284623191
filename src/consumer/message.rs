//! Processes one message: decodes, deduplicates, writes and settles it. The future of a message writes its key until no scan of
//! the key waits, and polls beside it those that are parked or whose dead letters are being published. Dropping a future
//! nacks its messages.

pub mod dead_letter;
mod reject;
mod settle;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use ops::panic_text;
use rand::rngs::StdRng;
use tokio::sync::OwnedSemaphorePermit;

use self::settle::Settler;
use super::dedup::{Admission, Job, Writer};
use super::delivery::{Claim, Message};
use super::policy::{Settlement, expired_when_published, is_retried, settlement};
use super::ports::{Attempt, End, Envelope, Ports, ReceiptOf, Store, StoreError};
use super::thread::Thread;
use super::write::Writes;
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
        let Thread { number, process, keys, store, batches, .. } = thread;
        let writes = Writes { thread: *number, process, keys, store, batches: batches.as_ref(), random };
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
            Ok(Decoded::Expired) => self.settler.settle(Settlement::Expired, None, message, Some(slot)).await,
            Err(rejection) => self.settler.settle(Settlement::Rejected(rejection), None, message, Some(slot)).await,
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
        // them. Without one it is not created, because even an empty one allocates.
        let mut settling: Option<FuturesUnordered<_>> = None;
        loop {
            let (written, last, proof) = {
                let mut write = pin!(self.writes.write(job, &writer));
                loop {
                    tokio::select! {
                        biased;
                        written = &mut write => break written,
                        Some(()) = next_of(&mut settling) => {}
                    }
                }
            };
            let (superseded, next) = writer.finish(proof);
            self.settle_superseded(superseded, &last);
            let takes_time = last.as_ref().is_err_and(|error| !is_retried(error.kind));
            let end = self.end(written, settlement(last));
            if takes_time {
                settling.get_or_insert_default().push(end.boxed_local());
            } else {
                end.await;
            }
            match next {
                Some(next) => job = next,
                None => break,
            }
        }
        while next_of(&mut settling).await.is_some() {}
    }

    /// Settles the messages that a write superseded.
    fn settle_superseded(&self, superseded: Vec<Claim<ReceiptOf<P>>>, last: &Attempt) {
        for claim in superseded {
            match last {
                Ok(_) => claim.settle(End::Superseded),
                Err(error) if is_retried(error.kind) => self.settler.give_up_waiting(claim, A_NEWER_WRITE),
                // The item was refused or rejected, which proves nothing about theirs. Their payloads are gone, so they
                // must be redelivered.
                Err(_) => drop(claim),
            }
        }
    }

    /// Settles a message after its write. A refused one is parked first.
    async fn end(&self, job: Job<ReceiptOf<P>>, settlement: Result<Settlement, StoreError>) {
        let Job { scan, message, slot } = job;
        let (settlement, permit) = match settlement {
            Ok(settlement) => (settlement, Some(slot)),
            Err(refused) => {
                drop(slot);
                // Boxed because it is rare and large. Otherwise the future of every message would be as large.
                Box::pin(self.writes.park(&scan, &message, refused)).await
            }
        };
        self.settler.settle(settlement, Some(&scan.key), message, permit).await;
    }
}

/// Waits for the next of the futures that ends. Returns `None` if there is none.
async fn next_of<F: Future<Output = ()>>(futures: &mut Option<FuturesUnordered<F>>) -> Option<()> {
    futures.as_mut()?.next().await
}
