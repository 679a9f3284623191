//! Settles a message: acks it, publishes its dead letter and then acks it, or nacks it. Logs what an operator must know.

use tokio::sync::OwnedSemaphorePermit;
use tracing::{info, warn};

use super::reject::Rejects;
use crate::consumer::delivery::{Claim, Message};
use crate::consumer::policy::Settlement;
use crate::consumer::ports::{DeadLetters, End, Receipt, StoreError};
use crate::consumer::process::Process;
use crate::scan::{Key, Rejection};

/// Settles the messages of one worker.
pub(crate) struct Settler<'a, D> {
    process: &'a Process,
    rejects: Rejects<'a, D>,
}

impl<'a, D: DeadLetters> Settler<'a, D> {
    pub(super) fn new(process: &'a Process, dead_letters: Option<&'a D>) -> Settler<'a, D> {
        Settler { process, rejects: Rejects { process, topic: dead_letters } }
    }

    /// Settles a message. `permit` is its slot or its parking permit, if it has one; it is released when the message is settled.
    pub(super) async fn settle<R: Receipt>(
        &self,
        settlement: Settlement,
        key: Option<&Key>,
        message: Box<Message<R>>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        match settlement {
            Settlement::Stored => message.claim.settle(End::Stored),
            Settlement::Stale => message.claim.settle(End::Stale),
            Settlement::Expired => message.claim.settle(End::Expired),
            Settlement::Rejected(rejection) => {
                self.process.observer.rejected(rejection.reason);
                self.log_rejection(&rejection, key, &message);
                // Boxed because it is rare and large. Otherwise the future of every message would be as large.
                Box::pin(self.rejects.reject(rejection, message, permit)).await;
            }
            Settlement::GivenUp(error) => self.give_up(&error, key, *message),
            Settlement::Released => drop(message),
        }
    }

    /// Nacks a message whose write did not finish, at its deadline or because the parking lot is full.
    fn give_up<R: Receipt>(&self, error: &StoreError, key: Option<&Key>, message: Message<R>) {
        let Message { envelope, claim } = message;
        if let Some(suppressed) = self.process.logs.given_up.due() {
            warn!(
                message_id = %envelope.message_id,
                delivery_attempt = envelope.delivery_attempt,
                scan_key = key.map(Key::as_str),
                outcome = "given_up",
                error.type = error.kind.name(),
                %error,
                latency_ms = claim.age_ms(),
                suppressed,
                "message nacked because its write did not finish"
            );
        }
        claim.settle(End::GivenUp);
    }

    /// Nacks a message at its deadline that waited and was not written.
    pub(crate) fn give_up_waiting<R: Receipt>(&self, claim: Claim<R>, waiting_for: &str) {
        if let Some(suppressed) = self.process.logs.given_up.due() {
            warn!(
                outcome = "given_up",
                waiting_for,
                latency_ms = claim.age_ms(),
                suppressed,
                "message nacked after --max-retry-time while it waited"
            );
        }
        claim.settle(End::GivenUp);
    }

    fn log_rejection<R: Receipt>(&self, rejection: &Rejection, key: Option<&Key>, message: &Message<R>) {
        let Message { envelope, claim } = message;
        if let Some(suppressed) = self.process.logs.rejected[rejection.reason as usize].due() {
            info!(
                message_id = %envelope.message_id,
                delivery_attempt = envelope.delivery_attempt,
                scan_key = key.map(Key::as_str),
                outcome = "rejected",
                error.type = %rejection.reason,
                detail = rejection.detail,
                latency_ms = claim.age_ms(),
                suppressed,
                "message rejected"
            );
        }
    }
}
