//! The table of the history: the update of a summary, its answers, and what readers get.

use mini_scan::changes::ports::{DeadLetter, Gap, History, Update, Updated};
use mini_scan::changes::{
    Body, Entries, Entry, EntryKey, EntryQuery, Event, Hashes, Image, Images, Position, Sequence, Summary,
};
use mini_scan::dynamo::{HistoryTable, SideTable, create_table};
use mini_scan::scan::Key;

use crate::support::dynamo::{Dynamo, text};
use crate::support::{unique, with_timeout};

struct Table {
    dynamo: Dynamo,
    name: String,
    history: HistoryTable,
}

impl Table {
    async fn new() -> Table {
        let (dynamo, name) = (Dynamo::connect(), unique("history"));
        let create = create_table(&dynamo.client, SideTable::History.spec(), &name);
        with_timeout("a history table", create).await.expect("the table is created");
        let history = HistoryTable::new(dynamo.client.clone(), name.clone());
        Table { dynamo, name, history }
    }

    async fn update(&self, update: &Update) -> Updated {
        self.history.update(update).await.expect("the table answers")
    }

    /// Returns the number of items with this partition key.
    async fn count(&self, ip: &str) -> usize {
        let query = self.dynamo.client.query().table_name(&self.name).key_condition_expression("ip = :ip");
        let found = query.expression_attribute_values(":ip", text(ip)).send().await.expect("the table is read");
        found.items().len()
    }
}

fn service() -> Key {
    Key::new([1, 1, 1, 1].into(), 80, "A#B")
}

fn position(stream: &str, sequence: &str) -> Position {
    Position { stream: stream.to_owned(), sequence: Sequence::parse(sequence).expect("a number") }
}

fn update(position: Position, event: Event, time: u64) -> Update {
    let hashes = Hashes { raw: [1; 16], bytes: [2; 16], text: [3; 16], data_version: 2 };
    let hashes = (event != Event::Closed).then(|| (hashes, "m1".to_owned()));
    Update { service: service(), position, event, time, created: time + 5, seen_at: time - 1, hashes }
}

fn applied(updated: Updated) -> Summary {
    match updated {
        Updated::Applied(summary) => summary,
        Updated::Refused(summary) => panic!("refused: {summary:?}"),
    }
}

fn entry(time: u64, sequence: &str) -> Entry {
    let key = EntryKey { service: service(), time, sequence: Sequence::parse(sequence).expect("a number") };
    let body = Some(Body::Text(format!("hello {time}")));
    Entry { number: Some(1), body, ..Entry::new(key, Event::Opened, time, u64::MAX >> 10) }
}

#[tokio::test]
async fn an_update_returns_the_summary_with_the_time_before_it() {
    let table = Table::new().await;

    let opened = applied(table.update(&update(position("2026-1", "99"), Event::Opened, 100)).await);
    let changed = applied(table.update(&update(position("2026-1", "100"), Event::Changed, 90)).await);
    let closed = applied(table.update(&update(position("2026-1", "101"), Event::Closed, 200)).await);

    assert_eq!((opened.changes, opened.previous_time, opened.first_seen), (1, Some(100), Some(99)));
    assert_eq!((changed.changes, changed.previous_time, changed.changed_at), (2, Some(100), Some(90)));
    let hashes = Some(Hashes { raw: [1; 16], bytes: [2; 16], text: [3; 16], data_version: 2 });
    let expected = Summary {
        service: service(),
        is_open: false,
        first_seen: Some(99),
        seen_by: Some(89),
        opened_at: Some(100),
        changed_at: Some(90),
        closed_at: Some(200),
        changes: 3,
        last: Some(position("2026-1", "101")),
        last_time: Some(200),
        last_created: Some(205),
        previous_time: Some(90),
        hashes,
        masks: Some("m1".to_owned()),
        repaired: None,
    };
    assert_eq!(closed, expected);
    let read = table.history.summaries(&[service(), Key::new([1, 1, 1, 2].into(), 80, "A")], true).await;
    let read = read.expect("the table answers").value;
    assert_eq!((read.summaries, read.unprocessed), (vec![expected], vec![]));
}

#[tokio::test]
async fn an_update_that_is_not_later_is_refused_with_the_summary() {
    let table = Table::new().await;
    let recorded = update(position("2026-2", "100"), Event::Opened, 100);
    let summary = applied(table.update(&recorded).await);

    for earlier in [position("2026-2", "100"), position("2026-2", "99"), position("2026-1", "999")] {
        let refused = table.update(&update(earlier.clone(), Event::Changed, 300)).await;
        assert_eq!(refused, Updated::Refused(summary.clone()), "{earlier:?}");
    }
    let later = applied(table.update(&update(position("2026-3", "1"), Event::Changed, 300)).await);
    assert_eq!(later.changes, 2);
}

