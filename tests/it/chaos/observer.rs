//! Reads the table's stream. It notices a timestamp that goes backwards even if the final table is right.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

/// The timeout of a request. A request to a stopped store is sent again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What the stream has shown so far.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) records: u64,
    /// The last timestamp of each key.
    pub(super) timestamps: HashMap<String, u64>,
    /// One line for each record that violates the order of timestamps.
    pub(super) violations: Vec<String>,
}

/// Reads the stream of `table` from its beginning until `end` is true and no record is left. `store` is the store's
/// current address.
pub(super) async fn observe(table: String, store: watch::Receiver<String>, end: watch::Receiver<bool>) -> Observed {
    let client = Client { http: reqwest::Client::new(), store };
    let mut observed = Observed::default();
    let mut iterator = client.iterator(&table).await;
    loop {
        let ending = *end.borrow();
        let response = client.call("DynamoDBStreams_20120810.GetRecords", json!({ "ShardIterator": iterator })).await;
        let records = response["Records"].as_array().expect("a list of records");
        records.iter().for_each(|record| observed.add(record));
        iterator = text(&response["NextShardIterator"]);
        match records.is_empty() {
            true if ending => return observed,
            true => sleep(POLL_INTERVAL).await,
            false => {}
        }
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
        let (old, last) = (timestamp(&change["OldImage"]), self.timestamps.insert(key.clone(), new));
        if old != last || last.is_some_and(|last| last >= new) {
            self.violations.push(format!("{key}: {new} replaced {old:?}, and the last record had {last:?}"));
        }
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

    /// Calls the store, and repeats the call until it responds.
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
            let response = async { request.send().await?.error_for_status()?.json().await };
            match response.await {
                Ok(response) => return response,
                Err(error) if error.is_status() => panic!("{target}: {error}"),
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).to_owned()
}

#[test]
fn notices_a_timestamp_that_goes_backwards_and_a_deleted_row() {
    let record = |old: Option<u64>, new: u64| {
        let image = |timestamp: u64| json!({ "timestamp": { "N": timestamp.to_string() } });
        let change = json!({ "Keys": { "pk": { "S": "a" } }, "OldImage": old.map(image), "NewImage": image(new) });
        json!({ "eventName": "MODIFY", "dynamodb": change })
    };
    let mut observed = Observed::default();
    for (old, new) in [(None, 5), (Some(5), 7)] {
        observed.add(&record(old, new));
    }
    assert!(observed.violations.is_empty(), "{observed:?}");
    observed.add(&record(Some(7), 6));
    assert_eq!(observed.violations.len(), 1);
    observed.add(&record(None, 9));
    assert_eq!(observed.violations.len(), 2, "the row was deleted in between");
}
