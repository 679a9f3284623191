//! BatchExecuteStatement, as `--write-mode batch` uses it, and a comparison of its rows with those of PutItem.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use mini_scan::consumer::ports::{Answer, Attempt, Record, Statement, Store, StoreErrorKind, Verb};
use mini_scan::dynamo::Scans;
use mini_scan::scan::{DataVersion, Key, Scan};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::support::dynamo::{Dynamo, Item, item, number, text};
use crate::support::servers::DynamoServer;
use crate::support::unique;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn scan(port: u16, timestamp: u64, response: &str) -> Scan {
    Scan {
        key: Key::new(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), port, "HTTP"),
        timestamp,
        data_version: DataVersion::V2,
        response: response.to_owned(),
        response_bytes: None,
    }
}

fn update(scan: Scan) -> Statement {
    Statement { scan: Arc::new(scan), verb: Verb::Update }
}

fn insert(scan: Scan) -> Statement {
    Statement { scan: Arc::new(scan), verb: Verb::Insert }
}

const STORED: Option<Attempt> = Some(Ok(Answer::Stored));

struct Table {
    dynamo: Dynamo,
    name: String,
}

impl Table {
    async fn new() -> Table {
        let dynamo = Dynamo::connect();
        let name = dynamo.table().await;
        Table { dynamo, name }
    }

    fn store(&self, ttl: Option<Duration>) -> Scans {
        Scans::new(self.dynamo.client.clone(), self.name.clone(), ttl)
    }

    /// Returns the answer to a stale write if the table has `stored`.
    fn stale(&self, stored: &Scan, ttl: Option<Duration>, is_same: bool) -> Option<Attempt> {
        let bytes = self.store(ttl).measure(stored).expect("the scan is small enough");
        Some(Ok(Answer::Stale(Record { timestamp: stored.timestamp, is_same, bytes })))
    }

    async fn batch(&self, statements: &[Statement]) -> Vec<Option<Attempt>> {
        self.store(None).batch(statements).await.expect("the call succeeds")
    }

    async fn rows(&self) -> BTreeMap<String, Item> {
        self.dynamo.scan(&self.name).await
    }
}

#[tokio::test]
async fn an_update_replaces_an_older_record_and_distinguishes_a_newer_from_a_missing_one() {
    let table = Table::new().await;
    for (port, timestamp) in [(1, 4), (2, 5), (3, 6)] {
        assert_eq!(table.store(None).put(&scan(port, timestamp, "before")).await, Ok(Answer::Stored));
    }

    let answers = table.batch(&[1, 2, 3, 4].map(|port| update(scan(port, 5, "ours")))).await;

    let stale = |port, timestamp| table.stale(&scan(port, timestamp, "before"), None, false);
    assert_eq!(answers, [STORED, stale(2, 5), stale(3, 6), None]);
    let rows = table.rows().await;
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (&rows["1.1.1.1#1#HTTP"]["response"], &rows["1.1.1.1#2#HTTP"]["response"]),
        (&text("ours"), &text("before"))
    );
}

#[tokio::test]
async fn an_insert_creates_a_record_and_does_not_change_an_existing_one() {
    let table = Table::new().await;
    assert_eq!(table.store(None).put(&scan(1, 4, "before")).await, Ok(Answer::Stored));

    let answers = table.batch(&[1, 2].map(|port| insert(scan(port, 5, "ours")))).await;

    assert_eq!(answers, [None, STORED]);
    assert_eq!(table.rows().await["1.1.1.1#1#HTTP"]["response"], text("before"));
}

