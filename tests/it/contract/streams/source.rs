//! A table with a stream, its lease table, and readers of both that note what they handle.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_dynamodb::types::StreamSpecification;
use aws_sdk_dynamodbstreams::types::Record as Change;
use dynamodb_streams::{
    BoxError, Checkpoint, DeadRecord, DynamoDbLeaseTable, DynamoDbStream, Ended, Gap, Handler, Observer, Outcome,
    Reader, Record, Report, Retries, Settings, Waits,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::dynamo::{Dynamo, Item, item, number, text};
use crate::support::servers::DynamoServer;
use crate::support::{POLL_INTERVAL, unique, with_timeout};

/// The items of the table. Item `n % KEYS` contains record `n`.
pub(super) const KEYS: u64 = 5;

pub(super) struct Source {
    pub(super) dynamo: Dynamo,
    pub(super) table: String,
    pub(super) lease_table: DynamoDbLeaseTable,
    leases: String,
    pub(super) events: Events,
}

/// What the readers of a source did.
#[derive(Clone, Default)]
pub(super) struct Events(Arc<Mutex<Noted>>);

#[derive(Default)]
pub(super) struct Noted {
    /// The instance and the number of each handled record, in order.
    pub(super) handled: Vec<(String, u64)>,
    pub(super) dead: Vec<u64>,
    pub(super) sequence_numbers: BTreeMap<u64, String>,
    /// Records with this number fail for ever.
    pub(super) poison: Option<u64>,
    /// The first instance that gets this record never finishes it.
    pub(super) stuck: Option<u64>,
    stuck_in: Option<String>,
    gaps: Vec<Gap>,
    pub(super) taken: Vec<String>,
    /// The next owners of released leases.
    pub(super) released: Vec<Option<String>>,
    pub(super) restored: usize,
    /// Whether a listing showed that the stream is disabled.
    pub(super) disabled: bool,
    pub(super) finished: usize,
}

impl Noted {
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.handled.iter().map(|(_, number)| *number).collect()
    }

    /// Returns how often a record was handled.
    pub(super) fn times(&self, number: u64) -> usize {
        self.handled.iter().filter(|(_, handled)| *handled == number).count()
    }

    /// Panics unless the first time of each record is after that of its item's earlier records.
    pub(super) fn assert_order(&self) {
        let mut newest = [None; KEYS as usize];
        let mut seen = std::collections::BTreeSet::new();
        for (_, number) in &self.handled {
            if seen.insert(*number) {
                let newest = &mut newest[(number % KEYS) as usize];
                assert!(*newest < Some(*number), "{number} was handled after {newest:?}: {:?}", self.handled);
                *newest = Some(*number);
            }
        }
    }
}

