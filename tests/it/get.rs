//! `mini-scan get` as a process: what it shows of addresses, ports and networks.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use axum::body::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::dynamo::{Dynamo, Item, item, number, text};
use crate::support::dynamo_proxy::{Action, DynamoProxy};
use crate::support::program::{Exit, Launch, Program, launch, mini_scan};
use crate::support::{REFUSING, unique};

/// A record as the consumer stores it.
fn record(ip: &str, port: u16, response: &str) -> Item {
    item([
        ("pk", text(format!("{ip}#{port}#HTTP"))),
        ("ip", text(ip)),
        ("port", number(port)),
        ("service", text("HTTP")),
        ("timestamp", number(1_740_298_125)),
        ("response", text(response)),
        ("data_version", number(2)),
    ])
}

/// A table that `mini-scan setup` created, with records.
struct Shelf {
    dynamo: Dynamo,
    table: String,
}

impl Shelf {
    async fn new(items: impl IntoIterator<Item = Item>) -> Shelf {
        let (dynamo, table) = (Dynamo::connect(), unique("table"));
        let setup = mini_scan(["setup", "table", "--table", &table]).env("AWS_ENDPOINT_URL_DYNAMODB", &dynamo.endpoint);
        let exit = setup.run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        dynamo.put_all(&table, items).await;
        Shelf { dynamo, table }
    }

    fn get(&self, arguments: &[&str]) -> Launch {
        let launch = mini_scan(["get", "--table", &self.table]).arguments(arguments.iter().copied());
        launch.env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint)
    }

    /// Runs `get` and returns the addresses with their ports in the order of the output.
    async fn found(&self, arguments: &[&str]) -> Vec<String> {
        let exit = self.get(arguments).arguments(["--json"]).run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        let line = |line: &String| {
            let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            format!("{} {}", record["ip"].as_str().expect("a string"), record["port"])
        };
        exit.output.stdout.iter().map(line).collect()
    }
}

fn refused(exit: &Exit, code: i32, parts: &[&str]) {
    assert_eq!(exit.code, Some(code), "{exit:#?}");
    let stderr = exit.output.stderr.join("\n");
    for part in parts {
        assert!(stderr.contains(part), "without {part}: {stderr}");
    }
}

#[tokio::test]
async fn addresses_ports_and_networks_are_looked_up_in_their_order() {
    let shelf = Shelf::new([
        record("1.1.1.7", 443, ""),
        record("1.1.1.7", 80, ""),
        record("1.1.1.9", 22, ""),
        record("1.1.2.1", 22, ""),
        record("2001:db8::7", 443, ""),
    ])
    .await;

    assert_eq!(shelf.found(&["1.1.1.7"]).await, ["1.1.1.7 80", "1.1.1.7 443"]);
    assert_eq!(shelf.found(&["[2001:DB8::7]:443", "1.1.1.7:443"]).await, ["2001:db8::7 443", "1.1.1.7 443"]);
    assert_eq!(shelf.found(&["1.1.2.1", "::ffff:1.1.1.9"]).await, ["1.1.2.1 22", "1.1.1.9 22"]);
    assert_eq!(shelf.found(&["1.1.1.0/24"]).await, ["1.1.1.7 80", "1.1.1.7 443", "1.1.1.9 22"]);
}

