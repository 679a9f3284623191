//! Reads the table's stream, which has every write in the order of the commits. It notices a timestamp that goes
//! backwards even if the final table is right, and a log of responses that differs from what was written.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::log::{Entry, Event};
use crate::support::dynamo_proxy::Row;

/// The timeout of a request. A request to a stopped store is sent again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What the stream has shown so far.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) records: u64,
    /// The timestamps of each key in the order of the stream, for each table that existed under the name.
    tables: Vec<HashMap<String, Vec<u64>>>,
    /// One line for each record that violates the order of timestamps.
    pub(super) violations: Vec<String>,
}

/// The reader of a table's stream.
pub(super) struct Stream {
    /// Requests to read all records of a table that is about to be deleted.
    deletions: mpsc::UnboundedSender<oneshot::Sender<()>>,
    end: watch::Sender<bool>,
    reader: JoinSet<Observed>,
}

impl Stream {
    /// Starts to read the stream of `table` from its beginning. `store` is the store's current address.
    pub(super) fn read(table: &str, store: watch::Receiver<String>) -> Stream {
        let (end, (deletions, deleted)) = (watch::Sender::new(false), mpsc::unbounded_channel());
        let mut reader = JoinSet::new();
        reader.spawn(read(table.to_owned(), store, deleted, end.subscribe()));
        Stream { deletions, end, reader }
    }

    /// Reads all records that there are. Those that follow belong to another table.
    pub(super) async fn before_deletion(&self) {
        let (done, read) = oneshot::channel();
        self.deletions.send(done).expect("the reader runs");
        read.await.expect("the reader runs");
    }

    /// Reads all records that there are, and returns what the stream has shown.
    pub(super) async fn end(self) -> Observed {
        self.end.send_replace(true);
        self.reader.join_all().await.remove(0)
    }
}

