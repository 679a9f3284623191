//! Simulates the shipped recorder on a history that loses answers, applies writes late and hangs, with instances that die at
//! any await and repeat records. In the end, the history must be what the changes of the table were. No record may be done
//! before its notification.

mod table;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dynamodb_streams::{Handler, Outcome, Record, SequenceNumber, ShardId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};

use self::table::Table;
use self::told::Told;
use super::change::{Responses, Rules};
use super::compare::tests::{masks, row};
use super::{EntryKey, Event, Image, Images, Reason, Recorder, Sequence, Watch};
use crate::hosts::Row;
use crate::scan::Key;

const SERVICES: usize = 3;
const SEEDS: u64 = 400;

/// What one write of the table must add to the history.
#[derive(Debug, Clone, PartialEq)]
struct Expected {
    event: Event,
    reason: Option<Reason>,
    time: u64,
    number: u64,
    is_late: bool,
}

/// The table of scans, with its stream and the history that follows from it.
#[derive(Default)]
struct World {
    rows: BTreeMap<usize, Row>,
    /// The records of each stream: one ends before the next begins.
    streams: [Vec<Record<Arc<Images>>>; 2],
    /// The entry that each record makes.
    entries: [Vec<Option<EntryKey>>; 2],
    expected: BTreeMap<usize, Vec<Expected>>,
    first_seen: BTreeMap<usize, u64>,
}

fn service(index: usize) -> Key {
    Key::new([1, 1, 1, 1].into(), 80, ["HTTP", "A#B", "A"][index])
}

