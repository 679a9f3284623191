//! A store that is missing or goes away, and the end of the program.

use std::time::Duration;

use dynamodb_local::thread::Running;
use dynamodb_local::{Server, Storage};
use reqwest::Method;
use serde_json::{Value, json};
use widget_registry::table::{REQUESTS, WIDGETS};

use super::{Api, launch, pair};
use crate::support::program::{Launch, Signal, widget_registry};
use crate::tables::endpoint;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A server of one test, which it can stop.
async fn server() -> (Running, String) {
    let bind = || async {
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await?;
        let database = Storage::Memory.open().map_err(std::io::Error::other)?;
        Ok((server.address(), server.serve_transactions(database)))
    };
    let running = Running::start("dynamodb", bind).await.expect("a free port");
    let endpoint = format!("http://{}", running.address());
    let client = dynamodb::connect(Some(&endpoint), "tests").await.expect("a client");
    dynamodb::create_table(&client, &WIDGETS, "widgets").await.expect("a table");
    dynamodb::create_table(&client, &REQUESTS, "widget-requests").await.expect("a table");
    (running, endpoint)
}

fn serve(endpoint: &str) -> Launch {
    let launch = widget_registry(["serve", "--listen", "127.0.0.1:0", "--deadline", "1s"]);
    launch.env("AWS_ENDPOINT_URL_DYNAMODB", endpoint).env("AWS_REGION", "us-east-1")
}

#[tokio::test]
async fn a_missing_table_ends_the_start_with_what_to_do() {
    let exit = serve(&endpoint().await).arguments(["--widgets-table", "no-such-table"]).run().await;
    let error = exit.output.stderr.join("\n");
    assert_eq!(exit.code, Some(1), "{error}");
    assert!(error.contains("no-such-table (--widgets-table) does not exist"), "{error}");
    assert!(error.contains("widget-registry setup --widgets-table no-such-table"), "{error}");
    let exit = launch().await.arguments(["--requests-table", "no-requests"]).run().await;
    assert!(exit.output.stderr.join("\n").contains("setup --requests-table no-requests"), "{exit:?}");
}

#[tokio::test]
async fn a_store_that_goes_away_is_a_problem_with_a_time_to_retry() {
    let (running, endpoint) = server().await;
    let api = Api::start(serve(&endpoint)).await.with(&["1", "2"]).await;
    drop(running);
    for (method, path, body, problem) in [
        (Method::GET, "/widgets/1", Value::Null, "store-unavailable"),
        (Method::GET, "/widgets", Value::Null, "store-unavailable"),
        // It reads first, so nothing can have been written.
        (Method::DELETE, "/widgets/1", Value::Null, "store-unavailable"),
        (Method::PUT, "/widgets/associations", pair("P", "1", "2"), "unknown-outcome"),
    ] {
        let answer = api.send(method, path, &body).await.has_problem(503, problem);
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert!(!answer.detail().contains("127.0.0.1"), "{answer:?}");
    }
    let batch = api.send(Method::POST, "/widgets:batch", &json!([{"operation": "delete", "serial_number": "1"}])).await;
    assert_eq!(batch.is(200).body["results"][0]["status"], 503);
}

#[tokio::test]
async fn metrics_and_health_have_an_address_of_their_own() {
    let (running, endpoint) = server().await;
    let launch = serve(&endpoint).env("WIDGET_REGISTRY_HTTP_LISTEN", "127.0.0.1:0");
    let mut program = launch.start();
    let line = program.wait_for_line("/metrics, /livez and /readyz").await;
    let health =
        line.split_once("http://").and_then(|(_, rest)| rest.split_once('/')).expect("an address").0.to_owned();
    let line = program.wait_for_line("serving http://127").await;
    let (_, rest) = line.split_once("http://").expect("a URL");
    let url = format!("http://{}", rest.split('/').next().expect("an address"));
    let api = Api { program, url, client: reqwest::Client::new() }.with(&["1", "2"]).await;
    api.connect("P", "1", "2").await.is(200);
    let get = async |path: &str| {
        let response = api.client.get(format!("http://{health}{path}")).send().await.expect("a response");
        (response.status().as_u16(), response.text().await.expect("text"))
    };
    assert_eq!((get("/livez").await.0, get("/readyz").await.0), (200, 200));
    let page = get("/metrics").await.1;
    for line in [
        "http_server_request_duration_seconds_count{http_request_method=\"POST\",http_route=\"/widgets\",http_response_status_code=\"201\"} 2",
        "widget_registry_operation_duration_seconds_count{operation=\"create\",outcome=\"created\"} 2",
        "widget_registry_operation_duration_seconds_count{operation=\"connect\",outcome=\"connected\"} 1",
        "widget_registry_ready 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    assert!(
        page.contains("db_client_operation_duration_seconds_count{db_operation_name=\"TransactWriteItems\"}"),
        "{page}"
    );
    drop(running);
    crate::support::with_timeout("an unready instance", async {
        while get("/readyz").await.0 != 503 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    })
    .await;
    assert_eq!(get("/livez").await.0, 200, "a restart does not help");
}

#[tokio::test]
async fn a_signal_ends_the_program_after_its_requests() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let api = Api::new().await.with(&["1"]).await;
        api.program.signal(signal).await;
        let exit = api.program.exit().await;
        assert_eq!((exit.code, &*exit.output.stdout.join("\n")), (Some(0), "API stopped. Aborted requests: 0"));
    }
}

#[tokio::test]
async fn an_address_that_others_reach_needs_tokens() {
    let exit = launch().await.arguments(["--listen", "0.0.0.0:0"]).run().await;
    let error = exit.output.stderr.join("\n");
    assert_eq!(exit.code, Some(2), "{error}");
    assert!(error.contains("--insecure-no-auth") && error.contains("widget-registry token"), "{error}");
}
