//! The way of one message: decode, write, settle. One future a message; dropping it nacks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::SemaphorePermit;
use tracing::{info, warn};

use super::cause::panic_text;
use super::claim::{Claim, Message};
use super::outcome::{Outcome, expired_when_published};
use super::port::{Envelope, Ports, ReceiptOf, Store, StoreError};
use super::process::Process;
use super::write::Write;
use crate::scan::{self, Reason, Rejection, Scan};

/// What the workers of one thread handle messages with.
#[derive(Debug)]
pub(super) struct Pipeline<'a, P: Ports> {
    pub(super) process: &'a Process,
    pub(super) store: &'a P::Store,
    /// Absent without `--dead-letter-topic`.
    pub(super) letters: Option<&'a P::DeadLetters>,
}

/// A payload that was understood.
enum Decoded {
    Scan(Scan),
    Expired,
}

impl<P: Ports> Pipeline<'_, P> {
    /// Takes one message to its end. The slot is given back as soon as the message no longer counts as outstanding.
    pub(super) async fn handle(&self, message: Message<ReceiptOf<P>>, slot: SemaphorePermit<'_>) {
        let Message { envelope, claim } = message;
        match self.decode(&envelope) {
            // The coalescer and the high-water cache go here, between decode and store.
            Ok(Decoded::Scan(scan)) => match self.write(&scan, &claim).await {
                Write::Settled(outcome) => self.settle(outcome, envelope, claim, slot).await,
                Write::Refused(error) => {
                    drop(slot);
                    self.hold_refused(&scan, error, envelope, claim).await;
                }
            },
            Ok(Decoded::Expired) => self.settle(Outcome::Expired, envelope, claim, slot).await,
            Err(rejection) => self.settle(Outcome::Rejected(rejection), envelope, claim, slot).await,
        }
    }

    fn decode(&self, envelope: &Envelope) -> Result<Decoded, Rejection> {
        let settings = &self.process.settings;
        let decode = || {
            let scan = scan::decode(&envelope.payload, envelope.publish_time, settings.max_future_skew)?;
            match settings.ttl {
                Some(ttl) if expired_when_published(&scan, ttl, envelope.publish_time) => Ok(Decoded::Expired),
                _ => self.store.check(&scan).map(|()| Decoded::Scan(scan)),
            }
        };
        catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
            Err(Rejection { reason: Reason::HandlerPanicked, detail: panic_text(panic.as_ref()) })
        })
    }

    /// The one place where a delivery ends: ack, dead letter then ack, or nack. `place` is what the message holds
    /// meanwhile: its slot, or its place among the held.
    pub(super) async fn settle(
        &self,
        outcome: Outcome,
        envelope: Envelope,
        claim: Claim<ReceiptOf<P>>,
        place: SemaphorePermit<'_>,
    ) {
        let tally = &self.process.tally;
        match outcome {
            Outcome::Stored => {
                tally.stored.add_one();
                claim.ack();
            }
            Outcome::Stale => {
                tally.stale.add_one();
                claim.ack();
            }
            Outcome::Expired => {
                tally.expired.add_one();
                claim.ack();
            }
            Outcome::Rejected(rejection) => self.reject(rejection, envelope, claim, place).await,
            Outcome::Deferred(error) => self.give_up(&error, &envelope, claim),
        }
    }

    /// Gives back a message whose write did not come to an end: at its age, or to make room among the held.
    pub(super) fn give_up(&self, error: &StoreError, envelope: &Envelope, claim: Claim<ReceiptOf<P>>) {
        if let Some(not_said) = self.process.give_up_lines.due() {
            warn!(
                message_id = %envelope.message_id,
                delivery_attempt = envelope.delivery_attempt,
                outcome = "deferred",
                error.type = ?error.kind,
                latency_ms = u64::try_from(claim.received.elapsed().as_millis()).unwrap_or(u64::MAX),
                not_said,
                "given back unwritten: {error}"
            );
        }
        self.process.tally.given_up.add_one();
        claim.nack();
    }

    pub(super) fn log_rejection(&self, rejection: &Rejection, envelope: &Envelope) {
        self.process.tally.rejections(rejection.reason).add_one();
        if let Some(not_said) = self.process.rejection_lines[rejection.reason as usize].due() {
            info!(
                message_id = %envelope.message_id,
                delivery_attempt = envelope.delivery_attempt,
                outcome = "rejected",
                error.type = %rejection.reason,
                not_said,
                "rejected: {}", rejection.detail
            );
        }
    }
}