#[tokio::test]
async fn the_first_scan_is_lowered_and_never_raised() {
    let table = Table::new().await;
    applied(table.update(&update(position("2026", "1"), Event::Opened, 100)).await);
    for (time, expected) in [(50, 50), (70, 50)] {
        table.history.lower_first_seen(&service(), time).await.expect("the table answers");
        let read = table.history.summaries(&[service()], true).await.expect("the table answers").value;
        assert_eq!(read.summaries[0].first_seen, Some(expected));
    }
}

#[tokio::test]
async fn an_entry_is_stored_once_and_read_by_its_time() {
    let table = Table::new().await;
    let entries: Vec<_> = [7, 8, 9].map(|time| entry(time, "1")).into();
    for entry in &entries {
        table.history.put(entry).await.expect("the entry is stored");
        let other = Entry { number: Some(9), ..entry.clone() };
        table.history.put(&other).await.expect("a repeated put is a success");
    }
    applied(table.update(&update(position("2026", "1"), Event::Opened, 100)).await);
    let query = EntryQuery {
        ip: [1, 1, 1, 1].into(),
        start: 0,
        end: u64::MAX,
        newest_first: false,
        with_bodies: true,
        after: None,
        limit: 100,
    };
    let read = async |query: EntryQuery<'_>| table.history.entries(&query).await.expect("the table answers").value;

    assert_eq!(read(query).await, Entries { entries: entries.clone(), next: None });
    let between = read(EntryQuery { start: 8, end: 9, ..query }).await;
    assert_eq!(between.entries, entries[1..2]);
    let newest = read(EntryQuery { newest_first: true, limit: 1, with_bodies: false, ..query }).await;
    assert_eq!(newest.entries, [Entry { body: None, expires_at: 0, ..entries[2].clone() }]);
    let next = read(EntryQuery { newest_first: true, after: newest.next.as_deref(), ..query }).await;
    assert_eq!(next.entries, [entries[1].clone(), entries[0].clone()]);

    table.history.delete(&entries[0].key).await.expect("the entry is deleted");
    table.history.delete(&entries[0].key).await.expect("a repeated deletion is a success");
    assert_eq!(read(query).await.entries, entries[1..]);
}

#[tokio::test]
async fn a_history_belongs_to_the_first_table_that_claims_it() {
    let table = Table::new().await;
    for claimed in ["scans", "scans", "other"] {
        assert_eq!(table.history.claim(claimed).await.expect("the table answers"), "scans");
    }
}

#[tokio::test]
async fn a_history_keeps_its_owner_and_the_label_of_its_last_stream() {
    let table = Table::new().await;
    assert_eq!(table.history.last_stream("scans").await, Ok(None));
    for label in ["2025", "2026"] {
        table.history.set_last_stream("scans", label).await.expect("the label is stored");
        assert_eq!(table.history.last_stream("scans").await.expect("the table answers").as_deref(), Some(label));
    }
    assert_eq!(table.history.claim("other").await.expect("the table answers"), "scans");
}

#[tokio::test]
async fn a_gap_is_open_until_it_is_repaired() {
    let table = Table::new().await;
    let gap = |noticed, after: &str| Gap {
        noticed,
        stream: "2026".to_owned(),
        shard: "shard-1".to_owned(),
        after: after.to_owned(),
        last_created: Some(5),
        cause: "trimmed",
    };
    assert_eq!(table.history.open_gaps().await, Ok(0));
    // The third is repeated, and the last one is another of its second.
    for (noticed, after) in [(7, "7"), (8, "8"), (8, "8"), (8, "9")] {
        table.history.put_gap(&gap(noticed, after)).await.expect("the gap is stored");
    }
    assert_eq!(table.history.open_gaps().await, Ok(3));
    let update = table.dynamo.client.update_item().table_name(&table.name).key("ip", text("gaps"));
    let update = update.key("entry", text(format!("{:020}#shard-1#7", 7))).update_expression("SET repaired_at = :now");
    let now = crate::support::dynamo::number(9);
    update.expression_attribute_values(":now", now).send().await.expect("the gap is repaired");
    assert_eq!(table.history.open_gaps().await, Ok(2));
}

#[tokio::test]
async fn a_dead_letter_has_as_many_items_as_its_images_need() {
    let table = Table::new().await;
    let images = |old: &str| Images {
        service: Some(service()),
        created: Some(7),
        old: Image::Unreadable(format!("{{\"a\":{{\"S\":\"{old}\"}}}}")),
        new: Image::Absent,
        by_time_to_live: false,
    };
    for (sequence, size, items) in [("1", 10, 1), ("2", 700 << 10, 3)] {
        let images = images(&"é".repeat(size / 2));
        let letter = DeadLetter {
            shard: "shard-1",
            sequence: Sequence::parse(sequence).expect("a number"),
            stream: "2026",
            images: &images,
            attempts: 1,
            reason: "why",
        };
        let before = table.count("dead").await;
        for _ in 0..2 {
            table.history.put_dead(&letter).await.expect("the dead letter is stored");
        }
        assert_eq!(table.count("dead").await - before, items);
    }
}