async fn read(
    table: String,
    store: watch::Receiver<String>,
    mut deletions: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    end: watch::Receiver<bool>,
) -> Observed {
    let client = Client { http: reqwest::Client::new(), store };
    let mut observed = Observed::default();
    let mut iterator = client.iterator(&table).await;
    loop {
        let (deletion, ending) = (deletions.try_recv().ok(), *end.borrow());
        loop {
            // The embedded server has one stream for all tables of a name. While there is no table, it finds none.
            let response =
                client.call("DynamoDBStreams_20120810.GetRecords", json!({ "ShardIterator": iterator })).await;
            let records = response["Records"].as_array().expect("a list of records");
            records.iter().for_each(|record| observed.add(record));
            iterator = text(&response["NextShardIterator"]);
            if records.is_empty() {
                break;
            }
        }
        if let Some(done) = deletion {
            observed.tables.push(HashMap::new());
            done.send(()).expect("the deletion waits");
        } else if ending {
            return observed;
        } else {
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Default for Observed {
    fn default() -> Observed {
        Observed { records: 0, tables: vec![HashMap::new()], violations: Vec::new() }
    }
}

impl Observed {
    fn add(&mut self, record: &Value) {
        let change = &record["dynamodb"];
        let key = text(&change["Keys"]["pk"]["S"]);
        let timestamp = |image: &Value| image["timestamp"]["N"].as_str().and_then(|number| number.parse::<u64>().ok());
        self.records += 1;
        let Some(new) = timestamp(&change["NewImage"]) else {
            return self.violations.push(format!("{key}: no timestamp after {}", record["eventName"]));
        };
        let table = self.tables.last_mut().expect("there is a table");
        let timestamps = table.entry(key.clone()).or_default();
        let (old, last) = (timestamp(&change["OldImage"]), timestamps.last().copied());
        timestamps.push(new);
        if old != last || last.is_some_and(|last| last >= new) {
            self.violations.push(format!("{key}: {new} replaced {old:?}, and the last record had {last:?}"));
        }
    }

    /// Returns the last timestamp of a key in the last table.
    pub(super) fn timestamp(&self, key: &str) -> Option<u64> {
        self.tables.last()?.get(key)?.last().copied()
    }

    /// Compares the log with the stream. Each row that a response proved must be a record of its table. Each record
    /// must be in a response, or belong to a write whose response never came.
    pub(super) fn compare(&self, entries: &[Entry]) -> Vec<String> {
        let mut differences = Vec::new();
        let (mut answered, mut unanswered, mut table) = (HashSet::new(), HashSet::new(), 0);
        for (number, Entry { event, .. }) in entries.iter().enumerate() {
            match event {
                Event::Answered(row) if answered.insert((table, row)) && !self.has(table, row) => {
                    differences.push(format!("entry {number}: a response proved {row:?}, which the stream has not"));
                }
                Event::Unanswered(row) => drop(unanswered.insert(row)),
                Event::TableDeleted => table += 1,
                _ => {}
            }
        }
        for (table, timestamps) in self.tables.iter().enumerate() {
            for (key, timestamps) in timestamps {
                let rows = timestamps.iter().map(|&timestamp| Row { key: key.clone(), timestamp });
                let unknown = rows.filter(|row| !answered.contains(&(table, row)) && !unanswered.contains(row));
                differences.extend(unknown.map(|row| format!("the stream has {row:?}, which no response proved")));
            }
        }
        differences
    }

    fn has(&self, table: usize, row: &Row) -> bool {
        let timestamps = self.tables.get(table).and_then(|table| table.get(&row.key));
        timestamps.is_some_and(|timestamps| timestamps.contains(&row.timestamp))
    }
}

struct Client {
    http: reqwest::Client,
    store: watch::Receiver<String>,
}

impl Client {
    async fn iterator(&self, table: &str) -> String {
        let table = self.call("DynamoDB_20120810.DescribeTable", json!({ "TableName": table })).await;
        let arn = text(&table["Table"]["LatestStreamArn"]);
        let stream = self.call("DynamoDBStreams_20120810.DescribeStream", json!({ "StreamArn": arn })).await;
        let shards = stream["StreamDescription"]["Shards"].as_array().expect("a list of shards");
        assert_eq!(shards.len(), 1, "the embedded server has one shard");
        let start = json!({ "StreamArn": arn, "ShardId": shards[0]["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
        text(&self.call("DynamoDBStreams_20120810.GetShardIterator", start).await["ShardIterator"])
    }

    /// Calls the store, and repeats the call until it responds and the table exists.
    async fn call(&self, target: &str, body: Value) -> Value {
        loop {
            let url = format!("http://{}", *self.store.borrow());
            let request = self.http.post(url).timeout(REQUEST_TIMEOUT).body(body.to_string());
            let request = request
                .header("content-type", "application/x-amz-json-1.0")
                .header("x-amz-target", target)
                .header("x-amz-date", "20260101T000000Z")
                .header(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
                     SignedHeaders=host, Signature=none",
                );
            let response = async {
                let response = request.send().await?;
                Ok::<_, reqwest::Error>((response.status(), response.json::<Value>().await?))
            };
            match response.await {
                Ok((status, response)) if status.is_success() => return response,
                Ok((status, response)) => {
                    let kind = response["__type"].as_str().unwrap_or_default();
                    assert!(kind.ends_with("ResourceNotFoundException"), "{target}: {status} {response}");
                }
                Err(_) => {}
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, old: Option<u64>, new: u64) -> Value {
        let image = |timestamp: u64| json!({ "timestamp": { "N": timestamp.to_string() } });
        let change = json!({ "Keys": { "pk": { "S": key } }, "OldImage": old.map(image), "NewImage": image(new) });
        json!({ "eventName": "MODIFY", "dynamodb": change })
    }

    fn observed(records: &[Value]) -> Observed {
        let mut observed = Observed::default();
        records.iter().for_each(|record| observed.add(record));
        observed
    }

    fn entries(events: impl IntoIterator<Item = Event>) -> Vec<Entry> {
        events.into_iter().map(|event| Entry { at: Duration::ZERO, event }).collect()
    }

    fn row(key: &str, timestamp: u64) -> Row {
        Row { key: key.to_owned(), timestamp }
    }

    #[test]
    fn notices_a_timestamp_that_goes_backwards_and_a_deleted_row() {
        let mut observed = observed(&[record("a", None, 5), record("a", Some(5), 7)]);
        assert!(observed.violations.is_empty(), "{observed:?}");
        observed.add(&record("a", Some(7), 6));
        assert_eq!(observed.violations.len(), 1);
        observed.add(&record("a", None, 9));
        assert_eq!(observed.violations.len(), 2, "the row was deleted in between");
    }

    #[test]
    fn a_log_that_agrees_with_the_stream_has_no_differences() {
        let mut observed = observed(&[record("a", None, 5), record("b", None, 3)]);
        observed.tables.push(HashMap::new());
        observed.add(&record("a", None, 2));
        let log = entries([
            Event::Answered(row("a", 5)),
            Event::Answered(row("a", 5)),
            Event::Unanswered(row("b", 3)),
            Event::Unanswered(row("c", 3)),
            Event::TableDeleted,
            Event::Answered(row("a", 2)),
        ]);
        assert_eq!(observed.compare(&log), [""; 0]);
    }

    #[test]
    fn notices_a_response_without_a_record_and_a_record_without_a_response() {
        let observed = observed(&[record("a", None, 5)]);
        assert_eq!(observed.compare(&entries([Event::Answered(row("a", 5)), Event::Answered(row("a", 4))])).len(), 1);
        assert_eq!(observed.compare(&entries([])).len(), 1);
        let deleted = entries([Event::TableDeleted, Event::Answered(row("a", 5))]);
        assert_eq!(observed.compare(&deleted).len(), 2, "the record is one of the first table");
    }
}