impl Events {
    pub(super) fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().expect("no test panics while it has the lock")
    }

    pub(super) async fn wait_until(&self, what: &str, condition: impl Fn(&Noted) -> bool) {
        let polling = async {
            while !condition(&self.noted()) {
                sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(what, polling).await;
    }

    /// Waits until all these records were handled at least once.
    pub(super) async fn handled(&self, numbers: Range<u64>) {
        let what = format!("records {numbers:?}");
        self.wait_until(&what, |noted| numbers.clone().all(|number| noted.times(number) > 0)).await;
    }
}

impl Source {
    pub(super) async fn new() -> Source {
        let dynamo = Dynamo::connect();
        let (table, leases) = (dynamo.table().await, unique("leases"));
        let lease_table = DynamoDbLeaseTable::new(&dynamo.client, &leases);
        with_timeout("a lease table", lease_table.create_if_missing()).await.expect("the lease table is created");
        Source { dynamo, table, lease_table, leases, events: Events::default() }
    }

    /// Writes records with these numbers.
    pub(super) async fn write(&self, numbers: Range<u64>) {
        for n in numbers {
            let key = text((n % KEYS).to_string());
            self.dynamo.put(&self.table, item([("pk", key), ("number", number(n))])).await;
        }
    }

    pub(super) async fn stream(&self) -> DynamoDbStream {
        let client = self.dynamo.streams();
        let opening = DynamoDbStream::of_table(&client, &self.dynamo.client, &self.table);
        with_timeout("the stream", opening).await.expect("the table has a stream")
    }

    pub(super) async fn start(&self, instance: &str) -> Instance {
        self.start_with(instance, settings()).await
    }

    pub(super) async fn start_with(&self, instance: &str, settings: Settings) -> Instance {
        let stream = self.stream().await;
        let (keys, table) = (stream.lease_keys("contract"), self.lease_table.clone());
        let notes = Notes { instance: instance.to_owned(), events: self.events.clone() };
        let observer = Arc::new(notes.clone());
        let reader = Reader::new(instance, stream, table, keys, notes, observer, settings).expect("valid settings");
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(reader.run(async { drop(stopped.await) }));
        Instance { stop, task }
    }

    /// Returns the row of the only shard.
    pub(super) async fn row(&self) -> Option<Item> {
        let scan = self.dynamo.client.scan().table_name(&self.leases).consistent_read(true);
        let items = scan.send().await.expect("the lease table is read").items.unwrap_or_default();
        items.into_iter().find(|item| item["leaseKey"].as_s().is_ok_and(|key| key.contains("shardId")))
    }

    /// Waits until the checkpoint is at this record.
    pub(super) async fn checkpoint_at(&self, number: u64) {
        let polling = async {
            loop {
                let expected = self.events.noted().sequence_numbers.get(&number).cloned();
                let row = self.row().await;
                let stored = row.and_then(|row| row.get("checkpoint").cloned());
                if expected.is_some() && stored == expected.map(text) {
                    return;
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout(&format!("the checkpoint at record {number}"), polling).await;
    }

    /// Waits until the checkpoint is a record.
    pub(super) async fn checkpoint_after_start(&self) {
        let is_record = |row: &Item| row["checkpoint"].as_s().is_ok_and(|text| text.starts_with(char::is_numeric));
        let polling = async {
            while !self.row().await.is_some_and(|row| is_record(&row)) {
                sleep(POLL_INTERVAL).await;
            }
        };
        with_timeout("a checkpoint", polling).await;
    }

    /// Returns the reported gaps.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        let mut gaps = self.events.noted().gaps.clone();
        // It shows another start for an empty shard after each write to another table.
        if self.dynamo.skips(DynamoServer::DynamoDbLocal, "the start of an empty shard stays the same") {
            gaps.retain(|gap| gap.after != Checkpoint::TrimHorizon);
        }
        gaps
    }

    pub(super) async fn disable(&self) {
        let disabled = StreamSpecification::builder().stream_enabled(false).build().expect("a complete specification");
        let update = self.dynamo.client.update_table().table_name(&self.table).stream_specification(disabled);
        update.send().await.expect("the stream is disabled");
    }

    /// Sets an attribute of the only shard's row, as an operator would.
    pub(super) async fn set(&self, attribute: &str, value: &str) {
        let key = self.row().await.expect("the shard has a row").remove("leaseKey").expect("a row has a key");
        let update = self.dynamo.client.update_item().table_name(&self.leases).key("leaseKey", key);
        let update = update.update_expression("SET #name = :value").expression_attribute_names("#name", attribute);
        update.expression_attribute_values(":value", text(value)).send().await.expect("the row is changed");
    }

    pub(super) async fn delete_row(&self) {
        let key = self.row().await.expect("the shard has a row").remove("leaseKey").expect("a row has a key");
        let delete = self.dynamo.client.delete_item().table_name(&self.leases).key("leaseKey", key);
        delete.send().await.expect("the row is deleted");
    }
}

/// Short times, because the tests wait for them.
pub(super) fn settings() -> Settings {
    Settings {
        // A stall of a slow machine must not lose a lease, because the next owner repeats records.
        failover: Duration::from_secs(8),
        checkpoint_interval: Duration::from_millis(100),
        handover_timeout: Duration::from_secs(2),
        discovery_interval: Duration::from_secs(1),
        retries: Retries { first_delay: Duration::from_millis(10), max_attempts: 3, ..Settings::default().retries },
        waits: Waits {
            after_records: Duration::from_millis(50),
            max_after_none: Duration::from_millis(200),
            ..Settings::default().waits
        },
        ..Settings::default()
    }
}

/// A running reader. Dropping it kills it.
pub(super) struct Instance {
    stop: oneshot::Sender<()>,
    task: JoinSet<Ended>,
}

impl Instance {
    pub(super) async fn stop(self) {
        let Instance { stop, task } = self;
        stop.send(()).expect("the reader runs");
        assert_eq!(ended(task).await, Ended::Stopped);
    }

    /// Waits until the reader ends without being stopped.
    pub(super) async fn end(self) -> Ended {
        let Instance { stop: _stop, task } = self;
        ended(task).await
    }

    pub(super) fn kill(self) {
        drop(self);
    }
}

async fn ended(mut task: JoinSet<Ended>) -> Ended {
    let end = with_timeout("the end of a reader", task.join_next()).await;
    end.expect("the reader is a task").expect("the reader does not panic")
}

/// The handler and observer of one instance.
#[derive(Clone)]
struct Notes {
    instance: String,
    events: Events,
}

impl Handler<Change> for Notes {
    async fn handle(&self, record: &Record<Change>, _attempt: u32) -> Outcome {
        let number = number_of(record);
        let is_stuck = {
            let mut noted = self.events.noted();
            if noted.poison == Some(number) {
                return Outcome::RetryLater { after: None, reason: "poison".to_owned() };
            }
            noted.stuck == Some(number) && *noted.stuck_in.get_or_insert(self.instance.clone()) == self.instance
        };
        if is_stuck {
            std::future::pending::<()>().await;
        }
        let mut noted = self.events.noted();
        noted.handled.push((self.instance.clone(), number));
        noted.sequence_numbers.insert(number, record.sequence_number.to_string());
        Outcome::Done
    }

    async fn store_dead(&self, dead: DeadRecord<'_, Change>) -> Result<(), BoxError> {
        self.events.noted().dead.push(number_of(dead.record));
        Ok(())
    }
}

impl Observer for Notes {
    fn report(&self, report: &Report<'_>) {
        let mut noted = self.events.noted();
        match report {
            Report::Gap(gap) => noted.gaps.push((*gap).clone()),
            Report::LeaseTaken { .. } => noted.taken.push(self.instance.clone()),
            Report::LeaseReleased { to, .. } => noted.released.push(to.map(|owner| owner.as_str().to_owned())),
            Report::LeaseRestored { .. } => noted.restored += 1,
            Report::StreamEnabled(is_enabled) => noted.disabled = !is_enabled,
            Report::ShardFinished { .. } => noted.finished += 1,
            Report::StreamFailed { .. } | Report::LeaseTableFailed { .. } => {
                println!("{}: {report:?}", self.instance);
            }
            _ => {}
        }
    }
}

fn number_of(record: &Record<Change>) -> u64 {
    let image = record.data.dynamodb().and_then(|change| change.new_image()).expect("the stream contains new images");
    image["number"].as_n().expect("a number").parse().expect("a whole number")
}
