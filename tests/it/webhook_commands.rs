//! `mini-scan webhooks` on the embedded DynamoDB: subscriptions, tests, dead deliveries and replays.

pub(crate) mod deliveries;
mod subscriptions;

use std::path::PathBuf;
use std::time::Duration;

use mini_scan::dynamo::{DeliveriesKept, DeliveryTable, connect};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::dynamo::Dynamo;
use crate::support::program::{Exit, Launch, mini_scan};
use crate::support::unique;

/// The tables of webhooks, and a file with a key.
pub(crate) struct Tables {
    pub(crate) dynamo: Dynamo,
    pub(crate) webhooks: String,
    pub(crate) deliveries: String,
    pub(crate) key: PathBuf,
    _folder: TempDir,
}

impl Tables {
    pub(crate) async fn new() -> Tables {
        let (dynamo, webhooks, deliveries) = (Dynamo::connect(), unique("webhooks"), unique("deliveries"));
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key");
        std::fs::write(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n").expect("the key is written");
        let tables = Tables { dynamo, webhooks, deliveries, key, _folder: folder };
        let exit = tables.point(mini_scan(["setup", "webhooks"])).run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        tables
    }

    /// Points a command at these tables.
    pub(crate) fn point(&self, launch: Launch) -> Launch {
        launch
            .env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint)
            .env("MINI_SCAN_WEBHOOKS_TABLE", &self.webhooks)
            .env("MINI_SCAN_DELIVERIES_TABLE", &self.deliveries)
    }

    /// Points a command at these tables and the key.
    pub(crate) fn with_key(&self, launch: Launch) -> Launch {
        self.point(launch).env("MINI_SCAN_SECRET_KEY_FILE", self.key.to_str().expect("a path in UTF-8"))
    }

    fn webhooks<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Launch {
        self.with_key(mini_scan(["webhooks"]).arguments(arguments))
    }

    /// Runs `mini-scan webhooks` and returns what it printed.
    async fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let exit = self.webhooks(arguments).run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        exit.output.stdout.join("\n")
    }

    /// Runs `mini-scan webhooks --json` and returns its objects.
    async fn json<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
        let text = self.run(arguments.into_iter().chain(["--json"])).await;
        text.lines().map(|line| serde_json::from_str(line).expect("an object per line")).collect()
    }

    /// Adds a subscription and returns its JSON with the secret.
    async fn add<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Value {
        self.json(["add"].into_iter().chain(arguments)).await.remove(0)
    }

    /// Returns the table of deliveries as an instance that delivers has it.
    pub(crate) async fn store(&self) -> DeliveryTable {
        let client = connect(Some(&self.dynamo.endpoint)).await.expect("a client");
        // Until 2100, because DynamoDB Local deletes expired items.
        let kept = DeliveriesKept { dead: Duration::from_secs(2 << 30), delivered: Duration::from_secs(2 << 30) };
        DeliveryTable::new(client, self.deliveries.clone(), kept, std::sync::Arc::new(webhooks::SystemClock))
    }
}

/// Returns all lines of both streams.
fn all(exit: &Exit) -> String {
    [&exit.output.stdout[..], &exit.output.stderr[..]].concat().join("\n")
}

/// Returns the id of a subscription.
fn id(subscription: &Value) -> &str {
    subscription["id"].as_str().expect("an id")
}
