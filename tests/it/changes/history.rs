//! A table of scans with its history, and the program between them.

use mini_scan::changes::{Entry, EntryQuery, Summary};
use mini_scan::dynamo::{HistoryTable, SideTable, create_table};
use mini_scan::scan::Key;

use super::READING;
use crate::support::dynamo::{Dynamo, Item, item, number, text};
use crate::support::program::{Launch, Program, mini_scan};
use crate::support::{unique, with_progress, with_timeout};

const KEY: &str = "1.1.1.1#80#HTTP";
const OTHER_KEY: &str = "1.1.1.2#80#HTTP";

pub(super) struct Setup {
    pub(super) dynamo: Dynamo,
    pub(super) scans: String,
    pub(super) history: String,
    leases: String,
}

/// Returns the row of a scan.
pub(super) fn scan(timestamp: u64, response: &str) -> Item {
    item([
        ("pk", text(KEY)),
        ("ip", text("1.1.1.1")),
        ("port", number(80)),
        ("service", text("HTTP")),
        ("timestamp", number(timestamp)),
        ("response", text(response)),
        ("data_version", number(2)),
    ])
}

impl Setup {
    pub(super) async fn new() -> Setup {
        Setup::on(Dynamo::connect()).await
    }

    pub(super) async fn on(dynamo: Dynamo) -> Setup {
        let scans = dynamo.table().await;
        let setup = Setup { dynamo, scans, history: unique("history"), leases: unique("leases") };
        setup.create_history().await;
        let create = create_table(&setup.dynamo.client, SideTable::Leases.spec(), &setup.leases);
        with_timeout("a lease table", create).await.expect("the table is created");
        setup
    }

    pub(super) async fn create_history(&self) {
        let create = create_table(&self.dynamo.client, SideTable::History.spec(), &self.history);
        with_timeout("a history table", create).await.expect("the table is created");
    }

    pub(super) fn launch<'a>(&'a self, arguments: &[&'a str]) -> Launch {
        self.of_table(&self.scans).arguments(arguments.iter().copied())
    }

    pub(super) fn of_table(&self, scans: &str) -> Launch {
        let arguments = ["changes", "--table", scans, "--history-table", &self.history, "--lease-table", &self.leases];
        let launch = mini_scan(arguments).arguments(["--checkpoint-interval", "100ms"]);
        launch.env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint).env("AWS_REGION", "us-east-1")
    }

    /// Returns `mini-scan changes dead` with this task.
    pub(super) fn dead(&self, arguments: &[&str]) -> Launch {
        let launch = mini_scan(["changes", "dead"]).arguments(arguments.iter().copied());
        let launch = launch.arguments(["--history-table", &self.history]);
        launch.env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamo.endpoint).env("AWS_REGION", "us-east-1")
    }

    /// Starts an instance and waits until it reads.
    pub(super) async fn start(&self) -> Program {
        self.start_with(&[]).await
    }

    pub(super) async fn start_with(&self, arguments: &[&str]) -> Program {
        let mut program = self.launch(arguments).start();
        program.wait_for_line(READING).await;
        program
    }

    pub(super) async fn put(&self, row: Item) {
        self.dynamo.put(&self.scans, row).await;
    }

    /// Stores a scan of another address.
    pub(super) async fn put_other(&self, mut row: Item) {
        row.insert("pk".to_owned(), text(OTHER_KEY));
        row.insert("ip".to_owned(), text("1.1.1.2"));
        self.put(row).await;
    }

    pub(super) async fn delete(&self) {
        let delete = self.dynamo.client.delete_item().table_name(&self.scans).key("pk", text(KEY));
        delete.send().await.expect("the record is deleted");
    }

    /// Waits for this many entries, and returns them in the order of their numbers.
    pub(super) async fn entries(&self, count: usize) -> Vec<Entry> {
        self.entries_of([1, 1, 1, 1], count).await
    }

    pub(super) async fn other_entries(&self, count: usize) -> Vec<Entry> {
        self.entries_of([1, 1, 1, 2], count).await
    }

    async fn entries_of(&self, ip: [u8; 4], count: usize) -> Vec<Entry> {
        let query = EntryQuery {
            ip: ip.into(),
            start: 0,
            end: u64::MAX,
            newest_first: false,
            with_bodies: true,
            after: None,
            limit: 1000,
        };
        let poll = async || {
            let mut entries = self.table().entries(&query).await.expect("the history is read").value.entries;
            entries.sort_by_key(|entry| entry.number);
            if entries.len() == count { Ok(entries) } else { Err(entries.len()) }
        };
        with_progress("the entries", poll).await
    }

    pub(super) async fn summary(&self) -> Summary {
        let service = Key::parse(KEY).expect("a key");
        let found = self.table().summaries(&[service], true).await.expect("the history is read");
        found.value.summaries.into_iter().next().expect("the service has a summary")
    }

    /// Returns the items of the history with this partition key.
    pub(super) async fn items(&self, ip: &str) -> Vec<Item> {
        let query = self.dynamo.client.query().table_name(&self.history).key_condition_expression("ip = :ip");
        let found = query.expression_attribute_values(":ip", text(ip)).send().await;
        found.expect("the history is read").items.unwrap_or_default()
    }

    pub(super) async fn delete_leases(&self) {
        for row in self.lease_rows().await {
            let delete = self.dynamo.client.delete_item().table_name(&self.leases);
            delete.key("leaseKey", row["leaseKey"].clone()).send().await.expect("the row is deleted");
        }
    }

    /// Makes the leases those of another stream.
    pub(super) async fn rename_leases(&self, label: &str) {
        let rows = self.lease_rows().await;
        self.delete_leases().await;
        for mut row in rows {
            let key = row["leaseKey"].as_s().expect("a text").clone();
            let mut parts: Vec<_> = key.split('/').collect();
            parts[2] = label;
            row.insert("leaseKey".to_owned(), text(parts.join("/")));
            self.dynamo.put(&self.leases, row).await;
        }
    }

    async fn lease_rows(&self) -> Vec<Item> {
        let scan = self.dynamo.client.scan().table_name(&self.leases).consistent_read(true);
        scan.send().await.expect("the leases are read").items.unwrap_or_default()
    }

    fn table(&self) -> HistoryTable {
        HistoryTable::new(self.dynamo.client.clone(), self.history.clone())
    }
}
