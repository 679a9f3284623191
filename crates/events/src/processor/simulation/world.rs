//! The queue, the table and the dead-letter queue of a simulation, with their faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::event::{Event, Invalid, Reason};
use crate::ports::{DeadLetters, Dispatch, Entry, Events, Failure, Message, Put, Queue};

/// What must become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Valid,
    /// It has the id of the message before, and another body.
    Conflict,
    Invalid,
}

#[derive(Debug)]
struct Queued {
    client: String,
    fate: Fate,
    body: String,
    visible_at: Instant,
    /// The number of the last receipt.
    receives: u32,
    is_deleted: bool,
}

/// What is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outage {
    Table,
    Queue,
    Dispatch,
}

impl Outage {
    fn name(self) -> &'static str {
        match self {
            Outage::Table => "outages of the table",
            Outage::Queue => "outages of the queue",
            Outage::Dispatch => "outages of the dispatch",
        }
    }
}

#[derive(Debug)]
struct Stored {
    hash: [u8; 32],
    is_direct: bool,
}

/// The client and the id of an event.
type Key = (String, String);

#[derive(Debug, Default)]
pub(super) struct Inner {
    messages: Vec<Queued>,
    stored: BTreeMap<Key, Stored>,
    dispatched: BTreeSet<Key>,
    dead: BTreeMap<String, Reason>,
    outages: BTreeSet<Outage>,
    refuses_dead_letters: bool,
    slow: BTreeMap<String, Duration>,
    fault_rate: f64,
    counts: BTreeMap<&'static str, usize>,
}

impl Inner {
    pub(super) fn stored_count(&self) -> usize {
        self.stored.len()
    }

    fn count(&mut self, event: &'static str) {
        *self.counts.entry(event).or_default() += 1;
    }
}

pub(super) struct World {
    inner: Mutex<Inner>,
    random: Mutex<StdRng>,
    changed: Notify,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.inner();
        let left: Vec<_> = inner.messages.iter().filter(|message| !message.is_deleted).collect();
        f.debug_struct("World").field("left", &left).field("now", &Instant::now()).finish_non_exhaustive()
    }
}

/// One side of the world, as a processor sees it.
pub(super) struct Side(pub(super) Arc<World>);

impl World {
    pub(super) fn new(seed: u64, messages: usize) -> World {
        let world = World::reliable(0);
        *lock(&world.random) = StdRng::seed_from_u64(seed);
        world.inner().fault_rate = 0.1;
        for index in 0..messages {
            let fate = match index % 10 {
                3 => Fate::Conflict,
                7 => Fate::Invalid,
                _ => Fate::Valid,
            };
            world.send(&format!("client-{}", index % 3), fate);
        }
        world
    }

    /// A world without faults.
    pub(super) fn reliable(messages: usize) -> World {
        let (inner, random) = (Mutex::default(), Mutex::new(StdRng::seed_from_u64(0)));
        let world = World { inner, random, changed: Notify::new() };
        for index in 0..messages {
            world.send(&format!("client-{}", index % 3), Fate::Valid);
        }
        world
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Returns the index of the message.
    pub(super) fn send(&self, client: &str, fate: Fate) -> usize {
        let mut inner = self.inner();
        let index = inner.messages.len();
        // A conflict has the client and the id of the valid message before it.
        let (client, id) = match fate {
            Fate::Conflict => (inner.messages[index - 1].client.clone(), index - 1),
            Fate::Valid | Fate::Invalid => (client.to_owned(), index),
        };
        let body = match fate {
            Fate::Invalid => format!(r#"{{"client_id":"{client}","event_type":"t","data":{index}}}"#),
            Fate::Valid | Fate::Conflict => format!(
                r#"{{"client_id":"{client}","event_type":"t","data":{{"index":{index}}},"event_id":"{id}","event_time":"2026-11-22T10:00:00Z"}}"#
            ),
        };
        let visible_at = Instant::now();
        inner.messages.push(Queued { client, fate, body, visible_at, receives: 0, is_deleted: false });
        index
    }

    pub(super) fn set_outage(&self, outage: Outage, is_out: bool) {
        let mut inner = self.inner();
        if is_out {
            inner.outages.insert(outage);
            inner.count(outage.name());
        } else {
            inner.outages.remove(&outage);
        }
    }

    pub(super) fn end_outages(&self) {
        self.inner().outages.clear();
    }

    pub(super) fn refuse_dead_letters(&self) {
        self.inner().refuses_dead_letters = true;
    }

    pub(super) fn slow_down(&self, client: &str, by: Duration) {
        self.inner().slow.insert(client.to_owned(), by);
    }

    pub(super) fn visible(&self) -> usize {
        let now = Instant::now();
        self.inner().messages.iter().filter(|message| !message.is_deleted && message.visible_at <= now).count()
    }

    pub(super) fn invisible(&self) -> usize {
        let now = Instant::now();
        self.inner().messages.iter().filter(|message| !message.is_deleted && message.visible_at > now).count()
    }

    pub(super) fn stored(&self) -> usize {
        self.inner().stored.len()
    }

    pub(super) fn dispatched(&self) -> usize {
        self.inner().dispatched.len()
    }

    /// Returns how often each kind of event happened.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.inner().counts.clone()
    }

    pub(super) fn count(&self, event: &'static str) {
        self.inner().count(event);
    }

    pub(super) fn most_receives(&self) -> u32 {
        self.inner().messages.iter().map(|message| message.receives).max().unwrap_or(0)
    }

    pub(super) async fn until(&self, is_reached: impl Fn(&Inner) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_reached(&self.inner()) {
                return;
            }
            changed.await;
        }
    }