impl World {
    /// Writes or removes a record as random scans and expiries do.
    fn write(&mut self, random: &mut StdRng, stream: usize, now: u64) {
        let index = random.random_range(0..SERVICES);
        let old = self.rows.get(&index).cloned();
        let is_removed = old.is_some() && random.random_bool(0.3);
        let letters = ["a", "a1", "a2", "b", "b3"];
        let new = (!is_removed).then(|| {
            // Scans arrive in any order, and the clocks of scanners may be ahead.
            let timestamp = (now + 20).saturating_sub(random.random_range(0..60));
            let timestamp = old.as_ref().map_or(timestamp, |old| timestamp.max(old.record.timestamp + 1));
            let mut row = row(timestamp, letters[random.random_range(0..letters.len())].as_bytes());
            row.record.key = service(index);
            row.expires_at = Some(timestamp + 30);
            row
        });
        let time = self.expect(index, old.as_ref(), new.as_ref(), now);
        match &new {
            Some(row) => self.rows.insert(index, row.clone()),
            None => self.rows.remove(&index),
        };
        let image = |row: Option<Row>| row.map_or(Image::Absent, Image::Row);
        let images = Images {
            service: Some(service(index)),
            created: Some(now),
            old: image(old),
            new: image(new),
            by_time_to_live: false,
        };
        // The numbers of a stream grow in length, and those of a later stream may be smaller.
        let number = ([997, 97][stream] + self.streams[stream].len()).to_string();
        let sequence = Sequence::parse(&number).expect("a number");
        self.entries[stream].push(time.map(|time| EntryKey { service: service(index), time, sequence }));
        self.streams[stream].push(Record {
            shard: ShardId::new("shard"),
            sequence_number: SequenceNumber::new(number),
            key: index as u64,
            created: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(now)),
            bytes: 1,
            read_at: Instant::now(),
            data: Arc::new(images),
        });
    }

    /// Adds what the history must have of a write. Returns the time of its entry.
    fn expect(&mut self, index: usize, old: Option<&Row>, new: Option<&Row>, now: u64) -> Option<u64> {
        let letter = |row: &Row| row.record.response.as_bytes()[0];
        let digits = |row: &Row| row.record.response.len();
        let (event, reason, time) = match (old, new) {
            (None, Some(new)) => (Event::Opened, None, new.record.timestamp),
            (Some(old), Some(new)) if letter(old) != letter(new) || digits(old) != digits(new) => {
                (Event::Changed, None, new.record.timestamp)
            }
            (Some(old), None) => {
                let is_expired = old.expires_at.is_some_and(|expiry| expiry <= now);
                let reason = if is_expired { Reason::Expired } else { Reason::Deleted };
                (Event::Closed, Some(reason), now.max(old.record.timestamp))
            }
            _ => return None,
        };
        let expected = self.expected.entry(index).or_default();
        let is_late = expected.last().is_some_and(|last| time < last.time);
        expected.push(Expected { event, reason, time, number: expected.len() as u64 + 1, is_late });
        if event == Event::Opened {
            let first = self.first_seen.entry(index).or_insert(time);
            *first = time.min(*first);
        }
        Some(time)
    }

    /// Reads a stream with instances that die, until all of its records are done.
    async fn read(&self, stream: usize, table: &Table, told: &Told, random: &mut StdRng) {
        let records = &self.streams[stream];
        let mut done = 0;
        while done < records.len() {
            // Checkpoints are behind, and a lost lease row starts from the beginning.
            let start = match random.random_range(0..10) {
                0 => 0,
                1..4 => random.random_range(0..=done),
                _ => done,
            };
            let rules = Arc::new(Rules { masks: masks(), responses: Responses::Full, ttl: 1000 });
            let label = format!("2026-{stream}");
            let (history, notifier) = (table.clone(), Arc::new(told.clone()));
            let recorder = Recorder::new(history, notifier, rules, label, Arc::new(()), Arc::<Watch>::default());
            let mut next = start;
            let session = async {
                for (record, entry) in records.iter().zip(&self.entries[stream]).skip(start) {
                    while recorder.handle(record, 1).await != Outcome::Done {
                        sleep(Duration::from_millis(10)).await;
                    }
                    assert!(
                        entry.as_ref().is_none_or(|key| told.knows(key)),
                        "done before its notification: {entry:?}"
                    );
                    next += 1;
                }
            };
            // The future is dropped at whatever await it is.
            let lifetime = Duration::from_millis(random.random_range(1..60_000));
            let _ = timeout(lifetime, session).await;
            done = done.max(next);
        }
    }

    fn check(&self, table: &Table, told: &Told) {
        assert_eq!(told.entries(), table.entries());
        let mut found = BTreeMap::<usize, Vec<Expected>>::new();
        for entry in table.entries() {
            let index = (0..SERVICES).find(|index| service(*index) == entry.key.service).expect("a known service");
            let number = entry.number.expect("each entry has a number");
            let (event, reason, is_late) = (entry.event, entry.reason, entry.is_late);
            found.entry(index).or_default().push(Expected { event, reason, time: entry.key.time, number, is_late });
        }
        for entries in found.values_mut() {
            entries.sort_by_key(|entry| entry.number);
        }
        assert_eq!(found, self.expected);
        for (index, expected) in &self.expected {
            let summary = table.summary(&service(*index)).expect("each service with entries has a summary");
            let last = expected.last().expect("it has entries");
            assert_eq!(summary.changes, last.number);
            assert_eq!(summary.is_open, self.rows.contains_key(index));
            assert_eq!(summary.first_seen, self.first_seen.get(index).copied());
            for (event, at) in [
                (Event::Opened, summary.opened_at),
                (Event::Changed, summary.changed_at),
                (Event::Closed, summary.closed_at),
            ] {
                let of_event = expected.iter().rfind(|entry| entry.event == event);
                assert_eq!(at, of_event.map(|entry| entry.time), "{event:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_history_is_what_the_changes_of_the_table_were() {
    let (mut replayed, mut late, mut repeated) = (0, 0, 0);
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::default();
        let mut now = 1000;
        for stream in 0..2 {
            for _ in 0..random.random_range(0..25) {
                now += random.random_range(0..8);
                world.write(&mut random, stream, now);
            }
        }
        let table = Table::new(seed);
        let told = Told::new(seed, table.clone());
        for stream in 0..2 {
            world.read(stream, &table, &told, &mut random).await;
        }
        table.apply_late();
        world.check(&table, &told);
        replayed += table.refusals();
        repeated += told.repeated();
        late += world.expected.values().flatten().filter(|entry| entry.is_late).count();
    }
    // Otherwise the schedules would prove nothing.
    assert!(replayed > SEEDS && repeated > SEEDS && late > 100, "{replayed} {repeated} {late}");
}

#[tokio::test(start_paused = true)]
async fn a_table_of_a_newer_program_makes_the_instance_unready_instead_of_dead_letters() {
    let mut world = World::default();
    world.write(&mut StdRng::seed_from_u64(0), 0, 1000);
    let readable = world.streams[0].remove(0);
    let unreadable = Images { new: Image::Unreadable("{}".to_owned()), ..(*readable.data).clone() };
    let unreadable = Record { data: Arc::new(unreadable), ..readable.clone() };
    let rules = Arc::new(Rules { masks: masks(), responses: Responses::Full, ttl: 1000 });
    let watch = Arc::<Watch>::default();
    let stream = "2026".to_owned();
    let recorder = Recorder::new(Table::new(0), Arc::new(()), rules, stream, Arc::new(()), watch.clone());

    let numbered = |record: &Record<Arc<Images>>, number: u32| Record {
        sequence_number: SequenceNumber::new(number.to_string()),
        ..record.clone()
    };
    for number in 0..49 {
        assert!(matches!(recorder.handle(&numbered(&unreadable, number), 1).await, Outcome::Dead { .. }));
    }
    let held = numbered(&unreadable, 49);
    assert!(matches!(recorder.handle(&held, 1).await, Outcome::Unavailable { .. }));
    assert_eq!(watch.health.conditions().len(), 1);

    for number in 50..101 {
        assert!(matches!(recorder.handle(&held, 1).await, Outcome::Unavailable { .. }));
        while recorder.handle(&numbered(&readable, number), 1).await != Outcome::Done {}
    }
    assert_eq!(watch.health.conditions(), []);
    assert!(matches!(recorder.handle(&held, 1).await, Outcome::Dead { .. }), "each record counts once");
}
