//! The way of a rejected message: dead letter then ack, or held within its own bound and given back.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::claim::Message;
use super::dead_letter;
use super::metrics::End;
use super::pipeline::Pipeline;
use super::port::{DeadLetter, DeadLetterError, DeadLetters, Envelope, Ports, ReceiptOf};
use crate::scan::Rejection;

/// One attempt to publish a letter is given up after this long, and counts as unavailable.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a letter was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unpublished {
    /// The topic cannot be reached: it is tried again once it answers.
    Unavailable,
    /// The topic refuses it even bare.
    Refused,
}

impl<P: Ports> Pipeline<'_, P> {
    /// Publishes the dead letter and acks; where that cannot be, holds the message among the held.
    pub(super) async fn reject(
        &self,
        rejection: Rejection,
        message: Box<Message<ReceiptOf<P>>>,
        place: OwnedSemaphorePermit,
    ) {
        let mut is_refused = false;
        if let Some(letters) = self.letters
            && !self.process.dead_letter_breaker.is_open()
        {
            match self.publish(letters, &rejection, &message.envelope).await {
                Ok(()) => return message.claim.settle(End::DeadLettered(rejection.reason)),
                Err(unpublished) => is_refused = unpublished == Unpublished::Refused,
            }
        }
        drop(place);
        let Some(_place) = self.process.parked.try_permit() else {
            return message.claim.settle(End::DeadLetterFailed(rejection.reason));
        };
        // A letter that was refused is refused again: only its redelivery tries it anew.
        let letters = self.letters.filter(|_| !is_refused);
        self.hold_rejected(letters, rejection, message).await;
    }

    /// Holds a rejected message until its letter is published or its delay is over.
    async fn hold_rejected(
        &self,
        mut letters: Option<&P::DeadLetters>,
        rejection: Rejection,
        message: Box<Message<ReceiptOf<P>>>,
    ) {
        let Message { envelope, claim } = &*message;
        let until = claim.deadline.min(Instant::now() + self.process.parked.delay(envelope));
        loop {
            let turn = async {
                match letters {
                    Some(letters) => {
                        self.process.dead_letter_breaker.pass().await;
                        letters
                    }
                    None => std::future::pending().await,
                }
            };
            let topic = tokio::select! {
                biased;
                () = self.process.drain.requested() => break,
                () = sleep_until(until) => break,
                topic = turn => topic,
            };
            match self.publish(topic, &rejection, &message.envelope).await {
                Ok(()) => return message.claim.settle(End::DeadLettered(rejection.reason)),
                Err(Unpublished::Refused) => letters = None,
                Err(Unpublished::Unavailable) => {}
            }
        }
        message.claim.settle(End::DeadLetterFailed(rejection.reason));
    }

    /// Publishes one letter, with less about it where the topic refuses more.
    async fn publish(
        &self,
        letters: &P::DeadLetters,
        rejection: &Rejection,
        envelope: &Envelope,
    ) -> Result<(), Unpublished> {
        let process = self.process;
        let (full, left_out) = dead_letter::full(rejection, envelope, &process.settings.subscription);
        if !left_out.is_empty()
            && let Some(suppressed) = process.short_dead_letter_log.due()
        {
            let left_out = left_out.join(", ");
            warn!(message_id = %envelope.message_id, left_out, suppressed, "dead letter without all attributes");
        }
        let result = match self.send(letters, full).await {
            Err(DeadLetterError::Invalid(detail)) => {
                if let Some(suppressed) = process.bare_dead_letter_log.due() {
                    warn!(
                        message_id = %envelope.message_id,
                        left_out = dead_letter::left_out_of_bare(envelope).join(", "),
                        suppressed,
                        "dead letter refused, published with rejection_reason alone: {detail}"
                    );
                }
                self.send(letters, dead_letter::bare(rejection, envelope)).await
            }
            result => result,
        };
        match result {
            Ok(()) => {
                process.topic_answered();
                Ok(())
            }
            Err(DeadLetterError::Invalid(detail)) => {
                process.dead_letter_refused(&detail);
                Err(Unpublished::Refused)
            }
            Err(DeadLetterError::Unavailable(detail)) => {
                process.topic_failed(&detail);
                Err(Unpublished::Unavailable)
            }
        }
    }

    async fn send(&self, letters: &P::DeadLetters, letter: DeadLetter) -> Result<(), DeadLetterError> {
        timeout(PUBLISH_TIMEOUT, letters.publish(letter)).await.unwrap_or_else(|_| {
            Err(DeadLetterError::Unavailable(format!("no answer within {} s", PUBLISH_TIMEOUT.as_secs())))
        })
    }
}
