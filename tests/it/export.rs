//! `mini-scan export` as a process: every record once, whatever interrupts it.

mod interrupted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::dynamo::{Dynamo, Item, item, number, text};
use crate::support::dynamo_proxy::{Action, DynamoProxy};
use crate::support::program::{Exit, Launch, launch, mini_scan};
use crate::support::unique;

/// A table with records, and a folder for the files of an export.
struct Job {
    dynamo: Dynamo,
    table: String,
    folder: TempDir,
}

/// A record as the consumer stores it.
fn record(ip: &str, port: u16, timestamp: u64, response: &str) -> Item {
    item([
        ("pk", text(format!("{ip}#{port}#HTTP"))),
        ("ip", text(ip)),
        ("port", number(port)),
        ("service", text("HTTP")),
        ("timestamp", number(timestamp)),
        ("response", text(response)),
        ("data_version", number(2)),
    ])
}

/// Records of distinct addresses. Without a limit, a page has about 500 of them.
fn many(count: u32) -> impl Iterator<Item = Item> {
    let response = "x".repeat(2_000);
    (0..count).map(move |nth| record(&std::net::Ipv4Addr::from_bits(nth).to_string(), 80, 7, &response))
}

impl Job {
    async fn new(items: impl IntoIterator<Item = Item>) -> Job {
        let (dynamo, table) = (Dynamo::connect(), unique("table"));
        // Without a stream, in which the embedded server would look for the last number at every write.
        let create = dynamo.create(&table).set_stream_specification(None);
        create.send().await.expect("the table is created");
        dynamo.put_all(&table, items).await;
        Job { dynamo, table, folder: tempfile::tempdir().expect("a temporary directory") }
    }

