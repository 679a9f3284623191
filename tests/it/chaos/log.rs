//! The log of a run: what the servers did, in one order. An event gets its number before a client can act on it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pubsub_local::Event as PubsubEvent;
use tokio::time::{Instant, sleep};

use super::audit::Audit;
use crate::support::dynamo_proxy::{Request, Response, Row};
use crate::support::pipeline::Pipeline;

/// How often the log is checked during a run.
const AUDIT_INTERVAL: Duration = Duration::from_secs(1);
/// The most entries that the history of a violation shows.
const SHOWN: usize = 20;

/// What the servers did. Clones share one log.
#[derive(Clone)]
pub(super) struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    start: Instant,
    /// The index of an entry is its number.
    entries: Mutex<Vec<Entry>>,
    /// The expected result of each payload, by its hash.
    expected: Mutex<HashMap<u64, Expected>>,
}

/// An event and the time since the start of the log.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) at: Duration,
    pub(super) event: Event,
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A message was published to the consumers' topic. The publisher did not announce it if nothing is expected.
    Published { id: String, expected: Option<Expected> },
    /// A dead letter was published. Its attributes name the source and the reason.
    DeadLettered { source: String, reason: String, payload: u64 },
    /// The server accepted the acknowledgement of a delivery.
    Acknowledged { id: String, leased_for: Duration },
    /// The store's response to a write proved that the table has this row.
    Answered(Row),
    /// The store may have written this row: it received the request, and its response never came.
    Unanswered(Row),
    /// The store answered a write that the table does not exist.
    TableMissing,
    /// The table was deleted. The store had answered all writes.
    TableDeleted,
}

/// What must have happened before a message may be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// The table has the key with this timestamp or a newer one.
    Scan(Row),
    /// The dead-letter topic has the payload with this reason.
    DeadLetter { reason: &'static str, payload: u64 },
}

impl Log {
    pub(super) fn new() -> Log {
        let inner = Inner { start: Instant::now(), entries: Mutex::default(), expected: Mutex::default() };
        Log { inner: Arc::new(inner) }
    }

    /// Announces what is expected of the messages with this payload. Call it before the payload is published.
    pub(super) fn expect(&self, payload: &[u8], expected: Expected) {
        let mut all = self.inner.expected.lock().expect("no thread panics while it holds the lock");
        all.insert(hash(payload), expected);
    }

    pub(super) fn add(&self, event: Event) {
        self.add_all([event]);
    }

    fn add_all(&self, events: impl IntoIterator<Item = Event>) {
        let mut entries = self.entries();
        let at = self.inner.start.elapsed();
        entries.extend(events.into_iter().map(|event| Entry { at, event }));
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.inner.entries.lock().expect("no thread panics while it holds the lock")
    }

    /// Adds what Pub/Sub does with the messages and the dead letters of `pipeline` from now on.
    pub(super) fn listen(&self, pipeline: &Pipeline) {
        let (log, topic, subscription) = (self.clone(), pipeline.topic.clone(), pipeline.subscription.clone());
        let dead_letter_topic = pipeline.dead_letter_topic.clone();
        pipeline.pubsub.listen(move |event| match event {
            PubsubEvent::Published { topic: to, message_id, data, .. } if *to == topic => {
                let all = log.inner.expected.lock().expect("no thread panics while it holds the lock");
                let expected = all.get(&hash(data)).cloned();
                drop(all);
                log.add(Event::Published { id: (*message_id).to_owned(), expected });
            }
            PubsubEvent::Published { topic: to, data, attributes, .. } if *to == dead_letter_topic => {
                let attribute = |name: &str| attributes.get(name).cloned().unwrap_or_default();
                let (source, reason) = (attribute("source_message_id"), attribute("rejection_reason"));
                log.add(Event::DeadLettered { source, reason, payload: hash(data) });
            }
            PubsubEvent::Acknowledged { subscription: of, message_id, leased_for, .. } if *of == subscription => {
                log.add(Event::Acknowledged { id: (*message_id).to_owned(), leased_for: *leased_for });
            }
            _ => {}
        });
    }

    /// Adds what the store's response to a request shows, or that none came.
    pub(super) fn observe(&self, request: &Request, response: Option<&Response>) {
        if !request.is_write() {
            return;
        }
        match response {
            None => self.add_all(request.rows().into_iter().map(Event::Unanswered)),
            Some(response) => {
                let answer = request.answer(response);
                let missing = answer.table_is_missing.then_some(Event::TableMissing);
                self.add_all(answer.rows.into_iter().map(Event::Answered).chain(missing));
            }
        }
    }

    /// Returns whether the store has answered that the table does not exist since there were this many entries.
    pub(super) fn table_was_missing_since(&self, count: usize) -> bool {
        self.entries()[count..].iter().any(|entry| matches!(entry.event, Event::TableMissing))
    }

    /// Checks the log until there is a violation, and returns it with its history.
    pub(super) async fn first_violation(&self) -> String {
        let (mut audit, mut checked) = (Audit::default(), 0);
        loop {
            let new: Vec<Entry> = self.entries()[checked..].to_vec();
            checked += new.len();
            new.iter().for_each(|entry| audit.add(entry));
            if let Some(violation) = audit.violations().first() {
                let history = self.history(&violation.subjects).join("\n    ");
                return format!("{violation}\n    {history}");
            }
            sleep(AUDIT_INTERVAL).await;
        }
    }

    /// Checks the whole log.
    pub(super) fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        self.entries().iter().for_each(|entry| audit.add(entry));
        audit
    }

    /// Returns the last entries about these messages and keys, and the deletions of the table.
    fn history(&self, subjects: &[String]) -> Vec<String> {
        let entries = self.entries();
        let about = |event: &Event| match event {
            Event::Published { id, .. } | Event::Acknowledged { id, .. } => subjects.contains(id),
            Event::DeadLettered { source, .. } => subjects.contains(source),
            Event::Answered(row) | Event::Unanswered(row) => subjects.contains(&row.key),
            Event::TableMissing => false,
            Event::TableDeleted => true,
        };
        let found = entries.iter().enumerate().rev().filter(|(_, entry)| about(&entry.event)).take(SHOWN);
        let mut lines: Vec<_> =
            found.map(|(number, Entry { at, event })| format!("{number} {at:.3?} {event:?}")).collect();
        lines.reverse();
        lines
    }
}

pub(super) fn hash(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}
