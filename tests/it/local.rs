//! The commands for trying it out, as processes: scanner, local servers, demo.

use crate::support::dynamo::{Dynamo, item, number, text};
use crate::support::pipeline::Pipeline;
use crate::support::program::{Program, Signal, mini_scan};
use crate::support::servers::DynamoServer;

#[tokio::test]
async fn the_scanner_publishes_as_many_scans_as_it_is_asked_for() {
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
async fn the_local_dynamodb_keeps_its_rows_across_a_restart() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let data = data.path().to_str().expect("a path of text");
    let row = item([("pk", text("1.1.1.1#80#HTTP")), ("timestamp", number(7))]);

    let (first, dynamo) = local_dynamo(data).await;
    let table = dynamo.table().await;
    dynamo.put(&table, row.clone()).await;
    first.signal(Signal::Interrupt).await;
    assert_eq!(first.exit().await.code, Some(0));

    let (_second, dynamo) = local_dynamo(data).await;
    assert_eq!(dynamo.get(&table, "1.1.1.1#80#HTTP").await, Some(row));
}

/// `mini-scan local dynamo` on a free port, and a client of it.
async fn local_dynamo(data: &str) -> (Program, Dynamo) {
    let mut server = mini_scan(["local", "dynamo", "--port", "0", "--data", data]).start();
    let line = server.line("export AWS_ENDPOINT_URL_DYNAMODB=").await;
    let (_, endpoint) = line.split_once('=').expect("it is an assignment");
    let dynamo = Dynamo::at(DynamoServer::Dynoxide, endpoint.to_owned());
    (server, dynamo)
}

#[tokio::test]
async fn the_demo_finds_every_key_at_its_newest() {
    let exit = mini_scan(["demo", "--count", "500"]).run().await;
    assert_eq!(exit.code, Some(0), "{exit:#?}");
}
