//! The make targets for trying the program out, run as a person runs them, against servers on free ports.

use std::net::SocketAddr;

use crate::support::dynamo::{Dynamo, item, number, text};
use crate::support::pipeline::scan;
use crate::support::program::{Launch, Program, Signal, launch};
use crate::support::pubsub::Pubsub;
use crate::support::servers::{DynamoServer, Embedded};
use crate::support::{POLL_INTERVAL, with_timeout};

/// `make` with the program that is built already, because a cargo inside of cargo would build it again.
fn make<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Launch {
    let run = concat!("RUN=", env!("CARGO_BIN_EXE_mini-scan"));
    let make = launch("make", ["--directory", env!("CARGO_MANIFEST_DIR"), "BUILD=true", run]).arguments(arguments);
    make.env("PATH", "/usr/local/bin:/usr/bin:/bin")
}

/// Ends the program behind `make`, which passes the signal on.
async fn stop(program: Program) -> Vec<String> {
    program.signal(Signal::Terminate).await;
    program.exit().await.output.stdout
}

#[tokio::test]
async fn run_consumer_sets_up_the_names_that_its_consumer_uses() {
    let (pubsub, _) = Pubsub::dedicated().await;
    let server = Embedded::dynamo();
    let dynamo = Dynamo::at(DynamoServer::Dynoxide, format!("http://{}", server.address));
    let line = ["run-consumer", "ARGS=--project myproject --consumers 20"];

    let mut consumer = make(line).env("MINI_SCAN_HTTP_LISTEN", "off").against(&pubsub, &dynamo).start();

    let consuming = consumer.wait_for_line("consuming projects/myproject/subscriptions/scan-sub").await;
    assert!(consuming.contains(r#""consumers":20"#), "{consuming}");
    let messages = [scan("1.1.1.1", 7, "good"), "poison".to_owned()];
    pubsub.publish("projects/myproject/topics/scan-topic", messages).await;
    let mut dead_letters = pubsub.open("projects/myproject/subscriptions/scan-dead-letter");
    dead_letters.next().await.1.ack();
    let row = async {
        while dynamo.get("scan-results", "1.1.1.1#80#HTTP").await.is_none() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    with_timeout("the row of the scan", row).await;
    pubsub.drained("projects/myproject/subscriptions/scan-sub").await;
    let stdout = stop(consumer).await;
    assert_eq!(stdout.iter().filter(|line| line.starts_with("created")).count(), 6, "{stdout:#?}");
    assert_eq!(stdout.last().expect("a line"), "Consumer stopped. Final stats - Processed: 2, Failed: 0");
}

#[tokio::test]
async fn run_api_creates_the_table_and_serves_it() {
    let server = Embedded::dynamo();
    let line = ["run-api", "API_ARGS=--listen 127.0.0.1:0"];
    let launch = make(line).env("MINI_SCAN_HTTP_LISTEN", "off");
    let endpoint = format!("http://{}", server.address);

    let mut api = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &endpoint).start();

    let serving = api.wait_for_line("/v1 and /docs").await;
    let address = serving.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    let get = reqwest::get(format!("http://{address}/v1/hosts/1.1.1.7/services/80/HTTP"));
    let response = with_timeout("a response", get).await.expect("a response");
    assert_eq!(response.status(), 404);
    assert_eq!(stop(api).await.last().expect("a line"), "API stopped. Aborted requests: 0");
}

#[tokio::test]
async fn run_changes_creates_the_tables_and_keeps_the_history_of_scans() {
    let server = Embedded::dynamo();
    let dynamo = Dynamo::at(DynamoServer::Dynoxide, format!("http://{}", server.address));
    let launch = make(["run-changes", "CHANGES_ARGS=--checkpoint-interval 100ms"]).env("MINI_SCAN_HTTP_LISTEN", "off");

    let mut changes = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &dynamo.endpoint).start();

    changes.wait_for_line("took a lease").await;
    assert_eq!(dynamo.count("scan-history").await, 1, "the name of its table of scans");
    assert_eq!(stop(changes).await.last().expect("a line"), "Changes stopped. Records handled: 0");
}

#[tokio::test]
async fn test_browser_reports_that_chromium_is_missing() {
    let exit = make(["test-browser", "PATH=/nonexistent"]).run().await;
    let expected = "NOT RUN: make test-browser, because chromium and chromedriver are not installed";
    assert!(exit.code == Some(0) && exit.output.stdout.contains(&expected.to_owned()), "{exit:#?}");
}

#[tokio::test]
async fn start_dynamo_keeps_its_tables_in_the_given_directory() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let data = format!("DATA={}", data.path().display());
    let start = async || {
        let mut server = make(["start-dynamo", &data]).env("MINI_SCAN_DYNAMO_PORT", "0").start();
        let line = server.wait_for_line("export AWS_ENDPOINT_URL_DYNAMODB=").await;
        let (_, endpoint) = line.split_once('=').expect("it is an assignment");
        let address: SocketAddr = endpoint.trim_start_matches("http://").parse().expect("an address");
        (server, Dynamo::at(DynamoServer::Dynoxide, format!("http://{address}")))
    };
    let row = item([("pk", text("1.1.1.1#80#HTTP")), ("timestamp", number(7))]);

    let (server, dynamo) = start().await;
    let table = dynamo.table().await;
    dynamo.put(&table, row.clone()).await;
    stop(server).await;
    let (server, dynamo) = start().await;

    assert_eq!(dynamo.get(&table, "1.1.1.1#80#HTTP").await, Some(row));
    stop(server).await;
}
