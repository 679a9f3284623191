//! The end of a message: ack, dead letter then ack, or nack; and what is logged of it.

use tokio::sync::OwnedSemaphorePermit;
use tracing::{info, warn};

use super::reject::Rejects;
use crate::consumer::delivery::{Claim, Message};
use crate::consumer::policy::Outcome;
use crate::consumer::ports::{DeadLetters, End, Receipt, StoreError};
use crate::consumer::process::Process;
use crate::scan::{Key, Rejection};

/// What a worker settles messages with.
pub(crate) struct Settler<'a, D> {
    process: &'a Process,
    rejects: Rejects<'a, D>,
}

impl<'a, D: DeadLetters> Settler<'a, D> {
    pub(super) fn new(process: &'a Process, dead_letters: Option<&'a D>) -> Settler<'a, D> {
        Settler { process, rejects: Rejects { process, topic: dead_letters } }
    }

    /// Settles a message that came to an outcome. `permit` is what it holds meanwhile: its slot, or its parking permit.
    pub(super) async fn settle<R: Receipt>(
        &self,
        outcome: Outcome,
        key: Option<&Key>,
        message: Box<Message<R>>,
        permit: OwnedSemaphorePermit,
    ) {
        match outcome {
            Outcome::Stored => message.claim.settle(End::Stored),
            Outcome::Stale => message.claim.settle(End::Stale),
            Outcome::Expired => message.claim.settle(End::Expired),
            Outcome::Rejected(rejection) => {
                self.process.observer.rejected(rejection.reason);
                self.log_rejection(&rejection, key, &message);
                // Rare and large: in a box, so that every other message is not as large.
                Box::pin(self.rejects.reject(rejection, message, permit)).await;
            }
            Outcome::Deferred(error) => self.give_up(&error, key, *message),
        }
    }

    /// Nacks a message whose write did not come to an end: at its age, or to make room among the parked.
    pub(super) fn give_up<R: Receipt>(&self, error: &StoreError, key: Option<&Key>, message: Message<R>) {
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

    /// Nacks a message at its age that has not come to a write of its own.
    pub(crate) fn give_up_waiting<R: Receipt>(&self, claim: Claim<R>, waiting_for: &str) {
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

    fn log_rejection<R: Receipt>(&self, rejection: &Rejection, key: Option<&Key>, message: &Message<R>) {
        let Message { envelope, claim } = message;
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
