//! `setup` and `check`.

use dynamodb::{TableSpec, WarmThroughput};
use ops::console::Outcome;
use serde_json::Value;
use widget_registry::names::Tables;
use widget_registry::table::WIDGETS;
use widget_registry::tools::check::{self, Check};
use widget_registry::tools::setup::{self, Setup};

use super::run;
use crate::tables::{client, endpoint, names};

async fn task(tables: &Tables) -> Setup {
    Setup { endpoint: Some(endpoint().await), tables: tables.clone(), warm: WarmThroughput::default(), wait: true }
}

async fn set_up(task: &Setup) -> (Outcome, Vec<String>) {
    run(async |console| setup::run(task, console).await).await
}

fn lines(tables: &Tables, words: [&str; 4]) -> Vec<String> {
    let Tables { widgets, requests } = tables;
    let things = [
        format!("table {widgets}"),
        format!("stream of {widgets}, with NEW_AND_OLD_IMAGES"),
        format!("table {requests}"),
        format!("expiry of the items of {requests}, by expires_at"),
    ];
    words.into_iter().zip(things).map(|(word, thing)| format!("{word:<7}  {thing}")).collect()
}

#[tokio::test]
async fn setup_creates_what_is_missing_and_can_be_repeated() {
    let tables = names();
    let task = task(&tables).await;
    assert_eq!(set_up(&task).await, (Outcome::Done, lines(&tables, ["created"; 4])));
    assert_eq!(set_up(&task).await, (Outcome::Done, lines(&tables, ["exists"; 4])));
}

#[tokio::test]
async fn setup_completes_a_table_without_a_stream() {
    let tables = names();
    let bare = TableSpec { keys: WIDGETS.keys, index: None, expires: false, stream: None };
    dynamodb::create_table(&client().await, &bare, &tables.widgets).await.unwrap();
    let expected = lines(&tables, ["exists", "changed", "created", "created"]);
    assert_eq!(set_up(&task(&tables).await).await, (Outcome::Done, expected));
}

#[tokio::test]
async fn warm_throughput_that_a_server_lacks_is_left() {
    let tables = names();
    let warm = WarmThroughput { writes: Some(40_000), reads: None };
    let (outcome, lines) = set_up(&Setup { warm, ..task(&tables).await }).await;
    let expected = format!("left     warm throughput of {}: 40000 write units per second: it was not", tables.widgets);
    assert!(outcome == Outcome::Partly && lines.iter().any(|line| line.starts_with(&expected)), "{lines:#?}");
}

async fn checked(tables: &Tables, json: bool) -> (Outcome, Vec<String>) {
    let task = Check { endpoint: Some(endpoint().await), tables: tables.clone(), json };
    run(async |console| check::run(&task, console).await).await
}

#[tokio::test]
async fn check_finds_tables_that_setup_created() {
    let tables = names();
    set_up(&task(&tables).await).await;
    let (outcome, lines) = checked(&tables, false).await;
    assert_eq!(outcome, Outcome::Done);
    // Two tables, six permissions and a stream.
    assert!(lines.len() == 9 && lines.iter().all(|line| line.starts_with("ok ")), "{lines:#?}");
}

#[tokio::test]
async fn check_fails_for_a_table_that_is_missing_or_has_no_stream() {
    let tables = names();
    let bare = TableSpec { keys: WIDGETS.keys, index: None, expires: false, stream: None };
    dynamodb::create_table(&client().await, &bare, &tables.widgets).await.unwrap();
    let (outcome, lines) = checked(&tables, true).await;
    assert_eq!(outcome, Outcome::Failed);
    let findings: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let details: Vec<_> = findings.iter().map(|finding| finding["detail"].as_str().unwrap_or_default()).collect();
    assert!(findings.len() == 2 && findings.iter().all(|finding| finding["result"] == "failed"), "{lines:#?}");
    assert!(details[0].contains("it has no stream") && details[1].contains("does not exist"), "{details:#?}");
}
