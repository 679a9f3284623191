//! Reading of the history: the API, its page and `mini-scan get --history`.

mod timeline;
mod with_history;

use mini_scan::changes::ports::{History, Update, Updated};
use mini_scan::changes::{Body, Difference, Entry, EntryKey, Event, Hashes, Position, Reason, Sequence};
use mini_scan::dynamo::{HistoryTable, connect};
use mini_scan::scan::Key;

use crate::api::{Api, launch};
use crate::hosts::Table;
use crate::support::program::{Launch, mini_scan};
use crate::support::unique;

const TIME: u64 = 1_740_298_125;
/// In 2100, because DynamoDB Local deletes expired entries.
const EXPIRES_AT: u64 = 4_102_444_800;

/// A table of scans, and its history.
pub(crate) struct Past {
    pub(crate) table: Table,
    name: String,
    history: HistoryTable,
}

impl Past {
    pub(crate) async fn new() -> Past {
        let (table, name) = (Table::new().await, unique("history"));
        let names = ["--table", &table.name, "--history-table", &name, "--lease-table", &unique("leases")];
        let setup = mini_scan(["setup", "changes"]).arguments(names);
        let exit = setup.env("AWS_ENDPOINT_URL_DYNAMODB", &table.dynamo.endpoint).run().await;
        assert_eq!(exit.code, Some(0), "{exit:#?}");
        let client = connect(Some(&table.dynamo.endpoint)).await.expect("a client");
        let history = HistoryTable::new(client, name.clone());
        Past { table, name, history }
    }

    pub(crate) fn api(&self) -> Launch {
        launch(&self.table).arguments(["--history-table", &self.name])
    }

    /// Runs `mini-scan get --history` on the table.
    fn get(&self) -> Launch {
        let get = mini_scan(["get", "--history", "--history-table", &self.name]);
        get.env("AWS_ENDPOINT_URL_DYNAMODB", &self.table.dynamo.endpoint)
    }

    /// Stores entries as `mini-scan changes` does.
    pub(crate) async fn record(&self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            self.history.put(&entry).await.expect("the entry is stored");
        }
    }

    /// Updates the summary of a service as `mini-scan changes` does.
    async fn summarize(&self, service: &Key, sequence: u64, event: Event, time: u64) {
        let hash = [7; 16];
        let position = Position { stream: "2026".to_owned(), sequence: number(sequence) };
        let update = Update {
            service: service.clone(),
            position,
            event,
            time,
            created: time,
            seen_at: time,
            hashes: Some((Hashes { raw: hash, bytes: hash, text: hash, data_version: 2 }, "masks".to_owned())),
        };
        let updated = self.history.update(&update).await.expect("the summary is stored");
        assert!(matches!(updated, Updated::Applied(_)), "{updated:?}");
    }
}

fn number(number: u64) -> Sequence {
    Sequence::parse(&number.to_string()).expect("a number")
}

pub(crate) fn service(ip: &str, port: u16, name: &str) -> Key {
    Key::new(ip.parse().expect("an address"), port, name)
}

fn entry(service: &Key, event: Event, time: u64, sequence: u64) -> Entry {
    let key = EntryKey { service: service.clone(), time, sequence: number(sequence) };
    Entry::new(key, event, time, EXPIRES_AT)
}

/// A service that opened, changed and expired, a day apart.
pub(crate) fn life(service: &Key, response: &str) -> [Entry; 3] {
    let body = Some(Body::Text(response.to_owned()));
    let difference = Difference {
        lines_added: 1,
        lines_removed: 1,
        bytes_added: 5,
        bytes_removed: 4,
        text: Some(format!("-old\n+{response}")),
        is_cut: false,
    };
    let opened = entry(service, Event::Opened, TIME, 1);
    let changed = entry(service, Event::Changed, TIME + 86_400, 2);
    let closed = entry(service, Event::Closed, TIME + 2 * 86_400, 3);
    [
        Entry { number: Some(1), response_size: Some(3), ..opened },
        Entry { number: Some(2), difference: Some(difference), body, old_timestamp: Some(TIME), ..changed },
        Entry { number: Some(3), reason: Some(Reason::Expired), ..closed },
    ]
}

async fn start(launch: Launch) -> Api {
    Api::start(launch).await
}
