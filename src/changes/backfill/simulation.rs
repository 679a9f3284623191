//! Simulates a backfill beside the shipped recorder, which lags and whose stream has gaps. In the end the history must have
//! each change that the stream showed once, and the state of each record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dynamodb_streams::{Handler, Outcome, Record as StreamRecord, SequenceNumber, ShardId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use super::*;
use crate::changes::compare::tests::{masks, row};
use crate::changes::ports::{DeadLetter, Gap, History, Update, Updated};
use crate::changes::{Entry, EntryKey, Image, Images, Position, Recorder, Repair, Responses, Sequence, Watch};
use crate::hosts::Row;

const SEEDS: u64 = 1_000;
const START: u64 = 1_000_000;

/// The two tables, with requests that take time before and after they are applied.
#[derive(Clone)]
struct Fake(Arc<Mutex<State>>);

struct State {
    random: StdRng,
    began: Instant,
    rows: BTreeMap<String, Row>,
    /// Services whose row only a consistent read shows. It is no record.
    unreadable: BTreeSet<String>,
    summaries: BTreeMap<String, Summary>,
    entries: BTreeMap<String, Entry>,
    /// What happens right after the next read of one summary or one record.
    meanwhile: Option<Meanwhile>,
}

type Meanwhile = Box<dyn FnOnce(&mut State) + Send>;

impl State {
    fn after_read(&mut self) {
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile(self);
        }
    }
}

