//! `mini-scan check changes`: the stream, both tables and each permission.

use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType};
use serde_json::Value;

use super::{line, results};
use crate::support::dynamo::{Dynamo, item, number, text};
use crate::support::dynamo_proxy::{Action, DynamoProxy};
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::unique;

/// Three tables, of which only that of the scans exists at first.
struct Tables {
    dynamo: Dynamo,
    scans: String,
    history: String,
    leases: String,
}

impl Tables {
    async fn new() -> Tables {
        let dynamo = Dynamo::connect();
        let scans = dynamo.table().await;
        Tables { dynamo, scans, history: unique("history"), leases: unique("leases") }
    }

    /// Runs `setup changes` or `check changes`.
    fn launch(&self, command: &str) -> Launch {
        let names = ["--table", &self.scans, "--history-table", &self.history, "--lease-table", &self.leases];
        let launch = mini_scan([command, "changes"]).arguments(names);
        launch.env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint)
    }

    async fn set_up(&self) {
        let exit = self.launch("setup").run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
    }
}

fn failures(exit: &Exit) -> Vec<&str> {
    exit.output.stdout.iter().map(String::as_str).filter(|line| line.starts_with("failed")).collect()
}

#[tokio::test]
async fn what_setup_creates_passes_every_check_and_is_left_unchanged() {
    let tables = Tables::new().await;
    tables.set_up().await;

    let exit = tables.launch("check").run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let mut expected = vec![("ok", "stream"), ("ok", "permission"), ("ok", "history table"), ("ok", "expiry")];
    expected.extend([("ok", "permission"); 4]);
    expected.extend([("ok", "gaps"), ("ok", "dead letters"), ("ok", "lease table")]);
    expected.extend([("ok", "permission"); 4]);
    assert_eq!(results(&exit), expected, "{exit:#?}");
    for table in [&tables.scans, &tables.history, &tables.leases] {
        assert_eq!(tables.dynamo.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn everything_that_is_missing_is_reported_with_the_command_that_creates_it() {
    let tables = Tables::new().await;
    let none = StreamSpecification::builder().stream_enabled(false).build().expect("complete");
    let scans = unique("table");
    let create = tables.dynamo.create(&scans).set_stream_specification(Some(none));
    create.send().await.expect("the table is created");

    let exit = Tables { scans, ..tables }.launch("check").run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let failures = failures(&exit);
    assert_eq!(failures.len(), 3, "{exit:#?}");
    for (failure, what) in failures.iter().zip(["--table", "--history-table", "--lease-table"]) {
        assert!(failure.contains(what) && failure.contains("mini-scan setup changes"), "{failure}");
    }
}

#[tokio::test]
async fn a_stream_without_both_images_fails() {
    let tables = Tables::new().await;
    let scans = unique("table");
    let keys = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::KeysOnly);
    let create = tables.dynamo.create(&scans).stream_specification(keys.build().expect("complete"));
    create.send().await.expect("the table is created");
    tables.set_up().await;

    let exit = Tables { scans, ..tables }.launch("check").run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let failed = line(&exit, "failed   stream");
    assert!(failed.contains("its stream has KEYS_ONLY; expected NEW_AND_OLD_IMAGES"), "{failed}");
}

#[tokio::test]
async fn a_history_table_without_expiry_is_a_warning() {
    let tables = Tables::new().await;
    tables.set_up().await;
    let off = aws_sdk_dynamodb::types::TimeToLiveSpecification::builder().enabled(false).attribute_name("expires_at");
    let update = tables.dynamo.client.update_time_to_live().table_name(&tables.history);
    let update = update.time_to_live_specification(off.build().expect("complete"));
    update.send().await.expect("the items do not expire");

    let exit = tables.launch("check").run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let warning = line(&exit, "warning  expiry");
    assert!(warning.contains("mini-scan setup changes"), "{warning}");
}

#[tokio::test]
async fn each_missing_permission_is_named_with_its_table() {
    let tables = Tables::new().await;
    tables.set_up().await;
    let denied = [".PutItem", ".UpdateItem", ".DeleteItem", ".Query", ".Scan", ".GetRecords"];
    let proxy = DynamoProxy::before(tables.dynamo.endpoint.trim_start_matches("http://"), move |request| {
        let is_denied = denied.iter().any(|operation| request.is(operation));
        if is_denied { Action::access_denied() } else { Action::Forward }
    })
    .await;

    let exit = tables.launch("check").env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let failures = failures(&exit);
    assert_eq!(failures.len(), 9, "{exit:#?}");
    assert!(failures[0].contains("dynamodb:GetRecords") && failures[0].contains(&tables.scans), "{exit:#?}");
    for action in ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query"] {
        let of_history = |line: &&&str| line.contains(action) && line.contains(&tables.history);
        assert_eq!(failures.iter().filter(of_history).count(), 1, "{action}: {exit:#?}");
    }
}

#[tokio::test]
async fn json_has_one_object_per_check_of_changes() {
    let tables = Tables::new().await;
    tables.set_up().await;

    let exit = tables.launch("check").arguments(["--json"]).run().await;

    let lines = &exit.output.stdout;
    let parsed: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(parsed.len(), 15, "{exit:#?}");
    assert_eq!(parsed[0]["check"], "stream");
    assert!(parsed.iter().all(|check| check["result"] == "ok"), "{exit:#?}");
}

#[tokio::test]
async fn gaps_and_dead_letters_of_the_history_are_warnings_with_what_to_do() {
    let tables = Tables::new().await;
    tables.set_up().await;
    for (ip, entry) in [("gaps", "1#shard#0"), ("gaps", "2#shard#0"), ("dead", "shard#7#000"), ("dead", "shard#7#001")]
    {
        let mut row = item([("ip", text(ip)), ("entry", text(entry))]);
        if entry == "shard#7#000" {
            row.insert("reason".to_owned(), text("unreadable"));
        }
        if entry == "1#shard#0" {
            row.insert("repaired_at".to_owned(), number(3));
        }
        tables.dynamo.put(&tables.history, row).await;
    }

    let exit = tables.launch("check").run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let (gaps, dead) = (line(&exit, "warning  gaps"), line(&exit, "warning  dead letters"));
    assert!(gaps.contains("gaps: 1.") && gaps.contains("mini-scan changes backfill"), "{gaps}");
    assert!(dead.contains("handled: 1.") && dead.contains("mini-scan changes dead list"), "{dead}");
}
