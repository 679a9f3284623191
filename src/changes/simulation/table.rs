//! A history that loses requests and answers, applies writes late, and hangs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::changes::ports::{DeadLetter, Gap, History, Update, Updated};
use crate::changes::{Entry, EntryKey, Event, Summary};
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::scan::Key;

#[derive(Clone)]
pub(super) struct Table(Arc<Mutex<State>>);

struct State {
    random: StdRng,
    entries: BTreeMap<String, Entry>,
    summaries: BTreeMap<String, Summary>,
    late: Vec<Write>,
    refusals: u64,
}

#[derive(Clone)]
enum Write {
    Update(Update),
    Lower(Key, u64),
    Put(Entry),
    Delete(EntryKey),
}

/// What becomes of a request.
enum Fate {
    Answered,
    Lost,
    AnswerLost,
    /// It is applied after its caller gave up.
    Late,
}

impl Table {
    pub(super) fn new(seed: u64) -> Table {
        let random = StdRng::seed_from_u64(seed ^ 0x5eed);
        let (entries, summaries) = (BTreeMap::new(), BTreeMap::new());
        Table(Arc::new(Mutex::new(State { random, entries, summaries, late: Vec::new(), refusals: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it has the lock")
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.state().entries.values().cloned().collect()
    }

    pub(super) fn summary(&self, service: &Key) -> Option<Summary> {
        self.state().summaries.get(service.as_str()).cloned()
    }

    pub(super) fn refusals(&self) -> u64 {
        self.state().refusals
    }

    pub(super) fn apply_late(&self) {
        let mut state = self.state();
        for write in std::mem::take(&mut state.late) {
            state.apply(write);
        }
    }

    async fn request(&self, write: Write) -> Result<Option<Updated>, StoreError> {
        let (fate, hangs, delay) = {
            let mut state = self.state();
            let fate = match state.random.random_range(0..10) {
                0 => Fate::Lost,
                1 => Fate::AnswerLost,
                2 => Fate::Late,
                _ => Fate::Answered,
            };
            (fate, state.random.random_bool(0.3), state.random.random_range(0..50))
        };
        if self.state().random.random_bool(0.1) {
            self.apply_late();
        }
        sleep(Duration::from_millis(delay)).await;
        let answer = match fate {
            Fate::Answered => return Ok(self.state().apply(write)),
            Fate::Lost => None,
            Fate::AnswerLost => self.state().apply(write),
            Fate::Late => {
                self.state().late.push(write);
                None
            }
        };
        drop(answer);
        if hangs {
            sleep(Duration::from_secs(3600)).await;
        }
        Err(StoreError { kind: StoreErrorKind::Unavailable, detail: "no answer".to_owned() })
    }
}

impl State {
    /// Applies a write as the contract of the history requires.
    fn apply(&mut self, write: Write) -> Option<Updated> {
        match write {
            Write::Update(update) => return Some(self.update(&update)),
            Write::Lower(service, time) => {
                let summary = self.summaries.get_mut(service.as_str()).expect("it was updated before");
                summary.first_seen = summary.first_seen.map(|first| first.min(time));
            }
            Write::Put(entry) => {
                let key = format!("{} {}", entry.key.service.ip(), entry.key.sort_key());
                self.entries.entry(key).or_insert(entry);
            }
            Write::Delete(key) => drop(self.entries.remove(&format!("{} {}", key.service.ip(), key.sort_key()))),
        }
        None
    }

    fn update(&mut self, update: &Update) -> Updated {
        let old = self.summaries.get(update.service.as_str());
        if let Some(old) = old.filter(|old| old.last.as_ref().is_some_and(|last| *last >= update.position)) {
            self.refusals += 1;
            return Updated::Refused(old.clone());
        }
        let (old_time, changes) = old.map_or((None, 0), |old| (old.last_time, old.changes));
        let mut summary = old.cloned().unwrap_or_else(|| Summary::new(update.service.clone()));
        summary.previous_time = old_time.or(Some(update.time));
        summary.last_time = Some(update.time);
        summary.last_created = Some(update.created);
        summary.last = Some(update.position.clone());
        summary.changes = changes + 1;
        summary.is_open = update.event != Event::Closed;
        let at = Some(update.time);
        match update.event {
            Event::Opened => {
                (summary.opened_at, summary.first_seen) = (at, summary.first_seen.or(Some(update.seen_at)))
            }
            Event::Changed => (summary.changed_at, summary.seen_by) = (at, summary.seen_by.or(Some(update.seen_at))),
            Event::Closed => (summary.closed_at, summary.seen_by) = (at, summary.seen_by.or(Some(update.seen_at))),
        }
        self.summaries.insert(update.service.as_str().to_owned(), summary.clone());
        Updated::Applied(summary)
    }
}

impl History for Table {
    async fn update(&self, update: &Update) -> Result<Updated, StoreError> {
        let answer = self.request(Write::Update(update.clone())).await?;
        Ok(answer.expect("an update has an answer"))
    }

    async fn lower_first_seen(&self, service: &Key, time: u64) -> Result<(), StoreError> {
        self.request(Write::Lower(service.clone(), time)).await.map(drop)
    }

    async fn put(&self, entry: &Entry) -> Result<(), StoreError> {
        self.request(Write::Put(entry.clone())).await.map(drop)
    }

    async fn delete(&self, key: &EntryKey) -> Result<(), StoreError> {
        self.request(Write::Delete(key.clone())).await.map(drop)
    }

    async fn put_dead(&self, letter: &DeadLetter<'_>) -> Result<(), StoreError> {
        panic!("no record is dead: {}", letter.reason)
    }

    async fn put_gap(&self, _: &Gap) -> Result<(), StoreError> {
        Ok(())
    }
}
