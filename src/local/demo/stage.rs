//! Where the demo plays: both servers on free ports, the names of what is on them, and a look inside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use dynoxide::actions::scan::ScanRequest;
use dynoxide::{Database, DynoxideError};
use serde_json::Value;

use super::program::Place;
use crate::local::dynamo::Storage;
use crate::local::servers::{self, Port};
use crate::local::thread::Running;
use pubsub_local::Observer;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FREE: Port = Port { number: 0, flag: "--port" };

pub(super) struct Stage {
    pub(super) place: Place,
    observer: Observer,
    database: Database,
    _servers: [Running; 2],
}

impl Stage {
    pub(super) async fn set() -> Result<Stage, servers::Error> {
        let database = Storage::Memory.open()?;
        let (pubsub, observer) = servers::start_pubsub(LOOPBACK, FREE).await?;
        let dynamo = servers::start_dynamo(LOOPBACK, FREE, database.clone()).await?;
        let place = Place {
            pubsub_host: pubsub.address().to_string(),
            dynamo_url: format!("http://{}", dynamo.address()),
            project: "test-project",
            topic: "scan-topic",
            subscription: "scan-sub",
            dead_letter_topic: "scan-dead-letter",
            dead_letter_subscription: "scan-dead-letter",
            table: "scan-results",
        };
        Ok(Stage { place, observer, database, _servers: [pubsub, dynamo] })
    }

    /// Messages of the subscription that are not acknowledged.
    pub(super) fn backlog(&self) -> usize {
        self.unsettled(&self.place.subscription_name())
    }

    /// Messages of the dead-letter subscription.
    pub(super) fn letters(&self) -> usize {
        self.unsettled(&self.place.dead_letter_subscription_name())
    }

    fn unsettled(&self, subscription: &str) -> usize {
        self.observer.counts(subscription).map_or(0, |counts| counts.backlog())
    }

    /// Every item of the table, in DynamoDB's JSON, from the engine itself.
    pub(super) fn items(&self) -> Result<Vec<Value>, DynoxideError> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let request = ScanRequest {
                table_name: self.place.table.to_owned(),
                exclusive_start_key: from,
                ..Default::default()
            };
            let page = self.database.scan(request)?;
            items.extend(page.items.unwrap_or_default().into_iter().filter_map(|item| serde_json::to_value(item).ok()));
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// What to try while the servers are still up.
    pub(super) fn invitation(&self) -> String {
        let Place { dynamo_url, table, .. } = &self.place;
        format!(
            "The servers are still up. In another terminal, try\n\n  \
             AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo AWS_DEFAULT_REGION=us-east-1 \\\n  \
             aws dynamodb scan --table-name {table} --endpoint-url {dynamo_url}\n\nCtrl-C stops."
        )
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { pubsub_host, dynamo_url, topic, subscription, dead_letter_topic, table, .. } = &self.place;
        let dynamo_host = dynamo_url.trim_start_matches("http://");
        writeln!(f, "Scans from Pub/Sub into DynamoDB: the newest of each key wins\n")?;
        writeln!(f, "  Pub/Sub   {pubsub_host:<18}{topic} to {subscription}, rejected ones to {dead_letter_topic}")?;
        writeln!(f, "  DynamoDB  {dynamo_host:<18}{table}")
    }
}