impl Fake {
    fn new(seed: u64) -> Fake {
        let (rows, summaries, entries) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (random, unreadable) = (StdRng::seed_from_u64(seed ^ 0x5eed), BTreeSet::new());
        let began = Instant::now();
        Fake(Arc::new(Mutex::new(State { random, began, rows, unreadable, summaries, entries, meanwhile: None })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it has the lock")
    }

    async fn request<R>(&self, apply: impl FnOnce(&mut State) -> R) -> Result<R, StoreError> {
        let wait = || Duration::from_millis(self.state().random.random_range(0..600));
        let (before, after) = (wait(), wait());
        sleep(before).await;
        let answer = apply(&mut self.state());
        sleep(after).await;
        Ok(answer)
    }

    fn seconds(&self) -> u64 {
        START + self.state().began.elapsed().as_secs()
    }
}

fn entry_key(key: &EntryKey) -> String {
    format!("{} {}", key.service.as_str(), key.sort_key())
}

impl History for Fake {
    async fn update(&self, update: &Update) -> Result<Updated, StoreError> {
        self.request(|state| {
            let old = state.summaries.get(update.service.as_str()).cloned();
            if let Some(old) = old.as_ref().filter(|it| it.last.as_ref().is_some_and(|last| *last >= update.position)) {
                return Updated::Refused(old.clone());
            }
            let mut summary = old.unwrap_or_else(|| repair::first_summary(&row(0, b"").record, &masks()));
            summary.service = update.service.clone();
            summary.previous_time = summary.last_time.or(Some(update.time));
            (summary.last_time, summary.last_created) = (Some(update.time), Some(update.created));
            summary.last = Some(update.position.clone());
            summary.changes += 1;
            summary.is_open = update.event != Event::Closed;
            if let Some((hashes, masks)) = &update.hashes {
                (summary.hashes, summary.masks) = (Some(*hashes), Some(masks.clone()));
            }
            state.summaries.insert(update.service.as_str().to_owned(), summary.clone());
            Updated::Applied(summary)
        })
        .await
    }

    async fn lower_first_seen(&self, _: &Key, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn put(&self, entry: &Entry) -> Result<(), StoreError> {
        self.request(|state| _ = state.entries.entry(entry_key(&entry.key)).or_insert_with(|| entry.clone())).await
    }

    async fn delete(&self, key: &EntryKey) -> Result<(), StoreError> {
        self.request(|state| drop(state.entries.remove(&entry_key(key)))).await
    }

    async fn put_dead(&self, letter: &DeadLetter<'_>) -> Result<(), StoreError> {
        panic!("no record is dead: {}", letter.reason)
    }

    async fn put_gap(&self, _: &Gap) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Tables for Fake {
    async fn summaries(&self, services: &[Key]) -> Result<Vec<Summary>, StoreError> {
        self.request(|state| services.iter().filter_map(|it| state.summaries.get(it.as_str()).cloned()).collect()).await
    }

    async fn summary(&self, service: &Key) -> Result<Option<Summary>, StoreError> {
        self.request(|state| {
            let found = state.summaries.get(service.as_str()).cloned();
            state.after_read();
            found
        })
        .await
    }

    async fn recorded(&self, services: &[Key]) -> Result<Vec<Key>, StoreError> {
        self.request(|state| services.iter().filter(|it| state.rows.contains_key(it.as_str())).cloned().collect()).await
    }

    async fn record(&self, service: &Key) -> Result<Found, StoreError> {
        self.request(|state| {
            let found = match state.rows.get(service.as_str()) {
                _ if state.unreadable.contains(service.as_str()) => Found::Unreadable,
                Some(row) => Found::Record(row.record.clone()),
                None => Found::Absent,
            };
            state.after_read();
            found
        })
        .await
    }

    async fn create(&self, summary: &Summary) -> Result<bool, StoreError> {
        self.request(|state| {
            let is_new = !state.summaries.contains_key(summary.service.as_str());
            state.summaries.entry(summary.service.as_str().to_owned()).or_insert_with(|| summary.clone());
            is_new
        })
        .await
    }

    async fn correct(&self, correction: &Correction) -> Result<bool, StoreError> {
        self.request(|state| {
            let before = &correction.before;
            let summary = state.summaries.get_mut(before.service.as_str()).expect("summaries stay");
            let is_as_read = summary.is_open == before.is_open
                && summary.last == before.last
                && summary.repaired.as_ref().map(|it| it.time) == before.repaired.as_ref().map(|it| it.time);
            if !is_as_read {
                return false;
            }
            if let Some((hashes, masks)) = &correction.hashes {
                (summary.hashes, summary.masks) = (Some(*hashes), Some(masks.clone()));
            }
            if let Some((repair, entry)) = &correction.repair {
                summary.is_open = repair.event != Event::Closed;
                // A close has no response, and a table may keep the one of the repair before.
                let earlier = summary.repaired.take().and_then(|earlier| earlier.response);
                summary.repaired = Some(Repair { response: repair.response.or(earlier), ..repair.clone() });
                let replaced = state.entries.insert(entry_key(&entry.key), entry.clone());
                let is_closed = |entry: &Entry| entry.event == Event::Closed;
                assert!(replaced.is_none_or(|it| is_closed(&it) == is_closed(entry)), "another repair: {entry:?}");
            }
            true
        })
        .await
    }

    fn now(&self) -> u64 {
        self.seconds()
    }
}

/// What was written, and what the stream shows of it.
#[derive(Default)]
struct Written {
    stream: Mutex<Vec<StreamRecord<Arc<Images>>>>,
    /// The events that the stream shows, by service.
    shown: Mutex<BTreeMap<String, Vec<Event>>>,
    /// The services of which the stream has lost a change.
    lost: Mutex<BTreeSet<String>>,
}

fn rules() -> Rules {
    Rules { masks: masks(), responses: Responses::Full, ttl: 1_000_000 }
}

impl Written {
    /// Writes and removes records as random scans do, of which the stream loses some.
    async fn write(&self, fake: &Fake, mut random: StdRng, has_gaps: bool) {
        for number in 100..100 + random.random_range(1..20) {
            let longest = if random.random_bool(0.5) { 500 } else { 5_000 };
            sleep(Duration::from_millis(random.random_range(0..longest))).await;
            let service = Key::new([1, 1, 1, 1].into(), 80, ["A", "B"][random.random_range(0..2)]);
            let old = fake.state().rows.get(service.as_str()).cloned();
            let now = fake.seconds();
            let new = (old.is_none() || random.random_bool(0.8)).then(|| {
                let responses: [&[u8]; 4] = [b"a", b"b", b"c1", b"c2"];
                let timestamp = old.as_ref().map_or(now, |old| now.max(old.record.timestamp + 1));
                let mut row = row(timestamp, responses[random.random_range(0..4)]);
                row.record.key = service.clone();
                row
            });
            let letter = |row: &Row| row.record.response.as_bytes()[0];
            let event = match (&old, &new) {
                (None, Some(_)) => Some(Event::Opened),
                (Some(old), Some(new)) => (letter(old) != letter(new)).then_some(Event::Changed),
                _ => Some(Event::Closed),
            };
            match &new {
                Some(row) => fake.state().rows.insert(service.as_str().to_owned(), row.clone()),
                None => fake.state().rows.remove(service.as_str()),
            };
            let service = service.as_str().to_owned();
            if has_gaps && random.random_bool(0.3) {
                self.lost.lock().expect("a lock").insert(service);
                continue;
            }
            self.shown.lock().expect("a lock").entry(service).or_default().extend(event);
            let image = |row: Option<Row>| row.map_or(Image::Absent, Image::Row);
            let key = old.as_ref().or(new.as_ref()).map(|row| row.record.key.clone());
            let images =
                Images { service: key, created: Some(now), old: image(old), new: image(new), by_time_to_live: false };
            self.stream.lock().expect("a lock").push(StreamRecord {
                shard: ShardId::new("shard"),
                sequence_number: SequenceNumber::new(number.to_string()),
                key: 0,
                created: None,
                bytes: 1,
                read_at: Instant::now(),
                data: Arc::new(images),
            });
        }
    }

    /// Records what the stream shows until `end`, and then the rest.
    async fn record(&self, fake: &Fake, mut random: StdRng, end: Instant) {
        let label = "2026".to_owned();
        let (rules, watch) = (Arc::new(rules()), Arc::<Watch>::default());
        let recorder = Recorder::new(fake.clone(), Arc::new(()), rules, label, Arc::new(()), watch);
        let mut next = 0;
        loop {
            // A reader is fast, or lags.
            let longest = if random.random_bool(0.7) { 200 } else { 12_000 };
            sleep(Duration::from_millis(random.random_range(0..longest))).await;
            let record = self.stream.lock().expect("a lock").get(next).cloned();
            match record {
                Some(record) => {
                    assert_eq!(recorder.handle(&record, 1).await, Outcome::Done);
                    next += 1;
                }
                None if Instant::now() > end => return,
                None => {}
            }
        }
    }

    fn check(&self, fake: &Fake) {
        let state = fake.state();
        let (shown, lost) = (self.shown.lock().expect("a lock"), self.lost.lock().expect("a lock"));
        for (service, row) in &state.rows {
            let summary = &state.summaries[service];
            assert_eq!(compare(Some(summary), &row.record, &masks()), Comparison::UpToDate, "{service}");
        }
        for (service, summary) in &state.summaries {
            assert_eq!(summary.is_open, state.rows.contains_key(service), "{service}");
            let entries: Vec<_> = state.entries.values().filter(|it| it.key.service.as_str() == service).collect();
            let mut numbered: Vec<_> = entries.iter().filter_map(|it| Some((it.number?, it.event))).collect();
            numbered.sort_unstable();
            let events = shown.get(service).into_iter().flatten().copied();
            assert_eq!(numbered, (1..).zip(events).collect::<Vec<_>>(), "{service}");
            let repairs = entries.len() - numbered.len();
            let shown: Vec<_> = entries.iter().map(|it| (it.key.time, it.number, it.event, it.created)).collect();
            assert!(repairs == 0 || lost.contains(service), "{service}: {shown:?} {:?}", summary.repaired);
        }
    }
}

async fn fill(fake: &Fake) -> Counts {
    let comparison = Backfill { tables: fake.clone(), rules: rules(), rebases: false };
    let records: Vec<_> = fake.state().rows.values().map(|row| row.record.clone()).collect();
    // A page may be old when it is compared.
    let mut counts = comparison.records(&records).await.expect("the fake does not fail");
    let open: Vec<_> = fake.state().summaries.values().filter(|it| it.is_open).cloned().collect();
    counts.add(comparison.summaries(&open).await.expect("the fake does not fail"));
    counts
}

#[tokio::test(start_paused = true)]
async fn a_history_beside_a_backfill_has_each_change_of_the_stream_once_and_the_state_of_each_record() {
    let (mut repaired, mut waited) = (0, 0);
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let (fake, written) = (Fake::new(seed), Written::default());
        let mut next = || StdRng::seed_from_u64(random.random());
        let (writer, reader, mut backfills) = (next(), next(), next());
        let end = Instant::now() + Duration::from_secs(60);
        let fills = async {
            let mut counts = Counts::default();
            for _ in 0..backfills.random_range(1..4) {
                sleep(Duration::from_millis(backfills.random_range(0..20_000))).await;
                counts.add(fill(&fake).await);
            }
            counts
        };
        let gaps = seed % 2 == 0;
        let (counts, (), ()) =
            tokio::join!(fills, written.write(&fake, writer, gaps), written.record(&fake, reader, end));
        // After that, the stream has no record that the reader could still come to.
        sleep(Duration::from_secs(26 * 60 * 60)).await;
        fill(&fake).await;
        written.check(&fake);
        let again = fill(&fake).await;
        let all = again.created + again.opened + again.changed + again.closed + again.waiting + again.moved;
        assert_eq!(all, 0, "a second backfill changes something: {again:?}");
        repaired += counts.opened + counts.changed + counts.closed;
        waited += counts.waiting;
    }
    // Otherwise the schedules would prove nothing.
    assert!(repaired > SEEDS / 2 && waited > SEEDS / 50, "{repaired} {waited}");
}

/// Puts the record of a service, and returns its row.
fn scanned(fake: &Fake, timestamp: u64, response: &[u8]) -> Row {
    let row = row(timestamp, response);
    fake.state().rows.insert(row.record.key.as_str().to_owned(), row.clone());
    row
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_row_is_unreadable_is_neither_closed_nor_changed() {
    let fake = Fake::new(0);
    let Row { record, .. } = scanned(&fake, START, b"a");
    assert_eq!(fill(&fake).await.created, 1);
    let summaries = fake.state().summaries.clone();
    fake.state().rows.clear();
    fake.state().unreadable.insert(record.key.as_str().to_owned());

    let closed = fill(&fake).await;
    let comparison = Backfill { tables: fake.clone(), rules: rules(), rebases: false };
    let changed = comparison.records(&[Record { response: "b".to_owned(), ..record }]).await.expect("the fake answers");

    assert_eq!([closed, changed], [Counts { unreadable: 1, ..Counts::default() }; 2]);
    let state = fake.state();
    assert!(state.summaries == summaries && state.entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_repair_keeps_the_entries_of_the_repairs_before() {
    let fake = Fake::new(0);
    let day = Duration::from_secs(26 * 60 * 60);
    scanned(&fake, START, b"a");
    fill(&fake).await;
    scanned(&fake, START + 1, b"b");
    assert_eq!(fill(&fake).await.changed, 1);
    sleep(day).await;
    fake.state().rows.clear();
    assert_eq!(fill(&fake).await.closed, 1);
    sleep(day).await;
    // The same response as before it closed.
    let reopened = scanned(&fake, fake.seconds(), b"b").record.timestamp;
    assert_eq!(fill(&fake).await.opened, 1);

    let state = fake.state();
    let events: Vec<_> = state.entries.values().map(|entry| entry.event).collect();
    assert_eq!(events, [Event::Changed, Event::Closed, Event::Opened]);
    assert!(state.entries.values().any(|entry| entry.key.time == reopened));
}

/// Stores a scan with this response, and the summary that the reader makes of it.
fn recorded_scan(response: &'static [u8]) -> Meanwhile {
    Box::new(move |state| {
        let row = row(START + 10, response);
        let service = row.record.key.clone();
        let last = Some(Position { stream: "2026".to_owned(), sequence: Sequence::parse("7").expect("a number") });
        let summary = Summary { last, changes: 2, ..repair::first_summary(&row.record, &masks()) };
        state.summaries.insert(service.as_str().to_owned(), summary);
        state.rows.insert(service.as_str().to_owned(), row);
    })
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_reader_records_between_both_reads_is_not_repaired() {
    for is_gone in [false, true] {
        let fake = Fake::new(0);
        let Row { record, .. } = scanned(&fake, START, b"a");
        assert_eq!(fill(&fake).await.created, 1);
        let known = fake.state().summaries[record.key.as_str()].clone();
        let changed = scanned(&fake, START + 1, b"b").record;
        if is_gone {
            fake.state().rows.clear();
        }
        fake.state().meanwhile = Some(recorded_scan(b"c1"));

        let comparison = Backfill { tables: fake.clone(), rules: rules(), rebases: false };
        let counts = match is_gone {
            false => comparison.records(&[changed]).await,
            true => comparison.summaries(&[known]).await,
        };

        assert_eq!(counts.expect("the fake does not fail"), Counts { moved: 1, ..Counts::default() });
        let state = fake.state();
        let summary = &state.summaries[record.key.as_str()];
        assert!(summary.is_open && summary.repaired.is_none() && state.entries.is_empty(), "{summary:?}");
    }
}