#[tokio::test]
async fn every_page_of_a_host_is_shown() {
    let shelf = Shelf::new((1..=250).map(|port| record("1.1.1.7", port, ""))).await;

    let found = shelf.found(&["1.1.1.7"]).await;

    assert_eq!(found, (1..=250).map(|port| format!("1.1.1.7 {port}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_hostile_response_is_shown_escaped_in_the_table_and_in_json() {
    let mut binary = record("1.1.1.7", 80, "\u{fffd}");
    binary.insert("response_bytes".into(), AttributeValue::B(Blob::new([0xff])));
    let shelf = Shelf::new([record("1.1.1.7", 443, "\u{1b}]0;own\u{7}<script>\u{202e}"), binary]).await;

    let table = shelf.get(&["1.1.1.7"]).run().await;
    let json = shelf.get(&["1.1.1.7", "--json"]).run().await;

    assert_eq!((table.code, json.code), (Some(0), Some(0)), "{table:#?} {json:#?}");
    let text = table.output.stdout.join("\n") + &json.output.stdout.join("\n");
    assert!(!text.chars().any(|c| c == '\u{1b}' || c == '\u{7}' || c == '\u{202e}'), "{text:?}");
    assert_eq!(table.output.stdout.len(), 3, "{table:#?}");
    assert!(table.output.stdout[2].ends_with(r"\u{1b}]0;own\u{7}<script>\u{202e}"), "{table:#?}");
    let records: Vec<Value> = json.output.stdout.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records[0]["response_base64"], "/w==");
    let expected = json!({"ip": "1.1.1.7", "port": 443, "service": "HTTP", "timestamp": 1_740_298_125, "data_version": 2,
                          "response": "\u{1b}]0;own\u{7}<script>\u{202e}"});
    assert_eq!(records[1], expected);
}

#[tokio::test]
async fn targets_come_from_stdin_and_those_without_a_record_are_named() {
    let shelf = Shelf::new([record("1.1.1.7", 443, "")]).await;
    let program = env!("CARGO_BIN_EXE_mini-scan");
    let from_stdin = |lines: &str| {
        let script = format!("printf '{lines}' | exec {program} get --json --table {} -", shelf.table);
        launch("sh", ["-c", &script]).env("AWS_ENDPOINT_URL_DYNAMODB", &shelf.dynamo.endpoint)
    };

    let exit = from_stdin(r"# ours\n1.1.1.7 # the first\n\n1.1.1.8\n[::1]:80\n").run().await;
    let invalid = from_stdin(r"1.1.1.7\nhost\n").run().await;

    assert_eq!((exit.code, exit.output.stdout.len()), (Some(0), 1), "{exit:#?}");
    assert_eq!(exit.output.stderr, ["1.1.1.8: no record", "[::1]:80: no record"]);
    refused(&invalid, 2, &["line 2 of stdin", "`host`", "expected an address"]);
}

#[tokio::test]
async fn what_cannot_be_looked_up_is_explained() {
    let shelf = Shelf::new([]).await;
    let without_index = shelf.dynamo.table().await;

    let network = shelf.get(&["1.1.0.0/16"]).run().await;
    let name = shelf.get(&["example.com"]).run().await;
    let index = mini_scan(["get", "--table", &without_index, "1.1.1.7"]);
    let index = index.env("AWS_ENDPOINT_URL_DYNAMODB", &shelf.dynamo.endpoint).run().await;

    refused(&network, 2, &["1.1.0.0/16", "mini-scan export --network 1.1.0.0/16"]);
    refused(&name, 2, &["`example.com`", "expected an address"]);
    refused(&index, 1, &["has no index by-ip", &format!("mini-scan setup table --table {without_index}")]);
}

#[tokio::test]
async fn without_permission_or_capacity_the_error_names_what_to_do() {
    let shelf = Shelf::new([]).await;
    let server = shelf.dynamo.endpoint.trim_start_matches("http://").to_owned();
    for (action, parts) in [
        (Action::access_denied(), ["dynamodb:Query", "AccessDenied"]),
        (Action::throttled(None), ["throttles reads", "Try again later"]),
    ] {
        let proxy = DynamoProxy::before(&server, move |_| action.clone()).await;
        let exit = shelf.get(&["1.1.1.7"]).env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).run().await;
        refused(&exit, 1, &parts);
    }
}

/// Starts an API of the table, and returns it with its URL.
async fn api(shelf: &Shelf, flags: &[&str]) -> (Program, String) {
    let api = mini_scan(["api", "--listen", "127.0.0.1:0", "--table", &shelf.table]).arguments(flags.iter().copied());
    let mut api = api.env("AWS_ENDPOINT_URL_DYNAMODB", &shelf.dynamo.endpoint).start();
    let line = api.wait_for_line("serving http://").await;
    let (_, rest) = line.split_once("http://").expect("a URL");
    let url = format!("http://{}", rest.split('/').next().expect("an address"));
    (api, url)
}

#[tokio::test]
async fn an_api_answers_like_the_table() {
    let mut binary = record("1.1.1.8", 80, "\u{fffd}");
    binary.insert("response_bytes".into(), AttributeValue::B(Blob::new([0xff])));
    let records =
        (1..=150).map(|port| record("1.1.1.7", port, "hello")).chain([binary, record("2001:db8::7", 443, "")]);
    let shelf = Shelf::new(records).await;
    let (_api, url) = api(&shelf, &[]).await;
    for targets in [vec!["1.1.1.7", "2001:db8::7", "1.1.1.9"], vec!["1.1.1.8:80", "[::1]:80"], vec!["1.1.1.0/24"]] {
        let targets: Vec<_> = targets.into_iter().chain(["--json"]).collect();
        let of_table = shelf.get(&targets).run().await;
        let of_api = mini_scan(["get", "--api", &url]).arguments(targets.iter().copied()).run().await;
        assert_eq!((of_table.code, of_api.code), (Some(0), Some(0)), "{of_table:#?} {of_api:#?}");
        assert_eq!(of_api.output.stdout, of_table.output.stdout);
        assert_eq!(of_api.output.stderr, of_table.output.stderr);
    }
}

#[tokio::test]
async fn an_api_with_tokens_needs_one_from_a_file_or_the_environment() {
    let shelf = Shelf::new([record("1.1.1.7", 443, "")]).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let [tokens, token] = ["tokens", "token"].map(|name| folder.path().join(name).to_str().expect("UTF-8").to_owned());
    let created = mini_scan(["api", "token", "laptop", "--tokens-file", &tokens]).run().await;
    let secret = created.output.stdout.first().expect("the token").trim().to_owned();
    std::fs::write(&token, format!("{secret}\n")).expect("the file is writable");
    let (_api, url) = api(&shelf, &["--tokens-file", &tokens]).await;
    let get = || mini_scan(["get", "--json", "--api", &url, "1.1.1.7"]);

    refused(&get().run().await, 1, &["401", "--api-token-file", "MINI_SCAN_API_TOKEN"]);
    refused(&get().env("MINI_SCAN_API_TOKEN", "wrong").run().await, 1, &["401"]);
    for launch in [get().env("MINI_SCAN_API_TOKEN", &secret), get().arguments(["--api-token-file", &token])] {
        let exit = launch.run().await;
        assert_eq!((exit.code, exit.output.stdout.len()), (Some(0), 1), "{exit:#?}");
    }
}

#[tokio::test]
async fn a_closed_stdout_ends_it_quietly() {
    // More than a pipe can buffer.
    let response = "x".repeat(2_000);
    let shelf = Shelf::new((1..=200).map(|port| record("1.1.1.7", port, &response))).await;

    let script = format!("{{ \"$0\" get --json --table {} 1.1.1.7; echo \"code $?\" >&2; }} | head -n 1", shelf.table);
    let get = launch("sh", ["-c", &script, env!("CARGO_BIN_EXE_mini-scan")]);
    let exit = get.env("AWS_ENDPOINT_URL_DYNAMODB", &shelf.dynamo.endpoint).run().await;

    assert_eq!(exit.output.stderr, ["code 141"]);
    assert_eq!(exit.output.stdout.len(), 1, "{exit:#?}");
}

/// A server that returns the same body for every request.
struct FixedServer {
    url: String,
    _server: JoinSet<()>,
}

impl FixedServer {
    async fn start(body: impl Into<Bytes>) -> FixedServer {
        let body = body.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener"));
        let router = axum::Router::new().fallback(move || async move { body });
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });
        FixedServer { url, _server: server }
    }
}

