//! The way of a rejected message: dead letter then ack, or held within its own bound and given back.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::dead_letter;
use crate::consumer::delivery::Message;
use crate::consumer::ports::{DeadLetter, DeadLetterError, DeadLetters, End, Envelope, Receipt};
use crate::consumer::process::Process;
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

/// What a worker rejects messages with.
pub(super) struct Rejects<'a, D> {
    pub(super) process: &'a Process,
    /// Absent without `--dead-letter-topic`.
    pub(super) topic: Option<&'a D>,
}

impl<D: DeadLetters> Rejects<'_, D> {
    /// Publishes the dead letter and acks; where that cannot be, parks the message. `permit` is what it holds until then.
    pub(super) async fn reject<R: Receipt>(
        &self,
        rejection: Rejection,
        message: Box<Message<R>>,
        permit: OwnedSemaphorePermit,
    ) {
        let mut is_refused = false;
        if let Some(topic) = self.topic
            && !self.process.dead_letter_breaker.is_open()
        {
            match self.publish(topic, &rejection, &message.envelope).await {
                Ok(()) => return message.claim.settle(End::DeadLettered(rejection.reason)),
                Err(unpublished) => is_refused = unpublished == Unpublished::Refused,
            }
        }
        drop(permit);
        let Some(_permit) = self.process.parked.try_permit() else {
            return message.claim.settle(End::DeadLetterFailed(rejection.reason));
        };
        // A letter that was refused is refused again: only its redelivery tries it anew.
        let topic = self.topic.filter(|_| !is_refused);
        self.park(topic, rejection, message).await;
    }

    /// Parks a rejected message until its dead letter is published or its delay is over.
    async fn park<R: Receipt>(&self, mut topic: Option<&D>, rejection: Rejection, message: Box<Message<R>>) {
        let Message { envelope, claim } = &*message;
        let until = claim.deadline.min(Instant::now() + self.process.parked.delay(envelope));
        loop {
            let turn = async {
                match topic {
                    Some(topic) => {
                        self.process.dead_letter_breaker.pass().await;
                        topic
                    }
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                biased;
                () = self.process.drain.requested() => break,
                () = sleep_until(until) => break,
                next = turn => next,
            };
            match self.publish(next, &rejection, &message.envelope).await {
                Ok(()) => return message.claim.settle(End::DeadLettered(rejection.reason)),
                Err(Unpublished::Refused) => topic = None,
                Err(Unpublished::Unavailable) => {}
            }
        }
        message.claim.settle(End::DeadLetterFailed(rejection.reason));
    }

    /// Publishes one letter, with less about it where the topic refuses more.
    async fn publish(&self, topic: &D, rejection: &Rejection, envelope: &Envelope) -> Result<(), Unpublished> {
        let process = self.process;
        let (full, left_out) = dead_letter::full(rejection, envelope, &process.settings.subscription);
        if !left_out.is_empty()
            && let Some(suppressed) = process.short_dead_letter_log.due()
        {
            let left_out = left_out.join(", ");
            warn!(message_id = %envelope.message_id, left_out, suppressed, "dead letter without all attributes");
        }
        let result = match self.send(topic, full).await {
            Err(DeadLetterError::Invalid(detail)) => {
                if let Some(suppressed) = process.bare_dead_letter_log.due() {
                    warn!(
                        message_id = %envelope.message_id,
                        left_out = dead_letter::left_out_of_bare(envelope).join(", "),
                        suppressed,
                        "dead letter refused, published with rejection_reason alone: {detail}"
                    );
                }
                self.send(topic, dead_letter::bare(rejection, envelope)).await
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

    async fn send(&self, topic: &D, letter: DeadLetter) -> Result<(), DeadLetterError> {
        timeout(PUBLISH_TIMEOUT, topic.publish(letter)).await.unwrap_or_else(|_| {
            Err(DeadLetterError::Unavailable(format!("no answer within {} s", PUBLISH_TIMEOUT.as_secs())))
        })
    }
}
