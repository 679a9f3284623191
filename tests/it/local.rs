//! The commands for local use, as processes: scanner, local servers and demo.

use crate::support::dynamo::{item, number, text};
use crate::support::local_dynamo::LocalDynamo;
use crate::support::pipeline::Pipeline;
use crate::support::program::{Signal, launch, mini_scan};

#[tokio::test]
async fn the_scanner_publishes_the_requested_number_of_scans() {
    let pipeline = Pipeline::new().await;
    let topic = ["--topic", &pipeline.topic, "--project", &pipeline.pubsub.project];
    let scanner = mini_scan(["scanner", "--count", "200", "--rate", "0", "--seed", "1"]).arguments(topic);

    let exit = scanner.against(&pipeline.pubsub, &pipeline.dynamo).run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let mut inbox = pipeline.pubsub.open(&pipeline.subscription);
    for (_, handler) in inbox.take(200).await {
        handler.ack();
    }
    inbox.close().await;
    pipeline.drained().await;
}

#[tokio::test]
async fn the_local_dynamodb_keeps_its_rows_after_a_restart() {
    let server = LocalDynamo::start().await;
    let row = item([("pk", text("1.1.1.1#80#HTTP")), ("timestamp", number(7))]);

    let table = server.dynamo.table().await;
    server.dynamo.put(&table, row.clone()).await;

    let server = server.restart(Signal::Interrupt).await;

    assert_eq!(server.dynamo.get(&table, "1.1.1.1#80#HTTP").await, Some(row));
}

#[tokio::test]
async fn the_demo_finds_the_newest_scan_of_every_key() {
    let exit = mini_scan(["demo", "--count", "500"]).run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
}

#[tokio::test]
async fn the_demo_of_changes_finds_every_change_although_a_reader_is_killed() {
    let exit = mini_scan(["demo", "changes", "--services", "200"]).run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
}

#[tokio::test]
async fn a_demo_that_keeps_its_servers_prints_lines_that_work() {
    let mut demo = mini_scan(["demo", "--count", "500", "--keep"]).start();
    let endpoint = demo.wait_for_line("export AWS_ENDPOINT_URL_DYNAMODB=").await;
    let get = demo.wait_for_line(" get ").await;

    let curl = demo.wait_for_line("curl http://").await;
    let of_api = demo.wait_for_line(" get --api http://").await;
    let page = demo.wait_for_line("In a browser:").await;
    demo.wait_for_line("/docs").await;

    let found = launch("sh", ["-c", &format!("{endpoint}; {get} --json")]).run().await;
    let from_api = launch("sh", ["-c", &format!("{of_api} --json")]).run().await;
    let url = curl.trim().trim_start_matches("curl ");
    let host = reqwest::get(url).await.expect("a response").error_for_status().expect("a host");

    assert_eq!(found.code, Some(0), "{found:#?}");
    let address = get.rsplit(' ').next().expect("an address");
    assert!(!found.output.stdout.is_empty(), "{found:#?}");
    assert!(found.output.stdout.iter().all(|line| line.contains(address)), "{found:#?}");
    assert_eq!(from_api.output.stdout, found.output.stdout, "{from_api:#?}");
    assert!(host.text().await.expect("a body").contains(address));
    let page = page.split_once("http").map(|(_, rest)| format!("http{rest}")).expect("a URL");
    let page = reqwest::get(page).await.expect("a response").error_for_status().expect("a page");
    assert!(page.text().await.expect("a body").contains(address));
    demo.signal(Signal::Interrupt).await;
    let exit = demo.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
}
