//! `mini-scan check webhooks`: both tables and each permission.

use super::{line, results};
use crate::support::dynamo::Dynamo;
use crate::support::dynamo_proxy::{Action, DynamoProxy};
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::unique;

struct Tables {
    dynamo: Dynamo,
    webhooks: String,
    deliveries: String,
}

impl Tables {
    fn new() -> Tables {
        Tables { dynamo: Dynamo::connect(), webhooks: unique("webhooks"), deliveries: unique("deliveries") }
    }

    /// Runs `setup webhooks` or `check webhooks`.
    fn launch(&self, command: &str) -> Launch {
        let names = ["--webhooks-table", &self.webhooks, "--deliveries-table", &self.deliveries];
        let launch = mini_scan([command, "webhooks"]).arguments(names);
        launch.env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint)
    }

    async fn set_up(&self) {
        let exit = self.launch("setup").run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
    }
}

fn lines<'a>(exit: &'a Exit, start: &str) -> Vec<&'a str> {
    exit.output.stdout.iter().map(String::as_str).filter(|line| line.starts_with(start)).collect()
}

#[tokio::test]
async fn what_setup_creates_for_webhooks_passes_every_check_and_is_left_unchanged() {
    let tables = Tables::new();
    tables.set_up().await;

    let exit = tables.launch("check").run().await;

    assert_eq!(exit.code, Some(0), "{exit:#?}");
    let mut expected = vec![("ok", "webhooks table")];
    expected.extend([("ok", "permission"); 7]);
    expected.extend([("ok", "deliveries table"), ("ok", "expiry")]);
    expected.extend([("ok", "permission"); 6]);
    assert_eq!(results(&exit), expected, "{exit:#?}");
    for table in [&tables.webhooks, &tables.deliveries] {
        assert_eq!(tables.dynamo.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_missing_table_of_webhooks_is_reported_with_the_command_that_creates_it() {
    let tables = Tables::new();

    let exit = tables.launch("check").run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    let failures = lines(&exit, "failed");
    assert_eq!(failures.len(), 2, "{exit:#?}");
    for (failure, flag) in failures.iter().zip(["--webhooks-table", "--deliveries-table"]) {
        assert!(failure.contains(&format!("mini-scan setup webhooks {flag}")), "{failure}");
    }
}

#[tokio::test]
async fn a_missing_permission_fails_only_if_the_reader_needs_it() {
    let tables = Tables::new();
    tables.set_up().await;
    let webhooks = tables.webhooks.clone();
    let proxy = DynamoProxy::before(tables.dynamo.endpoint.trim_start_matches("http://"), move |request| {
        let changes_subscriptions = request.is(".PutItem") && request.text().contains(&webhooks);
        let reads_index = request.is(".Query") && request.text().contains("by-due");
        if changes_subscriptions || reads_index { Action::access_denied() } else { Action::Forward }
    })
    .await;

    let exit = tables.launch("check").env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.url()).run().await;

    assert_eq!(exit.code, Some(1), "{exit:#?}");
    assert_eq!((lines(&exit, "failed").len(), lines(&exit, "note").len()), (1, 1), "{exit:#?}");
    let failed = line(&exit, "failed");
    assert!(failed.contains(&format!("dynamodb:Query on index by-due of table {}", tables.deliveries)), "{failed}");
    let note = line(&exit, "note");
    assert!(note.contains(&format!("dynamodb:PutItem on {}", tables.webhooks)), "{note}");
}