    fn export(&self) -> Launch {
        mini_scan(["export", "--table", &self.table]).env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn to_file(&self) -> Launch {
        let [output, resume] = ["out", "resume"].map(|name| self.path(name).to_str().expect("UTF-8").to_owned());
        self.export().arguments(["--output", &output, "--resume", &resume])
    }

    /// Returns the exported lines by key. Panics if a key comes twice or a line is cut off.
    fn exported(&self) -> BTreeMap<String, Value> {
        by_key(std::fs::read_to_string(self.path("out")).expect("the output").lines())
    }

    /// Starts a proxy that does this with the scan requests, counted from 0.
    async fn proxy(&self, decide: impl Fn(usize) -> Action + Send + Sync + 'static) -> DynamoProxy {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let server = self.dynamo.endpoint.trim_start_matches("http://");
        DynamoProxy::before(server, move |request| match request.is_scan() {
            true => decide(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            false => Action::Forward,
        })
        .await
    }
}

fn by_key<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for line in lines {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let key = format!("{}#{}#{}", record["ip"].as_str().expect("a string"), record["port"], record["service"]);
        assert!(found.insert(key, record).is_none(), "twice: {line}");
    }
    found
}

fn ended(exit: &Exit, code: i32) -> String {
    assert_eq!(exit.code, Some(code), "{exit:#?}");
    exit.output.stderr.join("\n")
}

#[tokio::test]
async fn every_record_is_exported_with_its_fields() {
    let mut binary = record("2001:db8::1", 53, 9, "\u{fffd}");
    binary.insert("response_bytes".into(), AttributeValue::B(Blob::new([0xff])));
    binary.insert("expires_at".into(), number(99));
    let job = Job::new([record("1.1.1.7", 443, 7, "a\n\"b\""), binary]).await;

    let exit = job.export().run().await;

    assert!(ended(&exit, 0).contains("Exported 2 records of 2 rows"), "{exit:#?}");
    let found = by_key(exit.output.stdout.iter().map(String::as_str));
    let expected = [
        json!({"ip": "1.1.1.7", "port": 443, "service": "HTTP", "timestamp": 7, "data_version": 2, "response": "a\n\"b\""}),
        json!({"ip": "2001:db8::1", "port": 53, "service": "HTTP", "timestamp": 9, "data_version": 2,
               "response": "\u{fffd}", "response_base64": "/w==", "expires_at": 99}),
    ];
    assert_eq!(found.into_values().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_dash_as_output_is_stdout() {
    let job = Job::new([record("1.1.1.7", 443, 7, "")]).await;

    let script = format!("\"$0\" export --table {} --output - && ls -A", job.table);
    let export = launch("sh", ["-c", &script, env!("CARGO_BIN_EXE_mini-scan")]);
    let exit = export.env("AWS_ENDPOINT_URL_DYNAMODB", &job.dynamo.endpoint).run().await;

    ended(&exit, 0);
    // The list of files is empty.
    assert_eq!(by_key(exit.output.stdout.iter().map(String::as_str)).len(), 1);
}

#[tokio::test]
async fn a_closed_stdout_ends_an_export_quietly() {
    // More than a pipe can buffer.
    let job = Job::new(many(500)).await;

    let script = format!("{{ \"$0\" export --table {}; echo \"code $?\" >&2; }} | head -n 1", job.table);
    let export = launch("sh", ["-c", &script, env!("CARGO_BIN_EXE_mini-scan")]);
    let exit = export.env("AWS_ENDPOINT_URL_DYNAMODB", &job.dynamo.endpoint).run().await;

    assert_eq!(exit.output.stderr, ["code 141"]);
    assert_eq!(exit.output.stdout.len(), 1, "{exit:#?}");
}

#[tokio::test]
async fn filters_are_combined() {
    let job = Job::new([
        record("1.1.1.7", 443, 1_740_268_800, ""),
        record("1.1.1.8", 443, 1_740_268_799, ""),
        record("1.1.2.7", 443, 1_740_268_800, ""),
        record("1.1.1.9", 22, 1_740_268_801, ""),
        record("1.1.1.9", 80, 1_740_268_801, ""),
    ])
    .await;
    let filters = ["--since", "2025-02-23", "--network", "1.1.1.0/24,2001:db8::/32", "--port", "443", "--port", "22"];

    let exit = job.export().arguments(filters).run().await;

    assert!(ended(&exit, 0).contains("Exported 2 records of 5 rows"), "{exit:#?}");
    let found = by_key(exit.output.stdout.iter().map(String::as_str));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["1.1.1.7#443#\"HTTP\"", "1.1.1.9#22#\"HTTP\""]);
}

#[tokio::test]
async fn csv_has_a_header_and_no_formula_unless_raw() {
    let job =
        Job::new([record("1.1.1.7", 443, 7, "=cmd|' /C calc'!A0"), record("1.1.1.8", 443, 7, "a,\"b\"\nc")]).await;
    for (flags, formula) in [(vec!["--format", "csv"], "'="), (vec!["--format", "csv", "--raw-csv"], "=")] {
        let exit = job.export().arguments(flags).run().await;
        ended(&exit, 0);
        let text = exit.output.stdout.join("\n");
        assert!(
            text.starts_with("ip,port,service,timestamp,data_version,response,response_base64,expires_at\n"),
            "{text}"
        );
        assert!(text.contains(&format!("1.1.1.7,443,HTTP,7,2,{formula}cmd|' /C calc'!A0,,")), "{text}");
        assert!(text.contains("1.1.1.8,443,HTTP,7,2,\"a,\"\"b\"\"\nc\",,"), "{text}");
    }
}

#[tokio::test]
async fn rows_that_no_scan_wrote_are_left_out_with_a_warning() {
    let job = Job::new([record("1.1.1.7", 443, 7, ""), item([("pk", text("mine\u{1b}[2J"))])]).await;

    let exit = job.export().run().await;

    let stderr = ended(&exit, 0);
    assert!(stderr.contains("left out 1 row that no scan wrote; the first key is mine\\u{1b}[2J"), "{stderr}");
    assert_eq!(exit.output.stdout.len(), 1, "{exit:#?}");
}

#[tokio::test]
async fn throttling_and_lost_responses_delay_an_export_and_lose_nothing() {
    let job = Job::new(many(2_000)).await;
    let proxy = job.proxy(|nth| match nth % 4 {
        _ if nth >= 12 => Action::Forward,
        0 => Action::throttled(None),
        1 => Action::CloseAfter,
        2 => Action::internal_error(),
        // A captive portal: HTTP 200 without an answer of DynamoDB.
        _ => Action::Respond(200, String::new()),
    });
    let proxy = proxy.await;

    let exit = job.to_file().arguments(["--segments", "3"]).env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).run().await;

    assert!(ended(&exit, 0).contains("DynamoDB throttled"), "{exit:#?}");
    assert_eq!(job.exported().len(), 2_000);
}

#[tokio::test]
async fn read_units_per_second_are_limited() {
    // A row costs half a unit for each 4 KB, and a page sums up its rows: about 250 units.
    let job = Job::new(many(1_000)).await;
    let began = tokio::time::Instant::now();

    let exit = job.export().arguments(["--max-read-units", "200", "--segments", "4"]).run().await;

    let took = began.elapsed().as_secs_f64();
    let stderr = ended(&exit, 0);
    let units = stderr.split(": ").last().and_then(|rest| rest.split(' ').next()).and_then(|units| units.parse().ok());
    let units: f64 = units.unwrap_or_else(|| panic!("{stderr}"));
    // Each of the last pages may cost one second of the rate.
    assert!(units > 200.0 && took > units / 200.0 - 1.0, "{units} units in {took} s");
    assert_eq!(exit.output.stdout.len(), 1_000);
}

#[tokio::test]
async fn without_permission_or_table_the_error_names_what_to_do() {
    let job = Job::new([record("1.1.1.7", 443, 7, "")]).await;
    let proxy = job.proxy(|_| Action::access_denied()).await;

    let denied = job.to_file().env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).run().await;
    let missing = mini_scan(["export", "--table", "missing", "--output", job.path("new").to_str().expect("UTF-8")]);
    let missing = missing.env("AWS_ENDPOINT_URL_DYNAMODB", &job.dynamo.endpoint).run().await;

    assert!(ended(&denied, 1).contains("dynamodb:Scan"), "{denied:#?}");
    assert!(ended(&missing, 1).contains("table missing (--table) does not exist"), "{missing:#?}");
    assert!(!Path::new(&job.path("new")).exists(), "a failed start leaves no output behind");
}
