//! Receives and decodes messages while there is room.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{BATCH, FAILURE_DELAY, LAST_RECEIVES, Shared, Work, lock, propagate};
use crate::event::{Envelope, Event, Moved, decode};
use crate::ports::{Call, DeadLetters, Dispatch, Events, Message, Queue};

/// What a message needs in memory beside its texts.
const OVERHEAD: usize = 1024;

impl<Q: Queue, E: Events, D: DeadLetters, P: Dispatch> Shared<Q, E, D, P> {
    /// Receives until `stop`, and lets the open requests end.
    pub(super) async fn poll_until(self: &Arc<Self>, stop: &CancellationToken) {
        let mut pollers = JoinSet::new();
        for _ in 0..self.settings.pollers {
            pollers.spawn(Arc::clone(self).poll(stop.clone()));
        }
        while let Some(ended) = pollers.join_next().await {
            propagate(ended);
        }
    }

    async fn poll(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(self.room_for_a_batch()).await.is_some() {
            let end = async {
                stop.cancelled().await;
                sleep(LAST_RECEIVES).await;
                // SQS may still answer a request that is dropped, with a message that was just returned.
                if !self.state().flow.is_idle() {
                    sleep(self.settings.shutdown_grace).await;
                }
            };
            let is_received = tokio::select! {
                biased;
                is_received = self.receive() => is_received,
                () = end => break,
            };
            self.state().flow.end_reservation(BATCH);
            if !is_received {
                stop.run_until_cancelled(sleep(FAILURE_DELAY)).await;
            }
        }
    }

    /// Waits until there is room for a whole batch, because a request for one message costs the same.
    async fn room_for_a_batch(&self) {
        loop {
            let room = self.room.notified();
            if self.state().flow.reserve(BATCH) {
                return;
            }
            room.await;
        }
    }

    /// Returns whether the request succeeded.
    async fn receive(&self) -> bool {
        let asked = Instant::now();
        match self.ports.queue.receive(BATCH).await {
            Ok(messages) => {
                self.observer.succeeded(Call::Receive);
                self.take(messages, asked);
                true
            }
            Err(failure) => {
                self.observer.failed(Call::Receive, &failure);
                false
            }
        }
    }

    fn take(&self, messages: Vec<Message>, asked: Instant) {
        self.observer.received(&messages);
        let schemas = Arc::clone(&*lock(&self.schemas));
        for mut message in messages {
            let span = self.observer.message_span(&message);
            // An event without a trace of its producer continues the one that begins here.
            message.trace = message.trace.or_else(|| self.observer.context(&span));
            let decoded = decode(message.body.as_bytes(), &envelope(&message), &schemas);
            let texts = decoded.as_ref().map_or(0, texts);
            let bytes = OVERHEAD + message.body.len() + texts;
            let mut state = self.state();
            // Messages that are no events count as those of one client.
            let client = decoded.as_ref().map_or("", |event| event.client_id.as_str());
            let ticket = state.flow.receive(client, bytes, asked);
            state.works.insert(ticket, Arc::new(Work { message, decoded, span }));
            self.memory_changed(state);
            self.start.notify_one();
        }
        self.due.notify_one();
    }
}

/// Returns the bytes of the texts that an event has beside the body.
fn texts(event: &Event) -> usize {
    event.data.len() + event.others.as_ref().map_or(0, String::len)
}

fn envelope(message: &Message) -> Envelope<'_> {
    let moved = message.moved.as_ref().map(|(event_id, event_time)| Moved { event_id, event_time });
    Envelope { message_id: &message.message_id, sent: message.sent, moved, trace: message.trace.as_deref() }
}
