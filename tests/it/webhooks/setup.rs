//! The tables of webhooks, and the program between them.

use std::io::Write;

use mini_scan::dynamo::{SideTable, SubscriptionTable, create_table};
use mini_scan::subscriptions::ports::Subscriptions;
use mini_scan::subscriptions::{Filter, Status, StoredSecret, Subscription, new_id};
use tempfile::NamedTempFile;
use tokio::time::sleep;
use webhooks::{Changed, Secret, SecretKeys};

use super::READING;
use crate::support::dynamo::{Dynamo, Item, item, number, text};
use crate::support::program::{Program, mini_scan};
use crate::support::webhook_receiver::Receiver;
use crate::support::{POLL_INTERVAL, unique, with_timeout};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub(super) struct Setup {
    pub(super) dynamo: Dynamo,
    scans: String,
    history: String,
    leases: String,
    subscriptions: String,
    pub(super) deliveries: String,
    key_file: NamedTempFile,
}

/// Returns the row of a scan.
pub(super) fn scan(port: u16, timestamp: u64, response: &str) -> Item {
    item([
        ("pk", text(format!("1.1.1.1#{port}#HTTP"))),
        ("ip", text("1.1.1.1")),
        ("port", number(port)),
        ("service", text("HTTP")),
        ("timestamp", number(timestamp)),
        ("response", text(response)),
        ("data_version", number(2)),
    ])
}

impl Setup {
    pub(super) async fn new() -> Setup {
        let dynamo = Dynamo::connect();
        let mut key_file = NamedTempFile::new().expect("a file");
        writeln!(key_file, "{KEY}").expect("the key is written");
        let [history, leases, subscriptions, deliveries] = ["history", "leases", "webhooks", "deliveries"].map(unique);
        let scans = dynamo.table().await;
        let setup = Setup { dynamo, scans, history, leases, subscriptions, deliveries, key_file };
        for (kind, name) in [
            (SideTable::History, &setup.history),
            (SideTable::Leases, &setup.leases),
            (SideTable::Subscriptions, &setup.subscriptions),
            (SideTable::Deliveries, &setup.deliveries),
        ] {
            let create = create_table(&setup.dynamo.client, kind.spec(), name);
            with_timeout("a table", create).await.expect("the table is created");
        }
        setup
    }

    /// Creates a subscription. Returns its secret.
    pub(super) async fn subscribe(&self, url: &str, filter: Filter) -> Secret {
        let (id, secret) = (new_id(), Secret::generate());
        let sealed = SecretKeys::parse(KEY).expect("a key").seal(&secret, &id);
        let subscription = Subscription {
            id,
            owner: "tests".to_owned(),
            description: String::new(),
            url: url.to_owned(),
            filter,
            status: Status::Active,
            secrets: vec![StoredSecret { sealed, until: None }],
            failing_since: None,
            max_concurrency: 16,
            max_per_second: None,
            created: 1,
            updated: 1,
            revision: 1,
        };
        let table = SubscriptionTable::new(self.dynamo.client.clone(), self.subscriptions.clone());
        assert_eq!(table.create(&subscription).await, Ok(Changed::Applied));
        secret
    }

    /// Starts an instance and waits until it reads.
    pub(super) async fn start(&self, receiver: &Receiver) -> Program {
        let arguments =
            ["changes", "--table", &self.scans, "--history-table", &self.history, "--lease-table", &self.leases];
        let key_file = self.key_file.path().to_str().expect("a text");
        let launch = mini_scan(arguments)
            .arguments(["--checkpoint-interval", "100ms", "--failover", "2s", "--webhooks"])
            .arguments(["--webhooks-table", &self.subscriptions, "--deliveries-table", &self.deliveries])
            .arguments(["--secret-key-file", key_file, "--allow-http", "--allow-target", &receiver.host()]);
        let launch = launch.env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint).env("AWS_REGION", "us-east-1");
        let mut program = launch.start();
        program.wait_for_line(READING).await;
        program
    }

    pub(super) async fn put(&self, row: Item) {
        self.dynamo.put(&self.scans, row).await;
    }

    /// Waits until no delivery is stored.
    pub(super) async fn wait_for_no_deliveries(&self) {
        loop {
            let scan = self.dynamo.client.scan().table_name(&self.deliveries).consistent_read(true);
            let items = scan.send().await.expect("the table is read").items.unwrap_or_default();
            let is_waiting = |item: &Item| item["queue"].as_s().is_ok_and(|queue| queue.starts_with("w#"));
            if !items.iter().any(is_waiting) {
                return;
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}