    pub(super) async fn until_empty(&self) {
        self.until(|inner| inner.messages.iter().all(|message| message.is_deleted)).await;
    }

    pub(super) async fn until_received(&self, count: usize) {
        self.until(|inner| inner.messages.iter().filter(|message| message.receives > 0).count() >= count).await;
    }

    pub(super) async fn until_stored(&self, index: usize) {
        self.until(|inner| inner.stored.contains_key(&(inner.messages[index].client.clone(), index.to_string()))).await;
    }

    /// Checks what became of every message.
    pub(super) fn check(&self) {
        let inner = self.inner();
        for (index, message) in inner.messages.iter().enumerate() {
            let is_stored = inner.stored.contains_key(&(message.client.clone(), index.to_string()));
            let dead = inner.dead.get(&index.to_string()).copied();
            // Either one of two bodies with one id may be the first.
            let has_rival = matches!(inner.messages.get(index + 1), Some(Queued { fate: Fate::Conflict, .. }));
            let expected = match message.fate {
                Fate::Valid if has_rival => is_stored,
                Fate::Valid => is_stored && dead.is_none(),
                Fate::Conflict => dead == Some(Reason::Conflict) || inner.dead.contains_key(&(index - 1).to_string()),
                Fate::Invalid => !is_stored && dead == Some(Reason::SchemaViolation),
            };
            assert!(expected, "message {index}: {message:?}, stored: {is_stored}, dead: {dead:?}");
        }
        let direct = inner.stored.iter().filter(|(_, stored)| stored.is_direct).map(|(key, _)| key);
        assert!(direct.eq(&inner.dispatched), "what is direct is dispatched, and nothing else");
    }

    /// Lets time pass. Fails sometimes, before or after the effect.
    async fn call<T>(&self, side: Outage, effect: impl FnOnce(&mut Inner) -> T) -> Result<T, Failure> {
        let unavailable = || Err(Failure::Unavailable("a fault".to_owned()));
        let (delay, fault) = {
            let (rate, mut random) = (self.inner().fault_rate, lock(&self.random));
            (
                Duration::from_millis(random.random_range(1..50)),
                random.random_bool(rate).then(|| random.random_range(0..3)),
            )
        };
        sleep(delay).await;
        if self.inner().outages.contains(&side) {
            return Err(Failure::Unavailable("an outage".to_owned()));
        }
        match fault {
            Some(0) => {
                self.count("failed calls");
                return unavailable();
            }
            Some(1) => {
                self.count("calls that hang");
                sleep(Duration::from_secs(100)).await;
            }
            _ => {}
        }
        let value = effect(&mut self.inner());
        self.changed.notify_waiters();
        if fault == Some(2) {
            self.count("lost answers");
            return unavailable();
        }
        Ok(value)
    }
}

