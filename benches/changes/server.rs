//! A stream whose pages are made from one template, so that serving them takes little time, and an embedded DynamoDB for
//! the leases.

use std::fmt::Write;
use std::sync::{Arc, mpsc};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Load;

pub(crate) const STREAM: &str =
    "arn:aws:dynamodb:us-east-1:000000000000:table/scan-results/stream/2026-11-21T20:00:00.000";
pub(crate) const PAGE_RECORDS: usize = 1000;
/// The bytes of a response in each image. With them, a record has 1 kB in JSON.
const RESPONSE_BYTES: usize = 130;
/// Numbers of the template that each page replaces.
const NUMBER: &str = "NNNNNNNNNNNNNNNNNNNNN";
const NEXT: &str = "NEXT-SHARD-ITERATOR";

/// The endpoints of the server, which runs until the end of the process.
pub(crate) struct Server {
    pub(crate) streams: String,
    pub(crate) leases: String,
}

struct Stream {
    load: Load,
    page: String,
    /// Where the numbers are in the page.
    numbers: Vec<usize>,
}

pub(crate) fn start(load: Load) -> anyhow::Result<Server> {
    let (bound, binding) = mpsc::channel();
    std::thread::Builder::new().name("server".to_owned()).spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (streams, leases) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
            let endpoint = |listener: &TcpListener| listener.local_addr().map(|address| format!("http://{address}"));
            bound.send(Server { streams: endpoint(&streams)?, leases: endpoint(&leases)? })?;
            let router = Router::new().fallback(respond).with_state(Arc::new(Stream::new(load)));
            let database = dynamodb_local::dynoxide::Database::memory()?;
            tokio::select! {
                served = axum::serve(streams, router) => Ok(served?),
                () = dynamodb_local::dynoxide::server::serve_on(leases, database) => Ok(()),
            }
        })
    })?;
    binding.recv().context("the server did not start")
}

async fn respond(State(stream): State<Arc<Stream>>, headers: HeaderMap, body: Bytes) -> Result<String, String> {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let request: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    match target.rsplit('.').next() {
        Some("DescribeStream") => Ok(stream.description(request.get("ShardFilter").is_some())),
        Some("GetShardIterator") => {
            Ok(json!({ "ShardIterator": format!("{}|0", text(&request, "ShardId")) }).to_string())
        }
        Some("GetRecords") => stream.records(text(&request, "ShardIterator")).ok_or_else(|| "no iterator".to_owned()),
        _ => Err(format!("no such operation: {target}")),
    }
}

fn text<'a>(request: &'a Value, name: &str) -> &'a str {
    request.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl Stream {
    fn new(load: Load) -> Stream {
        let records: Vec<String> = (0..PAGE_RECORDS).map(record).collect();
        let page = format!(r#"{{"NextShardIterator":"{NEXT}","Records":[{}]}}"#, records.join(","));
        let numbers = page.match_indices(NUMBER).map(|(at, _)| at).collect();
        Stream { load, page, numbers }
    }

    /// Describes closed shards without children.
    fn description(&self, of_children: bool) -> String {
        let shards = if of_children { 0 } else { self.load.shards };
        let shards: Vec<Value> = (0..shards)
            .map(|shard| {
                let range = json!({ "StartingSequenceNumber": number(0), "EndingSequenceNumber": number(u64::MAX / 2) });
                json!({ "ShardId": format!("shardId-{:020}-{shard:08x}", 1_795_000_000_000_u64), "SequenceNumberRange": range })
            })
            .collect();
        json!({ "StreamDescription": { "StreamArn": STREAM, "StreamStatus": "ENABLED", "Shards": shards } }).to_string()
    }

    fn records(&self, iterator: &str) -> Option<String> {
        let (shard, page) = iterator.split_once('|')?;
        let page: usize = page.parse().ok()?;
        let next = match page + 1 < self.load.pages {
            true => format!(r#""{shard}|{}""#, page + 1),
            false => "null".to_owned(),
        };
        let mut body = self.page.clone().into_bytes();
        for (index, at) in self.numbers.iter().enumerate() {
            let number = number((page * PAGE_RECORDS + index) as u64);
            body[*at..*at + NUMBER.len()].copy_from_slice(number.as_bytes());
        }
        let body = String::from_utf8(body).ok()?;
        Some(body.replacen(&format!(r#""{NEXT}""#), &next, 1))
    }
}

fn number(number: u64) -> String {
    format!("1{number:020}")
}

/// Returns a record of the program's table.
fn record(index: usize) -> String {
    let pk = format!("198.51.{}.{}#443#HTTP", index / 250, index % 250);
    let image = |timestamp: u64| {
        format!(
            concat!(
                r#"{{"pk":{{"S":"{}"}},"ip":{{"S":"198.51.100.1"}},"port":{{"N":"443"}},"service":{{"S":"HTTP"}},"#,
                r#""timestamp":{{"N":"{}"}},"response":{{"S":"{}"}},"data_version":{{"N":"2"}}}}"#
            ),
            pk,
            timestamp,
            "x".repeat(RESPONSE_BYTES)
        )
    };
    let mut record = String::new();
    _ = write!(
        record,
        concat!(
            r#"{{"eventID":"{:032x}","eventName":"MODIFY","eventVersion":"1.1","eventSource":"aws:dynamodb","#,
            r#""awsRegion":"us-east-1","dynamodb":{{"ApproximateCreationDateTime":1795307700.0,"#,
            r#""Keys":{{"pk":{{"S":"{}"}}}},"NewImage":{},"OldImage":{},"SequenceNumber":"{}","#,
            r#""SizeBytes":600,"StreamViewType":"NEW_AND_OLD_IMAGES"}}}}"#
        ),
        index,
        pk,
        image(1_795_307_701),
        image(1_795_221_301),
        NUMBER
    );
    record
}
