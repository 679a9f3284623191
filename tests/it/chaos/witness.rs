//! Reads the stream of the table, so that a timestamp that ever goes backwards is seen, though the end be right.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

/// A stopped store answers later.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the stream said so far.
#[derive(Debug, Default)]
pub(super) struct Witnessed {
    pub(super) records: u64,
    /// The timestamp of each key.
    pub(super) timestamps: HashMap<String, u64>,
    /// A line for each record that must not be.
    pub(super) wrong: Vec<String>,
}

/// Reads the stream of `table` from its beginning until `end` is true and nothing is left, at the store's address of
/// the moment.
pub(super) async fn witness(table: String, store: watch::Receiver<String>, end: watch::Receiver<bool>) -> Witnessed {
    let client = Client { http: reqwest::Client::new(), store };
    let mut witnessed = Witnessed::default();
    let mut iterator = client.iterator(&table).await;
    loop {
        let ending = *end.borrow();
        let answer = client.ask("DynamoDBStreams_20120810.GetRecords", json!({ "ShardIterator": iterator })).await;
        let records = answer["Records"].as_array().expect("a list of records");
        records.iter().for_each(|record| witnessed.note(record));
        iterator = text(&answer["NextShardIterator"]);
        match records.is_empty() {
            true if ending => return witnessed,
            true => sleep(LOOK_EVERY).await,
            false => {}
        }
    }
}

impl Witnessed {
    fn note(&mut self, record: &Value) {
        let change = &record["dynamodb"];
        let key = text(&change["Keys"]["pk"]["S"]);
        let timestamp = |image: &Value| image["timestamp"]["N"].as_str().and_then(|number| number.parse::<u64>().ok());
        self.records += 1;
        let Some(new) = timestamp(&change["NewImage"]) else {
            return self.wrong.push(format!("{key}: no timestamp after {}", record["eventName"]));
        };
        let (old, seen) = (timestamp(&change["OldImage"]), self.timestamps.insert(key.clone(), new));
        if old != seen || seen.is_some_and(|seen| seen >= new) {
            self.wrong.push(format!("{key}: {new} over {old:?}, and {seen:?} was seen before"));
        }
    }
}

struct Client {
    http: reqwest::Client,
    store: watch::Receiver<String>,
}

impl Client {
    async fn iterator(&self, table: &str) -> String {
        let table = self.ask("DynamoDB_20120810.DescribeTable", json!({ "TableName": table })).await;
        let arn = text(&table["Table"]["LatestStreamArn"]);
        let stream = self.ask("DynamoDBStreams_20120810.DescribeStream", json!({ "StreamArn": arn })).await;
        let shards = stream["StreamDescription"]["Shards"].as_array().expect("a list of shards");
        assert_eq!(shards.len(), 1, "the embedded engine has one");
        let start = json!({ "StreamArn": arn, "ShardId": shards[0]["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
        text(&self.ask("DynamoDBStreams_20120810.GetShardIterator", start).await["ShardIterator"])
    }

    /// The answer, however often the store must be asked.
    async fn ask(&self, target: &str, body: Value) -> Value {
        loop {
            let url = format!("http://{}", *self.store.borrow());
            let request = self.http.post(url).timeout(ANSWER_WITHIN).body(body.to_string());
            let request = request
                .header("content-type", "application/x-amz-json-1.0")
                .header("x-amz-target", target)
                .header("x-amz-date", "20260101T000000Z")
                .header(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
                     SignedHeaders=host, Signature=none",
                );
            let answer = async { request.send().await?.error_for_status()?.json().await };
            match answer.await {
                Ok(answer) => return answer,
                Err(error) if error.is_status() => panic!("{target}: {error}"),
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

#[test]
fn a_timestamp_that_goes_backwards_is_seen() {
    let record = |old: Option<u64>, new: u64| {
        let image = |timestamp: u64| json!({ "timestamp": { "N": timestamp.to_string() } });
        let change = json!({ "Keys": { "pk": { "S": "a" } }, "OldImage": old.map(image), "NewImage": image(new) });
        json!({ "eventName": "MODIFY", "dynamodb": change })
    };
    let mut witnessed = Witnessed::default();
    for (old, new) in [(None, 5), (Some(5), 7)] {
        witnessed.note(&record(old, new));
    }
    assert!(witnessed.wrong.is_empty(), "{witnessed:?}");
    witnessed.note(&record(Some(7), 6));
    assert_eq!(witnessed.wrong.len(), 1);
    witnessed.note(&record(None, 9));
    assert_eq!(witnessed.wrong.len(), 2, "the row was gone in between");
}
