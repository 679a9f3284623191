//! Makes one message durable: as an event, which may be dispatched, or as a dead letter.

use std::future::Future;
use std::time::Duration;

use rand::Rng;
use tokio::time::{sleep, timeout};
use tracing::Span;

use super::{Shared, Work, lock};
use crate::event::{Event, Invalid, Reason};
use crate::ports::{Call, DeadLetters, Dispatch, Events, Failure, Outcome, Put, Queue, Settled};
use crate::processor::flow::Ticket;

/// The first pause between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(50);

impl<Q: Queue, E: Events, D: DeadLetters, P: Dispatch> Shared<Q, E, D, P> {
    /// Makes a message durable. Repeats each call until it succeeds.
    pub(super) async fn store(&self, ticket: Ticket, work: &Work) {
        let Work { message, decoded, span } = work;
        let (outcome, client, event_type) = match decoded {
            Ok(event) => (self.put(work, event).await, Some(event.client_id.as_str()), Some(event.event_type.as_str())),
            Err(invalid) => (self.dead_letter(work, invalid).await, None, invalid.event_type.as_deref()),
        };
        self.observer.settled(&Settled { outcome, client, event_type, sent: message.sent, span });
        if let Outcome::Left(_) = outcome {
            return self.forget(&[ticket]);
        }
        let mut state = self.state();
        state.flow.finish(ticket);
        state.done.push(ticket);
        drop(state);
        self.start.notify_one();
        self.done.notify_one();
    }

    async fn put(&self, work: &Work, event: &Event) -> Outcome {
        let (is_direct, limit) = (self.settings.is_direct, Some(self.settings.call_timeout));
        let put = || self.ports.events.put(event, is_direct);
        let invalid = match self.repeat((Call::Put, &work.span), limit, put).await {
            Ok(Put::Stored) => {
                if is_direct {
                    self.dispatch(event).await;
                }
                return Outcome::Stored;
            }
            Ok(Put::Duplicate { is_direct }) => {
                // The instance that stored it may have ended before it was dispatched.
                if is_direct {
                    self.dispatch(event).await;
                }
                return Outcome::Duplicate;
            }
            Ok(Put::Conflict) => {
                event.invalid(Reason::Conflict, "the table has an event with this id and another body")
            }
            Err(why) => event.invalid(Reason::RefusedByStore, why),
        };
        self.dead_letter(work, &invalid).await
    }

    /// Dispatches until it succeeds, because nothing else delivers a direct event.
    async fn dispatch(&self, event: &Event) {
        let call = || async { self.ports.dispatch.dispatch(event).await.map_err(unavailable) };
        // The call bounds its own time, and one that is dropped is made again. It opens spans of its own.
        let _ = self.repeat((Call::Dispatch, &Span::none()), None, call).await;
    }

    async fn dead_letter(&self, Work { message, span, .. }: &Work, invalid: &Invalid) -> Outcome {
        let limit = Some(self.settings.call_timeout);
        // Without its detail, a dead letter may be accepted that was refused.
        let bare = Invalid { detail: String::new(), pointer: None, ..invalid.clone() };
        for invalid in [invalid, &bare] {
            let send = || self.ports.dead_letters.send(message, invalid);
            if self.repeat((Call::SendDeadLetter, span), limit, send).await.is_ok() {
                return Outcome::DeadLettered(invalid.reason);
            }
        }
        Outcome::Left(invalid.reason)
    }

    /// Repeats a call until it succeeds, or until it is refused. Returns why it was refused.
    async fn repeat<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        (name, message): (Call, &Span),
        limit: Option<Duration>,
        call: impl Fn() -> F,
    ) -> Result<T, String> {
        let mut delay = RETRY_DELAY;
        loop {
            let span = self.observer.call_span(message, name);
            let result = match limit {
                None => call().await,
                Some(limit) => timeout(limit, call()).await.unwrap_or_else(|_| Err(self.late())),
            };
            let failure = match result {
                Ok(value) => {
                    self.observer.succeeded(name);
                    return Ok(value);
                }
                Err(failure) => failure,
            };
            self.observer.failed(name, &failure);
            self.observer.call_failed(&span, &failure);
            drop(span);
            if let Failure::Refused(why) = failure {
                return Err(why);
            }
            let jitter = lock(&self.random).random_range(0.5..1.0);
            sleep(delay.mul_f64(jitter)).await;
            delay = (2 * delay).min(self.settings.max_retry_delay);
        }
    }
}

fn unavailable(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(why) | Failure::Unavailable(why) => Failure::Unavailable(why),
    }
}
