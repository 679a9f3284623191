//! Drives the flow: receives, stores, deletes, and extends visibility, until it is stopped.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::flow::{Flow, Limits, Ticket};
use crate::event::{Envelope, Event, Invalid, Moved, Reason, decode};
use crate::ports::{DeadLetters, Entry, Events, Failure, Message, Observer, Outcome, Put, Queue};
use crate::schema::Schemas;

/// The settings of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub limits: Limits,
    /// How many requests wait for messages at the same time.
    pub pollers: usize,
    /// How long a deletion waits for others, because ten cost as much as one.
    pub delete_delay: Duration,
    /// The longest pause between two attempts to store a message.
    pub max_retry_delay: Duration,
    /// A call without an answer for this long has failed. It does not apply to long polls.
    pub call_timeout: Duration,
    /// How long messages that are being stored may go on after a stop.
    pub shutdown_grace: Duration,
}

/// How many messages one request of SQS takes.
const BATCH: usize = 10;
/// The pause after a request that failed.
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// The first pause between two attempts to store a message.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Stores the events of a queue.
pub struct Processor<Q, E, D> {
    shared: Arc<Shared<Q, E, D>>,
}

struct Shared<Q, E, D> {
    queue: Q,
    events: E,
    dead_letters: D,
    schemas: Mutex<Arc<Schemas>>,
    settings: Settings,
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
    /// A message was received or forgotten, or the stop began.
    changed: Notify,
    /// A message is done.
    done: Notify,
}

struct State {
    flow: Flow,
    works: HashMap<Ticket, Arc<Work>>,
    storing: BTreeSet<Ticket>,
    /// Messages that are done, and that are deleted next.
    done: Vec<Ticket>,
}

/// A message with what it says.
struct Work {
    message: Message,
    decoded: Result<Event, Invalid>,
}

impl<Q: Queue, E: Events, D: DeadLetters> Processor<Q, E, D> {
    pub fn new(
        (queue, events, dead_letters): (Q, E, D),
        schemas: Schemas,
        observer: Arc<dyn Observer>,
        settings: Settings,
    ) -> Processor<Q, E, D> {
        let state = State {
            flow: Flow::new(settings.limits),
            works: HashMap::new(),
            storing: BTreeSet::new(),
            done: Vec::new(),
        };
        let shared = Shared {
            queue,
            events,
            dead_letters,
            schemas: Mutex::new(Arc::new(schemas)),
            settings,
            observer,
            state: Mutex::new(state),
            changed: Notify::new(),
            done: Notify::new(),
        };
        Processor { shared: Arc::new(shared) }
    }

    /// Validates the messages that come from now on by other schemas.
    pub fn set_schemas(&self, schemas: Schemas) {
        *lock(&self.shared.schemas) = Arc::new(schemas);
    }

    /// Runs until `stop`. Then messages that wait are made visible to others, and those that are being stored go on for
    /// [`Settings::shutdown_grace`].
    pub async fn run(&self, stop: &CancellationToken) {
        let shared = &self.shared;
        let mut tasks = JoinSet::new();
        for _ in 0..shared.settings.pollers {
            tasks.spawn(until(stop.clone(), Arc::clone(shared).poll()));
        }
        let ended = CancellationToken::new();
        tasks.spawn(until(ended.clone(), Arc::clone(shared).extend()));
        tasks.spawn(Arc::clone(shared).delete(ended.clone()));
        self.store_until(stop).await;
        ended.cancel();
        while tasks.join_next().await.is_some() {}
    }

    /// Starts messages until `stop`, and waits for those that are being stored.
    async fn store_until(&self, stop: &CancellationToken) {
        let (shared, mut stores) = (&self.shared, JoinSet::new());
        loop {
            let changed = shared.changed.notified();
            while let Some((ticket, work)) = shared.start() {
                let shared = Arc::clone(shared);
                stores.spawn(async move { shared.store(ticket, &work).await });
            }
            while stores.try_join_next().is_some() {}
            if stop.run_until_cancelled(changed).await.is_none() {
                break;
            }
        }
        let waiting = shared.state().flow.drain();
        shared.give_back(waiting).await;
        let ended = async { while stores.join_next().await.is_some() {} };
        let _ = timeout(shared.settings.shutdown_grace, ended).await;
        stores.shutdown().await;
        let storing = std::mem::take(&mut shared.state().storing);
        shared.give_back(storing.into_iter().collect()).await;
    }
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) {
    stop.run_until_cancelled(task).await;
}

