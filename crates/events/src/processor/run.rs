//! Drives the flow: receives, stores, deletes, and extends visibility, until it is stopped.

mod delete;
mod extend;
mod poll;
mod store;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::flow::{Flow, Limits, Ticket};
use crate::event::{Event, Invalid};
use crate::ports::{DeadLetters, Dispatch, Events, Message, Observer, Queue};
use crate::schema::Schemas;

/// The settings of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub limits: Limits,
    /// Dispatches each event after it was stored, so that the stream's reader need not.
    pub is_direct: bool,
    /// How many requests wait for messages at the same time.
    pub pollers: usize,
    /// How long a deletion waits for others, because ten cost as much as one.
    pub delete_delay: Duration,
    /// The longest pause between two attempts to store a message.
    pub max_retry_delay: Duration,
    /// A call without an answer for this long has failed. It does not apply to long polls and to dispatches.
    pub call_timeout: Duration,
    /// How long messages in memory are still stored after a stop.
    pub shutdown_grace: Duration,
}

/// How many messages one request of SQS takes.
const BATCH: usize = 10;
/// The pause after a request that failed.
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// How long requests for messages may still return some after a stop. SQS would hide those of a request that is dropped.
const LAST_RECEIVES: Duration = Duration::from_secs(1);
/// How long the last deletions and returns may take.
const LAST_CALLS: Duration = Duration::from_secs(3);
/// How many requests about visibility are open at the same time.
const VISIBILITY_CALLS: usize = 16;

/// What a processor uses.
#[derive(Debug, Clone)]
pub struct Ports<Q, E, D, P> {
    pub queue: Q,
    pub events: E,
    pub dead_letters: D,
    pub dispatch: P,
}

/// Stores the events of a queue.
pub struct Processor<Q, E, D, P> {
    shared: Arc<Shared<Q, E, D, P>>,
}

struct Shared<Q, E, D, P> {
    ports: Ports<Q, E, D, P>,
    schemas: Mutex<Arc<Schemas>>,
    settings: Settings,
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
    random: Mutex<StdRng>,
    /// There may be room for more messages.
    room: Notify,
    /// A message may start.
    start: Notify,
    /// A message may be due before the others.
    due: Notify,
    /// A message is done.
    done: Notify,
}

struct State {
    flow: Flow,
    works: HashMap<Ticket, Arc<Work>>,
    /// Messages that are done, and that are deleted next.
    done: Vec<Ticket>,
}

/// A message with what it contains.
struct Work {
    message: Message,
    decoded: Result<Event, Invalid>,
    span: Span,
}

impl<Q: Queue, E: Events, D: DeadLetters, P: Dispatch> Processor<Q, E, D, P> {
    pub fn new(
        ports: Ports<Q, E, D, P>,
        schemas: Schemas,
        observer: Arc<dyn Observer>,
        settings: Settings,
    ) -> Processor<Q, E, D, P> {
        observer.schemas_loaded(&schemas);
        let state = State { flow: Flow::new(settings.limits), works: HashMap::new(), done: Vec::new() };
        let shared = Shared {
            ports,
            schemas: Mutex::new(Arc::new(schemas)),
            settings,
            observer,
            state: Mutex::new(state),
            random: Mutex::new(StdRng::from_os_rng()),
            room: Notify::new(),
            start: Notify::new(),
            due: Notify::new(),
            done: Notify::new(),
        };
        Processor { shared: Arc::new(shared) }
    }

    /// Makes the jitter repeatable.
    #[cfg(test)]
    pub(super) fn with_seed(self, seed: u64) -> Self {
        *lock(&self.shared.random) = StdRng::seed_from_u64(seed);
        self
    }

    /// Validates the messages that come from now on by other schemas.
    pub fn set_schemas(&self, schemas: Schemas) {
        self.shared.observer.schemas_loaded(&schemas);
        *lock(&self.shared.schemas) = Arc::new(schemas);
    }

    /// Runs until `stop`. Then it stores what is in memory for up to [`Settings::shutdown_grace`], and makes the rest visible
    /// to others. Panics if one of its tasks does, because a restart is the only way to go on.
    pub async fn run(&self, stop: &CancellationToken) {
        let shared = &self.shared;
        let (received, stored, settled) = <(CancellationToken, CancellationToken, CancellationToken)>::default();
        let polling = async {
            shared.poll_until(stop).await;
            received.cancel();
        };
        let storing = async {
            shared.store_until(stop, &received).await;
            stored.cancel();
        };
        let extending = async {
            // An extension must not arrive after the return.
            shared.extend_until(&stored).await;
            let unfinished = shared.state().flow.unfinished();
            let _ = timeout(LAST_CALLS, shared.return_messages(unfinished)).await;
            settled.cancel();
        };
        tokio::join!(polling, storing, extending, shared.delete(&settled));
    }
}

impl<Q: Queue, E: Events, D: DeadLetters, P: Dispatch> Shared<Q, E, D, P> {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Starts messages until no more are received and all are done, at the latest until the grace period after `stop` is over.
    async fn store_until(self: &Arc<Self>, stop: &CancellationToken, received: &CancellationToken) {
        let mut stores = JoinSet::new();
        let grace = async {
            stop.cancelled().await;
            sleep(self.settings.shutdown_grace).await;
        };
        let mut grace = pin!(grace);
        loop {
            while let Some((ticket, work)) = self.start_next() {
                let shared = Arc::clone(self);
                stores.spawn(async move { shared.store(ticket, &work).await });
            }
            while let Some(ended) = stores.try_join_next() {
                propagate(ended);
            }
            if received.is_cancelled() && self.state().flow.is_idle() {
                break;
            }
            tokio::select! {
                // Otherwise messages that end all the time could hide its end.
                biased;
                () = &mut grace => break,
                () = received.cancelled(), if !received.is_cancelled() => {}
                () = self.start.notified() => {}
            }
        }
        received.cancelled().await;
        stores.shutdown().await;
    }

    fn start_next(&self) -> Option<(Ticket, Arc<Work>)> {
        let mut state = self.state();
        let ticket = state.flow.start()?;
        Some((ticket, Arc::clone(&state.works[&ticket])))
    }

    /// Forgets messages that are deleted, or that are left to the queue.
    fn forget(&self, tickets: &[Ticket]) {
        let mut state = self.state();
        for ticket in tickets {
            state.flow.forget(*ticket);
            state.works.remove(ticket);
        }
        self.memory_changed(state);
        self.start.notify_one();
    }

    fn memory_changed(&self, state: MutexGuard<'_, State>) {
        let (messages, bytes) = (state.flow.len(), state.flow.bytes());
        drop(state);
        self.observer.in_memory(messages, bytes);
        self.room.notify_waiters();
    }

    /// Returns those of the messages that are in memory.
    fn works(&self, tickets: &[Ticket]) -> Vec<(Ticket, Arc<Work>)> {
        let state = self.state();
        tickets.iter().filter_map(|ticket| Some((*ticket, Arc::clone(state.works.get(ticket)?)))).collect()
    }
}

/// Continues the panic of a task.
fn propagate(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
