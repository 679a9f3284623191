//! Injects each class of errors into the program's store, over loopback.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};

use aws_config::credential_process::CredentialProcessProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_sdk_dynamodb::config::interceptors::BeforeSerializationInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Builder, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::{Client, Config};
use mini_scan::consumer::ports::{Answer, Record, Store};
use mini_scan::dynamo::Scans;
use mini_scan::scan::{DataVersion, Key, Scan};
use tokio::process::Command;

use super::faults::{Conduct, Server, error, http};
use super::page::Row;
use crate::support::dynamo::Dynamo;
use crate::support::messages::UNHEALTHY;
use crate::support::pipeline::{Pipeline, valid_scans};
use crate::support::{REFUSING, unique};

/// Returns an endpoint that refuses connections.
fn nowhere() -> String {
    format!("http://{REFUSING}")
}

/// How a class of errors is injected.
#[derive(Debug)]
pub(super) enum Fault {
    /// Each code that the row names, with each of its reasons and each of its messages.
    Codes,
    /// A code that the row does not name.
    Code(&'static str),
    /// One error with both throttling reasons.
    Reasons(&'static str, &'static str),
    /// Each status that the row names, without a body.
    Statuses,
    /// A failed condition with this stored item.
    Condition(&'static str),
    /// A scan whose record exists already.
    Stored,
    /// A table with another key schema.
    Table,
    /// A response with this status, content type and body.
    Answer(u16, &'static str, &'static str),
    CutShort,
    Reset,
    Close,
    Refuse,
    NoName,
    PlainText,
    NoRequest,
    NoCredentials,
    CredentialProcess(&'static str),
    NoFile,
    /// A server that hangs. Only the program itself has the timeout of an attempt, so the whole program runs.
    Hang(Conduct),
    TooLarge,
}

/// The injection of every row, in the order of the page.
pub(super) const INJECTIONS: [(&str, Fault); 46] = [
    ("Record up to date", Fault::Condition(r#","Item":{"pk":{"S":"k"},"timestamp":{"N":"8"}}"#)),
    ("Lost response", Fault::Stored),
    ("Service error", Fault::Codes),
    ("Service unavailable", Fault::Codes),
    ("Request not read in time", Fault::Codes),
    ("Unknown 5xx code", Fault::Code("NeverHeardOfException")),
    ("5xx without a body", Fault::Statuses),
    ("5xx with a page", Fault::Answer(502, "text/html", "<html><body>Bad Gateway</body></html>")),
    ("Truncated response", Fault::CutShort),
    ("Unreadable response", Fault::Answer(200, "text/html", "<html><body>Welcome</body></html>")),
    ("Empty response", Fault::Answer(200, "application/x-amz-json-1.0", "{}")),
    ("Timeout before the request is read", Fault::Hang(Conduct::HangUnread)),
    ("Timeout after the request is read", Fault::Hang(Conduct::HangRead)),
    ("Connection refused", Fault::Refuse),
    ("Connection reset", Fault::Reset),
    ("Connection closed", Fault::Close),
    ("Name does not resolve", Fault::NoName),
    ("TLS fails", Fault::PlainText),
    ("Stored item missing", Fault::Condition("")),
    ("Stored item older", Fault::Condition(r#","Item":{"pk":{"S":"k"},"timestamp":{"N":"6"}}"#)),
    ("Throttled table", Fault::Codes),
    ("Throttled without a reason", Fault::Codes),
    (
        "Throttled key and table",
        Fault::Reasons("TableWriteKeyRangeThroughputExceeded", "TableWriteAccountLimitExceeded"),
    ),
    ("Too many requests without a body", Fault::Statuses),
    ("Hot key", Fault::Codes),
    ("Conflict", Fault::Codes),
    ("Credentials missing", Fault::NoCredentials),
    ("Credentials provider fails", Fault::CredentialProcess("exit 1")),
    ("Credentials refused", Fault::Codes),
    ("Clock skew", Fault::Codes),
    ("Clock skew by its own code", Fault::Codes),
    ("Permission", Fault::Codes),
    ("Encryption key", Fault::Codes),
    ("Missing table", Fault::Codes),
    ("Out of file descriptors", Fault::NoFile),
    ("Not this service", Fault::Codes),
    ("Unknown 4xx code", Fault::Code("NeverHeardOfException")),
    ("4xx without a body", Fault::Statuses),
    ("Redirect", Fault::Statuses),
    ("Request cannot be built", Fault::NoRequest),
    ("Refused item", Fault::Codes),
    ("Key schema mismatch", Fault::Table),
    ("Request too large", Fault::Codes),
    ("Request too large without a body", Fault::Statuses),
    ("Item too large", Fault::TooLarge),
    ("Foreign row", Fault::Condition(r#","Item":{"pk":{"S":"k"},"timestamp":{"S":"soon"}}"#)),
];

/// The result of one injection.
#[derive(Debug)]
#[expect(dead_code, reason = "`injected` and `detail` are printed when a row fails")]
pub(super) struct Outcome {
    injected: String,
    pub(super) error_type: String,
    detail: String,
}

/// Injects one class of errors, in every variant that its row names.
pub(super) async fn inject(fault: &Fault, row: &Row) -> Vec<Outcome> {
    match fault {
        Fault::Codes => codes(row).await,
        Fault::Code(code) => vec![respond(&error(row.statuses()[0], code, "injected", "")).await],
        Fault::Reasons(one, other) => {
            let more = format!(r#","throttlingReasons":[{{"reason":"{one}"}},{{"reason":"{other}"}}]"#);
            vec![respond(&error(row.statuses()[0], row.codes()[0], "injected", &more)).await]
        }
        Fault::Statuses => {
            let mut outcomes = Vec::new();
            for status in row.statuses() {
                outcomes.push(respond(&http(status, "", "")).await);
            }
            outcomes
        }
        Fault::Condition(item) => {
            vec![respond(&error(400, "ConditionalCheckFailedException", "The conditional request failed", item)).await]
        }
        Fault::Stored => vec![stored_already().await],
        Fault::Table => vec![other_key_schema().await],
        Fault::Answer(status, content_type, body) => vec![respond(&http(*status, content_type, body)).await],
        Fault::CutShort => vec![respond("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await],
        Fault::Reset => vec![put(&at(&Server::start(Conduct::Reset).await.url()), "reset").await],
        Fault::Close => vec![respond("").await],
        Fault::Refuse => vec![put(&at(&nowhere()), "no listener").await],
        Fault::NoName => vec![put(&at("http://dynamodb.invalid"), "a name that does not resolve").await],
        Fault::PlainText => {
            let server = Server::start(Conduct::Respond(http(400, "", ""))).await;
            vec![put(&at(&format!("https://{}", server.address)), "no TLS").await]
        }
        Fault::NoRequest => vec![put(&store(config(&nowhere()).interceptor(Fails)), "no request").await],
        Fault::NoCredentials => vec![without_credentials().await],
        Fault::CredentialProcess(command) => {
            let provider = CredentialProcessProvider::new((*command).to_owned());
            vec![put(&store(config(&nowhere()).credentials_provider(provider)), command).await]
        }
        Fault::NoFile => vec![in_a_process_without_files().await],
        Fault::Hang(conduct) => vec![program_before(conduct.clone()).await],
        Fault::TooLarge => {
            let large = Scan { response: "x".repeat(400 << 10), ..scan() };
            let rejection = at(&nowhere()).measure(&large).expect_err("the scan is too large");
            vec![Outcome::new("400 KB", rejection.reason.to_string(), rejection.detail)]
        }
    }
}

impl Outcome {
    fn new(injected: &str, error_type: String, detail: String) -> Outcome {
        Outcome { injected: injected.to_owned(), error_type, detail }
    }
}

pub(super) fn scan() -> Scan {
    Scan {
        key: Key::new(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), 80, "HTTP"),
        timestamp: 7,
        data_version: DataVersion::V2,
        response: "hello".to_owned(),
        response_bytes: None,
    }
}

fn config(endpoint: &str) -> Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .retry_config(RetryConfig::disabled())
}

fn store(config: Builder) -> Scans {
    Scans::new(Client::from_conf(config.build()), "scans".to_owned(), None)
}

pub(super) fn at(endpoint: &str) -> Scans {
    store(config(endpoint).credentials_provider(Credentials::new("local", "local", None, None, "tests")))
}

/// An interceptor that fails before the client builds a request.
#[derive(Debug)]
struct Fails;

impl Intercept for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }

    fn read_before_serialization(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Err("no request".into())
    }
}

/// Writes a scan by one attempt of the program's store.
async fn put(scans: &Scans, injected: &str) -> Outcome {
    outcome(scans.put(&scan()).await, injected)
}

/// Writes a scan to a server that sends this response.
async fn respond(response: &str) -> Outcome {
    let server = Server::start(Conduct::Respond(response.to_owned())).await;
    put(&at(&server.url()), response).await
}

async fn codes(row: &Row) -> Vec<Outcome> {
    let [status] = row.statuses()[..] else { panic!("not one status: {row:?}") };
    let reasons = row.reasons().into_iter().map(|reason| {
        // Three of the codes have reasons. For one of them the field begins with a lower-case letter.
        let reasons = format!(r#"[{{"reason":"{reason}","resource":"arn:aws:dynamodb:::table/scans"}}]"#);
        format!(r#","throttlingReasons":{reasons},"ThrottlingReasons":{reasons}"#)
    });
    let more: Vec<_> = if row.reasons().is_empty() { vec![String::new()] } else { reasons.collect() };
    let messages = if row.messages().is_empty() { vec!["injected"] } else { row.messages() };
    let mut outcomes = Vec::new();
    for code in row.codes() {
        for more in &more {
            for message in &messages {
                outcomes.push(respond(&error(status, code, message, more)).await);
            }
        }
    }
    outcomes
}

async fn stored_already() -> Outcome {
    let dynamo = Dynamo::connect();
    let scans = Scans::new(dynamo.client.clone(), dynamo.table().await, None);
    assert_eq!(scans.put(&scan()).await, Ok(Answer::Stored));
    let again = scans.put(&scan()).await;
    let bytes = scans.measure(&scan()).expect("the scan is small enough");
    assert_eq!(again, Ok(Answer::Stale(Record { timestamp: 7, is_same: true, bytes })));
    outcome(again, "the same scan twice")
}

async fn other_key_schema() -> Outcome {
    let dynamo = Dynamo::connect();
    let table = unique("table");
    dynamo.create_with_another_key(&table).await;
    put(&Scans::new(dynamo.client.clone(), table, None), "a key with another name").await
}

async fn without_credentials() -> Outcome {
    let profile = ProfileFileCredentialsProvider::builder().profile_name(unique("profile")).build();
    let chain = CredentialsProviderChain::first_try("Profile", profile);
    put(&store(config(&nowhere()).credentials_provider(chain)), "no such profile").await
}

/// Runs the test below in another process, because it lowers the limit of open files for its process.
async fn in_a_process_without_files() -> Outcome {
    let this = std::env::current_exe().expect("the path of the test binary");
    let arguments = ["--exact", "errors::injections::a_write_without_a_free_file", "--ignored", "--nocapture"];
    let output = Command::new(this).args(arguments).output().await.expect("the test binary runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let error_type = stdout.lines().find_map(|line| line.strip_prefix("error.type="));
    Outcome::new("no free file", error_type.unwrap_or("no output").to_owned(), stdout.clone())
}

#[tokio::test]
#[ignore = "lowers the limit of open files; a test of docs/errors.md runs it in another process"]
async fn a_write_without_a_free_file() {
    let scans = at(&nowhere());
    rlimit::setrlimit(rlimit::Resource::NOFILE, 64, 64).expect("a lower limit is always allowed");
    let files: Vec<_> = (0..64).map_while(|_| File::open("/dev/null").ok()).collect();

    let outcome = put(&scans, "no free file").await;

    drop(files);
    println!("\nerror.type={}", outcome.error_type);
}

/// Runs the whole program against a DynamoDB that treats every write in this way.
async fn program_before(conduct: Conduct) -> Outcome {
    let injected = format!("{conduct:?}");
    let pipeline = Pipeline::new().await;
    let denied = error(400, "AccessDeniedException", "not authorized to perform: dynamodb:DescribeTable", "");
    let server = Server::start_with_first(Some(Conduct::Respond(denied)), conduct).await;
    pipeline.publish(valid_scans(0..10)).await;
    let mut consumer = pipeline.consumer().env("AWS_ENDPOINT_URL_DYNAMODB", &server.url()).start();

    let line = consumer.wait_for_line(UNHEALTHY).await;

    let expected = "no answer within 3 s. Nothing is lost; one write per second is tried";
    let json: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
    let error_type = if line.contains(expected) { json["error.type"].as_str().unwrap_or("none") } else { "another" };
    Outcome::new(&injected, error_type.to_owned(), line)
}

fn outcome(result: mini_scan::consumer::ports::Attempt, injected: &str) -> Outcome {
    match result {
        Ok(Answer::Stale(stored)) => Outcome::new(injected, "none".to_owned(), format!("{stored:?}")),
        Ok(Answer::Stored) => Outcome::new(injected, "stored".to_owned(), String::new()),
        Err(error) => Outcome::new(injected, format!("{:?}", error.kind), error.detail),
    }
}