impl Queue for Side {
    async fn receive(&self, max: usize) -> Result<Vec<Message>, Failure> {
        const VISIBILITY: Duration = Duration::from_secs(30);
        let World { changed, .. } = &*self.0;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let now = Instant::now();
            let received = self.0.call(Outage::Queue, |inner| {
                let visible = inner.messages.iter_mut().enumerate();
                let visible =
                    visible.filter(|(_, message)| !message.is_deleted && message.visible_at <= Instant::now());
                visible.take(max).map(|(index, message)| receive(index, message, VISIBILITY)).collect::<Vec<_>>()
            });
            let received = received.await?;
            received.iter().filter(|message| message.receives > 1).for_each(|_| self.0.count("receipts again"));
            if !received.is_empty() || now >= deadline {
                return Ok(received);
            }
            let wait = async { tokio::join!(changed.notified(), sleep(Duration::from_millis(200))) };
            let _ = timeout(Duration::from_secs(1), wait).await;
            sleep_until(Instant::now()).await;
        }
    }

    async fn delete(&self, receipts: &[&str]) -> Result<Vec<Entry>, Failure> {
        self.0.call(Outage::Queue, |inner| receipts.iter().map(|receipt| delete(inner, receipt)).collect()).await
    }

    async fn set_visibility(&self, receipts: &[&str], after: Duration) -> Result<Vec<Entry>, Failure> {
        let at = |inner: &mut Inner, receipt: &str| {
            let (index, number) = parse(receipt);
            let message = &mut inner.messages[index];
            if message.is_deleted || message.receives != number || message.visible_at <= Instant::now() {
                return Entry::Gone;
            }
            message.visible_at = Instant::now() + after;
            Entry::Done
        };
        self.0.call(Outage::Queue, |inner| receipts.iter().map(|receipt| at(inner, receipt)).collect()).await
    }
}

fn receive(index: usize, message: &mut Queued, visibility: Duration) -> Message {
    message.receives += 1;
    message.visible_at = Instant::now() + visibility;
    Message {
        receipt: format!("{index}/{}", message.receives),
        message_id: index.to_string(),
        body: message.body.clone(),
        sent: 1_700_000_000_000,
        receives: message.receives,
        moved: None,
        trace: None,
    }
}

fn parse(receipt: &str) -> (usize, u32) {
    let (index, number) = receipt.split_once('/').expect("a receipt");
    (index.parse().expect("an index"), number.parse().expect("a number"))
}

fn hash(body: &str) -> [u8; 32] {
    Sha256::digest(body).into()
}

fn delete(inner: &mut Inner, receipt: &str) -> Entry {
    let (index, number) = parse(receipt);
    let Queued { client, body, .. } = &inner.messages[index];
    let id = if body.contains("event_id") { body.split(r#""event_id":""#).nth(1) } else { None };
    let id = id.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned();
    let key = (client.clone(), id);
    let is_dispatched =
        |stored: &Stored| !stored.is_direct || stored.hash != hash(body) || inner.dispatched.contains(&key);
    let is_durable = inner.dead.contains_key(&index.to_string()) || inner.stored.get(&key).is_some_and(is_dispatched);
    assert!(is_durable, "message {index} is deleted, but it is neither stored and dispatched nor a dead letter");
    let message = &mut inner.messages[index];
    if message.receives != number {
        inner.count("expired receipts");
        return Entry::Gone;
    }
    message.is_deleted = true;
    Entry::Done
}

impl Events for Side {
    async fn put(&self, event: &Event, is_direct: bool) -> Result<Put, Failure> {
        let slow = self.0.inner().slow.get(&event.client_id).copied();
        sleep(slow.unwrap_or_default()).await;
        let put = |inner: &mut Inner| match inner.stored.get(&key(event)) {
            Some(&Stored { hash, is_direct }) if hash == event.body_hash => {
                inner.count("duplicates");
                Put::Duplicate { is_direct }
            }
            Some(_) => {
                inner.count("conflicts");
                Put::Conflict
            }
            None => {
                inner.stored.insert(key(event), Stored { hash: event.body_hash, is_direct });
                Put::Stored
            }
        };
        self.0.call(Outage::Table, put).await
    }
}

fn key(event: &Event) -> Key {
    (event.client_id.clone(), event.id.clone())
}

impl Dispatch for Side {
    async fn dispatch(&self, event: &Event) -> Result<(), Failure> {
        let dispatch = |inner: &mut Inner| {
            let stored = inner.stored.get(&key(event)).expect("a dispatched event is stored");
            assert!(stored.is_direct && stored.hash == event.body_hash, "{event:?} is not the stored event");
            let is_new = inner.dispatched.insert(key(event));
            inner.count(if is_new { "dispatches" } else { "dispatches again" });
        };
        self.0.call(Outage::Dispatch, dispatch).await
    }
}

impl DeadLetters for Side {
    async fn send(&self, message: &Message, invalid: &Invalid) -> Result<(), Failure> {
        let send = |inner: &mut Inner| {
            if inner.refuses_dead_letters {
                return Err(Failure::Refused("a refusal".to_owned()));
            }
            let is_new = inner.dead.insert(message.message_id.clone(), invalid.reason).is_none();
            inner.count(if is_new { "dead letters" } else { "dead letters again" });
            Ok(())
        };
        self.0.call(Outage::Queue, send).await?
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