#[tokio::test]
async fn a_repeated_batch_recognizes_its_own_record_after_a_lost_response() {
    let table = Table::new().await;
    let bytes = Scan { response_bytes: Some(vec![0xff, 0]), ..scan(2, 5, "\u{fffd}\0") };
    for scan in [scan(1, 5, "ours"), bytes] {
        for ttl in [None, Some(DAY)] {
            let store = table.store(ttl);
            let scan = Scan { timestamp: scan.timestamp + u64::from(ttl.is_some()), ..scan.clone() };
            store.put(&Scan { timestamp: 1, ..scan.clone() }).await.expect("the scan is stored");
            let first = store.batch(&[update(scan.clone())]).await.expect("the call succeeds");
            let again = store.batch(&[update(scan.clone())]).await.expect("the call succeeds");
            assert_eq!([first, again].concat(), [STORED, table.stale(&scan, ttl, true)], "{scan:?} {ttl:?}");
        }
    }
}

#[tokio::test]
async fn a_batch_distinguishes_a_foreign_row_from_a_stale_scan() {
    let table = Table::new().await;
    let foreign: [(u16, Item); 2] = [
        (1, item([("pk", text("1.1.1.1#1#HTTP"))])),
        (2, item([("pk", text("1.1.1.1#2#HTTP")), ("timestamp", text("1"))])),
    ];
    for (port, row) in foreign {
        table.dynamo.put(&table.name, row).await;
        let answers = table.batch(&[update(scan(port, 5, "ours")), insert(scan(100 + port, 5, "beside"))]).await;
        assert!(matches!(&answers[0], Some(Err(error)) if error.kind == StoreErrorKind::ForeignRow), "{answers:?}");
        assert_eq!(answers[1], STORED, "each statement has its own result");
    }
}

#[tokio::test]
async fn a_rejected_statement_does_not_affect_the_others_of_its_batch() {
    let table = Table::new().await;
    // `batch` does not check the size, so the server rejects the statement.
    let large = scan(1, 5, &"x".repeat(401 * 1024));

    let answers = table.batch(&[insert(large), insert(scan(2, 5, "ours"))]).await;

    assert!(matches!(&answers[0], Some(Err(error)) if error.kind == StoreErrorKind::Refused), "{answers:?}");
    assert_eq!(answers[1], STORED);
}

#[tokio::test]
async fn a_batch_with_a_duplicate_key_is_rejected_as_a_whole() {
    let table = Table::new().await;
    let statements = [insert(scan(1, 5, "a")), insert(scan(2, 5, "b")), update(scan(1, 6, "c"))];

    let error = table.store(None).batch(&statements).await.expect_err("the batch is rejected");

    assert_eq!(error.kind, StoreErrorKind::Refused, "{error:?}");
    assert!(error.detail.contains("duplicates"), "{error:?}");
    if !table.dynamo.skips(DynamoServer::DynamoDbLocal, "nothing of a rejected batch is written") {
        assert!(table.rows().await.is_empty());
    }
}

#[tokio::test]
async fn a_batch_of_more_than_25_statements_is_rejected_as_a_whole() {
    let table = Table::new().await;
    let statements: Vec<_> = (0..26).map(|port| insert(scan(port, 5, "a"))).collect();

    assert_eq!(table.batch(&statements[..25]).await, vec![STORED; 25]);
    let error = table.store(None).batch(&statements).await.expect_err("the batch is rejected");

    assert_eq!(error.kind, StoreErrorKind::Refused, "{error:?}");
}

#[tokio::test]
async fn a_batch_into_a_missing_table_fails_with_missing_table() {
    let dynamo = Dynamo::connect();
    let store = Scans::new(dynamo.client.clone(), unique("missing"), None);

    // Either the call fails, or each of its statements.
    let kind = match store.batch(&[insert(scan(1, 5, "a"))]).await {
        Err(error) => error.kind,
        Ok(answers) => match &answers[..] {
            [Some(Err(error))] => error.kind,
            answers => panic!("the batch did not fail: {answers:?}"),
        },
    };

    assert_eq!(kind, StoreErrorKind::MissingTable);
}