impl<Q: Queue, E: Events, D: DeadLetters> Shared<Q, E, D> {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn start(&self) -> Option<(Ticket, Arc<Work>)> {
        let mut state = self.state();
        let ticket = state.flow.start()?;
        state.storing.insert(ticket);
        Some((ticket, Arc::clone(&state.works[&ticket])))
    }

    /// Receives messages while there is room.
    async fn poll(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let room = self.state().flow.room().min(BATCH);
            if room == 0 {
                changed.await;
                continue;
            }
            let asked = Instant::now();
            match self.queue.receive(room).await {
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => self.take(messages, asked),
                Err(failure) => {
                    self.observer.failed("ReceiveMessage", &failure);
                    sleep(FAILURE_DELAY).await;
                }
            }
        }
    }

    fn take(&self, messages: Vec<Message>, asked: Instant) {
        self.observer.received(messages.len());
        let schemas = Arc::clone(&*lock(&self.schemas));
        for message in messages {
            let decoded = decode(message.body.as_bytes(), &envelope(&message), &schemas);
            let mut state = self.state();
            // Messages that are no events share one turn.
            let client = decoded.as_ref().map_or("", |event| event.client_id.as_str());
            let ticket = state.flow.receive(client, message.body.len(), asked.into_std());
            state.works.insert(ticket, Arc::new(Work { message, decoded }));
        }
        self.changed.notify_waiters();
    }

    /// Makes a message durable, as an event or as a dead letter, and deletes it then. Repeats until it succeeds.
    async fn store(&self, ticket: Ticket, work: &Work) {
        let outcome = match &work.decoded {
            Err(invalid) => self.dead_letter(&work.message, invalid).await,
            Ok(event) => match self.repeat("PutItem", || self.events.put(event)).await {
                Ok(Put::Stored) => Outcome::Stored,
                Ok(Put::Duplicate) => Outcome::Duplicate,
                Ok(Put::Conflict) => {
                    let detail = "the table has an event with this id and another body".to_owned();
                    self.dead_letter(&work.message, &Invalid { reason: Reason::Conflict, pointer: None, detail }).await
                }
                Err(why) => {
                    let invalid = Invalid { reason: Reason::RefusedByStore, pointer: None, detail: why };
                    self.dead_letter(&work.message, &invalid).await
                }
            },
        };
        self.observer.settled(outcome, work.message.sent);
        let mut state = self.state();
        state.storing.remove(&ticket);
        state.done.push(ticket);
        drop(state);
        self.done.notify_one();
    }

    async fn dead_letter(&self, message: &Message, invalid: &Invalid) -> Outcome {
        let mut detail = invalid;
        let bare = Invalid { detail: String::new(), ..invalid.clone() };
        loop {
            match self.repeat("SendMessage", || self.dead_letters.send(message, detail)).await {
                Ok(()) => return Outcome::DeadLettered(invalid.reason),
                // Without its detail it may be accepted. It stays in the queue otherwise, which moves it after some receipts.
                Err(_) => detail = &bare,
            }
            sleep(self.settings.max_retry_delay).await;
        }
    }

    /// Repeats a call until it succeeds, or until it is refused. Returns why it was refused.
    async fn repeat<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        name: &'static str,
        call: impl Fn() -> F,
    ) -> Result<T, String> {
        let (limit, mut delay) = (self.settings.call_timeout, RETRY_DELAY);
        loop {
            let late = |_| Err(Failure::Unavailable(format!("no answer within {limit:?}")));
            let failure = match timeout(limit, call()).await.unwrap_or_else(late) {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            self.observer.failed(name, &failure);
            if let Failure::Refused(why) = failure {
                return Err(why);
            }
            let jitter = rand::rng().random_range(0.5..1.0);
            sleep(delay.mul_f64(jitter)).await;
            delay = (2 * delay).min(self.settings.max_retry_delay);
        }
    }

    /// Extends the visibility of what is in memory, and forgets what became visible.
    async fn extend(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let wakes_at = self.state().flow.wakes_at();
            match wakes_at {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = sleep_until(at.into()) => self.extend_due().await,
                    () = changed => {}
                },
            }
        }
    }

    async fn extend_due(&self) {
        let now = Instant::now().into_std();
        let (lost, due) = {
            let mut state = self.state();
            let lost = state.flow.lost(now);
            for ticket in &lost {
                state.works.remove(ticket);
            }
            (lost, state.flow.extend(now))
        };
        for _ in &lost {
            self.observer.lost();
        }
        if !lost.is_empty() {
            self.changed.notify_waiters();
        }
        if due.is_empty() {
            return;
        }
        let results = self.set_visibility(&due, self.settings.limits.visibility).await;
        let mut state = self.state();
        for (ticket, result) in due.iter().zip(results) {
            match result {
                Entry::Done => {}
                // It was extended when it had a third of its visibility left, so there is time for another attempt.
                Entry::Failed => state.flow.not_extended(*ticket, now + FAILURE_DELAY),
                Entry::Gone => state.flow.not_extended(*ticket, now),
            }
        }
    }

    /// Sets the visibility of up to ten messages. A request without an answer is a failure of each one.
    async fn set_visibility(&self, tickets: &[Ticket], after: Duration) -> Vec<Entry> {
        let works: Vec<_> = {
            let state = self.state();
            tickets.iter().filter_map(|ticket| state.works.get(ticket).cloned()).collect()
        };
        let receipts: Vec<&str> = works.iter().map(|work| work.message.receipt.as_str()).collect();
        let call = timeout(self.settings.call_timeout, self.queue.set_visibility(&receipts, after)).await;
        match call {
            Ok(Ok(results)) => results,
            Ok(Err(failure)) => {
                self.observer.failed("ChangeMessageVisibilityBatch", &failure);
                vec![Entry::Failed; tickets.len()]
            }
            Err(_) => vec![Entry::Failed; tickets.len()],
        }
    }

    /// Deletes what is done in batches, until `ended`. A message that cannot be deleted comes again, and is a duplicate then.
    async fn delete(self: Arc<Self>, ended: CancellationToken) {
        let mut batches = JoinSet::new();
        loop {
            let is_last = ended.run_until_cancelled(self.done.notified()).await.is_none();
            if !is_last && self.state().done.len() < BATCH {
                ended.run_until_cancelled(sleep(self.settings.delete_delay)).await;
            }
            while let Some(tickets) = self.take_done() {
                let shared = Arc::clone(&self);
                batches.spawn(async move { shared.delete_batch(tickets).await });
            }
            while batches.try_join_next().is_some() {}
            if is_last {
                break;
            }
        }
        while batches.join_next().await.is_some() {}
    }

    fn take_done(&self) -> Option<Vec<Ticket>> {
        let mut state = self.state();
        let count = state.done.len().min(BATCH);
        (count > 0).then(|| state.done.drain(..count).collect())
    }

    async fn delete_batch(&self, mut tickets: Vec<Ticket>) {
        const ATTEMPTS: u32 = 3;
        for _ in 0..ATTEMPTS {
            let works: Vec<_> = {
                let state = self.state();
                tickets.iter().map(|ticket| Arc::clone(&state.works[ticket])).collect()
            };
            let receipts: Vec<&str> = works.iter().map(|work| work.message.receipt.as_str()).collect();
            let results = match timeout(self.settings.call_timeout, self.queue.delete(&receipts)).await {
                Ok(Ok(results)) => results,
                Ok(Err(failure)) => {
                    self.observer.failed("DeleteMessageBatch", &failure);
                    vec![Entry::Failed; tickets.len()]
                }
                Err(_) => vec![Entry::Failed; tickets.len()],
            };
            let results: Vec<_> = tickets.drain(..).zip(results).collect();
            for (ticket, result) in results {
                match result {
                    Entry::Failed => tickets.push(ticket),
                    Entry::Done => {
                        self.observer.deleted();
                        self.forget(ticket);
                    }
                    Entry::Gone => self.forget(ticket),
                }
            }
            if tickets.is_empty() {
                return;
            }
            sleep(RETRY_DELAY).await;
        }
        for ticket in tickets {
            self.forget(ticket);
        }
    }

    fn forget(&self, ticket: Ticket) {
        let mut state = self.state();
        state.flow.forget(ticket);
        state.works.remove(&ticket);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Makes messages visible to other instances, and forgets them.
    async fn give_back(&self, tickets: Vec<Ticket>) {
        for tickets in tickets.chunks(BATCH) {
            // If it fails, they become visible later.
            self.set_visibility(tickets, Duration::ZERO).await;
            for ticket in tickets {
                self.forget(*ticket);
            }
        }
    }
}

fn envelope(message: &Message) -> Envelope<'_> {
    let moved = message.moved.as_ref().map(|(event_id, event_time)| Moved { event_id, event_time });
    Envelope { message_id: &message.message_id, sent: message.sent, moved }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