/// Returns a page of an API with one record of each address.
fn page(addresses: &[&str], next: Option<&str>) -> String {
    let service = json!({"port": 80, "service": "HTTP", "timestamp": 1, "data_version": 2, "response": "hello"});
    let hosts: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip, "services": [service]})).collect();
    json!({"hosts": hosts, "next_page_token": next}).to_string()
}

#[tokio::test]
async fn an_answer_without_end_is_refused_after_what_was_found() {
    let endless = FixedServer::start(page(&["1.1.1.7"], Some("next"))).await;
    let empty = FixedServer::start(page(&[], Some("next"))).await;
    let other = FixedServer::start(page(&["1.1.1.8"], None)).await;
    let large = FixedServer::start(vec![b' '; 65 << 20]).await;
    let get = |server: &FixedServer| mini_scan(["get", "--api", &server.url, "1.1.1.7"]).run();

    let endless = get(&endless).await;

    refused(&endless, 1, &["no API of mini-scan", "1.1.1.7#80#HTTP twice"]);
    assert_eq!(endless.output.stdout.len(), 2, "the head and the record of the first page: {endless:#?}");
    refused(&get(&empty).await, 1, &["repeated a next_page_token"]);
    refused(&get(&other).await, 1, &["1.1.1.8#80#HTTP, which was not asked for"]);
    refused(&get(&large).await, 1, &["more than 64 MiB"]);
}

#[tokio::test]
async fn a_url_with_more_than_a_path_is_refused_without_its_password() {
    for (url, why) in [
        ("http://me:hunter2@127.0.0.1:8080", "no user and no password"),
        ("me:hunter2@127.0.0.1:8080", "with its scheme"),
        ("http://me:hunter2@127.0.0.1:99999", "invalid port"),
        ("http://127.0.0.1:8080/?token=hunter2", "no query"),
        ("http://127.0.0.1:8080/#hunter2", "no fragment"),
    ] {
        let exit = mini_scan(["get", "--api", url, "1.1.1.7"]).run().await;
        refused(&exit, 2, &["--api", why]);
        assert!(!exit.output.stderr.join("\n").contains("hunter2"), "{exit:#?}");
    }
}

#[tokio::test]
async fn a_server_that_is_no_api_is_named() {
    let shelf = Shelf::new([]).await;

    let other = mini_scan(["get", "--api", &shelf.dynamo.endpoint, "1.1.1.7"]).run().await;
    let nothing = mini_scan(["get", "--api", &format!("http://{REFUSING}"), "1.1.1.7"]).run().await;

    refused(&other, 1, &["--api", &shelf.dynamo.endpoint]);
    refused(&nothing, 1, &["does not answer", "mini-scan api"]);
}
