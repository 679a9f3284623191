//! Rejects a message: publishes its dead letter and then acks it. Without a dead letter, parks the message and then nacks it.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::dead_letter;
use crate::consumer::delivery::Message;
use crate::consumer::ports::{DeadLetter, DeadLetterError, DeadLetters, End, Envelope, Receipt};
use crate::consumer::process::Process;
use crate::scan::Rejection;

/// The timeout of one attempt to publish a dead letter. An attempt without an answer counts as unavailable.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a dead letter was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unpublished {
    /// The topic cannot be reached. Publishing is retried when it answers.
    Unavailable,
    /// The topic refuses the dead letter even with its reason as the only attribute.
    Refused,
}

/// Rejects the messages of one worker.
pub(super) struct Rejects<'a, D> {
    pub(super) process: &'a Process,
    /// `None` without `--dead-letter-topic`.
    pub(super) topic: Option<&'a D>,
}

impl<D: DeadLetters> Rejects<'_, D> {
    /// Rejects a message. `permit` is its slot or its parking permit, if it has one.
    pub(super) async fn reject<R: Receipt>(
        &self,
        rejection: Rejection,
        message: Box<Message<R>>,
        permit: Option<OwnedSemaphorePermit>,
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
        let Some(_permit) = self.process.parking_lot.try_permit() else {
            return message.claim.settle(End::DeadLetterFailed(rejection.reason));
        };
        // A refused dead letter would be refused again. It is published again only after a redelivery.
        let topic = self.topic.filter(|_| !is_refused);
        self.park(topic, rejection, message).await;
    }

    /// Parks a rejected message until its dead letter is published or its delay is over.
    async fn park<R: Receipt>(&self, mut topic: Option<&D>, rejection: Rejection, message: Box<Message<R>>) {
        let Message { envelope, claim } = &*message;
        let until = claim.deadline.min(Instant::now() + self.process.parking_lot.delay(envelope));
        loop {
            let available = async {
                match topic {
                    Some(topic) => {
                        self.process.dead_letter_breaker.pass().await;
                        topic
                    }
                    None => std::future::pending().await,
                }
            };
            let available = tokio::select! {
                biased;
                () = self.process.drain.requested() => break,
                () = sleep_until(until) => break,
                topic = available => topic,
            };
            match self.publish(available, &rejection, &message.envelope).await {
                Ok(()) => return message.claim.settle(End::DeadLettered(rejection.reason)),
                Err(Unpublished::Refused) => topic = None,
                Err(Unpublished::Unavailable) => {}
            }
        }
        message.claim.settle(End::DeadLetterFailed(rejection.reason));
    }

    /// Publishes a dead letter, with its reason as the only attribute if the topic refuses more.
    async fn publish(&self, topic: &D, rejection: &Rejection, envelope: &Envelope) -> Result<(), Unpublished> {
        let process = self.process;
        let (full, left_out) = dead_letter::full(rejection, envelope, &process.settings.subscription);
        if !left_out.is_empty()
            && let Some(suppressed) = process.logs.short_dead_letter.due()
        {
            let left_out = left_out.join(", ");
            warn!(message_id = %envelope.message_id, left_out, suppressed, "dead letter published without some attributes");
        }
        let result = match self.send(topic, full).await {
            Err(DeadLetterError::Invalid(detail)) => {
                if let Some(suppressed) = process.logs.bare_dead_letter.due() {
                    warn!(
                        message_id = %envelope.message_id,
                        left_out = dead_letter::left_out_of_bare(envelope).join(", "),
                        error = detail,
                        suppressed,
                        "dead letter refused; publishing it with rejection_reason alone"
                    );
                }
                self.send(topic, dead_letter::bare(rejection, envelope)).await
            }
            result => result,
        };
        match result {
            Ok(()) => {
                process.topic_accepted();
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

    async fn send(&self, topic: &D, dead_letter: DeadLetter) -> Result<(), DeadLetterError> {
        timeout(PUBLISH_TIMEOUT, topic.publish(dead_letter)).await.unwrap_or_else(|_| {
            Err(DeadLetterError::Unavailable(format!("no answer within {} s", PUBLISH_TIMEOUT.as_secs())))
        })
    }
}