/// Returns a random scan of one of a few keys, with any of the optional attributes of a record.
fn random_scan(random: &mut StdRng) -> Scan {
    let bytes = random.random_bool(0.4).then(|| (0..random.random_range(1..20)).map(|_| random.random()).collect());
    let responses = ["", "hello", "\u{0}\r\n\t\"\\ \u{fffd} \u{10ffff}", "'; DROP --", "?"];
    Scan {
        data_version: if random.random() { DataVersion::V1 } else { DataVersion::V2 },
        response_bytes: bytes,
        ..scan(random.random_range(1..=12), random.random_range(0..40), responses.choose(random).expect("a response"))
    }
}

/// Writes one scan as the consumer does: by a statement, then by one with the other verb, then by PutItem.
async fn write_with_verbs(store: &Scans, statement: Statement) -> Answer {
    let mut statement = statement;
    for _ in 0..2 {
        match &store.batch(std::slice::from_ref(&statement)).await.expect("the call succeeds")[..] {
            [Some(Ok(answer))] => return *answer,
            [None] => {
                statement.verb = match statement.verb {
                    Verb::Update => Verb::Insert,
                    Verb::Insert => Verb::Update,
                }
            }
            answers => panic!("{answers:?}"),
        }
    }
    store.put(&statement.scan).await.expect("the call succeeds")
}

#[tokio::test]
async fn a_random_mix_of_both_write_modes_leaves_the_same_rows_as_put_item_alone() {
    for seed in 0..8 {
        let mut random = StdRng::seed_from_u64(seed);
        let (expected, mixed) = (Table::new().await, Table::new().await);
        for _ in 0..150 {
            let scan = random_scan(&mut random);
            let ttl = random.random::<bool>().then_some(DAY);
            let expected_put = expected.store(ttl).put(&scan).await.expect("the call succeeds");
            let store = mixed.store(ttl);
            let put = match random.random_range(0..3) {
                0 => store.put(&scan).await.expect("the call succeeds"),
                1 => write_with_verbs(&store, update(scan)).await,
                _ => write_with_verbs(&store, insert(scan)).await,
            };
            assert_eq!(put, expected_put, "seed {seed}");
        }
        assert_eq!(expected.rows().await, mixed.rows().await, "seed {seed}");
    }
}

#[tokio::test]
async fn batches_of_many_keys_leave_the_same_rows_as_put_item() {
    let mut random = StdRng::seed_from_u64(1);
    let (expected, batched) = (Table::new().await, Table::new().await);
    for _ in 0..20 {
        let mut keys = HashSet::new();
        let mut scans: Vec<_> = (0..10).map(|_| random_scan(&mut random)).collect();
        scans.retain(|scan| keys.insert(scan.key.clone()));
        for scan in &scans {
            expected.store(None).put(scan).await.expect("the call succeeds");
        }
        let known: HashSet<_> = batched.rows().await.into_keys().collect();
        let statement = |scan: Scan| if known.contains(scan.key.as_str()) { update(scan) } else { insert(scan) };
        let statements: Vec<_> = scans.into_iter().map(statement).collect();
        let answers = batched.batch(&statements).await;
        assert!(answers.iter().all(|answer| matches!(answer, Some(Ok(_)))), "{answers:?}");
    }
    assert_eq!(expected.rows().await, batched.rows().await);
}

#[tokio::test]
async fn an_update_removes_the_attributes_that_the_new_record_lacks() {
    let table = Table::new().await;
    let first = Scan { response_bytes: Some(vec![0xff]), ..scan(1, 4, "\u{fffd}") };
    table.store(Some(DAY)).put(&first).await.expect("the scan is stored");
    let row = table.rows().await.remove("1.1.1.1#1#HTTP").expect("the row exists");
    assert!(matches!(row["response_bytes"], AttributeValue::B(_)) && row["expires_at"] == number(86_404), "{row:?}");

    assert_eq!(table.batch(&[update(scan(1, 5, "text"))]).await, [STORED]);

    let row = table.rows().await.remove("1.1.1.1#1#HTTP").expect("the row exists");
    let mut names: Vec<_> = row.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["data_version", "ip", "pk", "port", "response", "service", "timestamp"]);
}
