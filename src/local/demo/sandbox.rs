//! The sandbox of the demo: both servers on free ports, and direct access to their state.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dynamodb_local::Storage;
use dynamodb_local::dynoxide::actions::scan::ScanRequest;
use dynamodb_local::dynoxide::{Database, DynoxideError};
use dynamodb_local::thread::Running;
use serde_json::Value;

use super::program::Environment;
use crate::local::servers::{self, Port};
use pubsub_local::Observer;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FREE: Port = Port { number: 0, flag: "--port" };

pub(super) struct Sandbox {
    pub(super) environment: Environment,
    observer: Observer,
    database: Database,
    _servers: [Running; 2],
}

impl Sandbox {
    pub(super) async fn start() -> Result<Sandbox, servers::Error> {
        let database = Storage::Memory.open()?;
        let (pubsub, observer) = servers::start_pubsub(LOOPBACK, FREE).await?;
        let dynamo = servers::start_dynamo(LOOPBACK, FREE, database.clone()).await?;
        let environment = Environment {
            pubsub_host: pubsub.address().to_string(),
            dynamo_url: format!("http://{}", dynamo.address()),
            project: "test-project",
            topic: "scan-topic",
            subscription: "scan-sub",
            dead_letter_topic: "scan-dead-letter",
            dead_letter_subscription: "scan-dead-letter",
            table: "scan-results",
        };
        Ok(Sandbox { environment, observer, database, _servers: [pubsub, dynamo] })
    }

    /// Returns the number of unsettled messages on the subscription.
    pub(super) fn backlog(&self) -> usize {
        self.unsettled(&self.environment.subscription_name())
    }

    /// Returns the number of unsettled messages on the dead-letter subscription.
    pub(super) fn dead_letters(&self) -> usize {
        self.unsettled(&self.environment.dead_letter_subscription_name())
    }

    fn unsettled(&self, subscription: &str) -> usize {
        self.observer.counts(subscription).map_or(0, |counts| counts.backlog())
    }

    /// Reads all items of the table from the engine, in DynamoDB's JSON.
    pub(super) fn items(&self) -> Result<Vec<Value>, DynoxideError> {
        let mut items = Vec::new();
        let mut start_key = None;
        loop {
            let request = ScanRequest {
                table_name: self.environment.table.to_owned(),
                exclusive_start_key: start_key,
                ..Default::default()
            };
            let page = self.database.scan(request)?;
            items.extend(page.items.unwrap_or_default().into_iter().filter_map(|item| serde_json::to_value(item).ok()));
            start_key = page.last_evaluated_key;
            if start_key.is_none() {
                return Ok(items);
            }
        }
    }

    /// Returns the lines to try while the servers keep running.
    pub(super) fn instructions(&self, api: Option<SocketAddr>) -> Result<String, DynoxideError> {
        let Environment { dynamo_url, table, .. } = &self.environment;
        let program = program();
        let address = self.busiest_address()?.unwrap_or_else(|| "1.1.1.7".to_owned());
        let api = match api {
            Some(api) => format!(
                "\n  curl http://{api}/v1/hosts/{address}\n  {program} get --api http://{api} {address}\n\n\
                 In a browser: http://{api}/hosts/{address}\n\
                 The API:      http://{api}/docs\n"
            ),
            None => "\n".to_owned(),
        };
        Ok(format!(
            "The servers keep running. In another terminal, try:\n\n  \
             export AWS_ENDPOINT_URL_DYNAMODB={dynamo_url}\n  \
             {program} get {address}\n  \
             {program} export --format csv --output scans.csv\n  \
             AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo AWS_DEFAULT_REGION=us-east-1 \\\n  \
             aws dynamodb scan --table-name {table} --endpoint-url {dynamo_url}{api}\nCtrl-C stops."
        ))
    }

    /// Returns the address with the most records.
    fn busiest_address(&self) -> Result<Option<String>, DynoxideError> {
        let mut counts = BTreeMap::<String, usize>::new();
        for item in self.items()? {
            if let Some(ip) = item["ip"]["S"].as_str() {
                *counts.entry(ip.to_owned()).or_default() += 1;
            }
        }
        Ok(counts.into_iter().max_by_key(|(_, count)| *count).map(|(ip, _)| ip))
    }
}

/// Returns how to start this program from the current directory.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_else(|_| "mini-scan".into());
    let here = std::env::current_dir().ok();
    let short = here.as_deref().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(&path);
    short.display().to_string()
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Environment { pubsub_host, dynamo_url, topic, subscription, dead_letter_topic, table, .. } =
            &self.environment;
        let dynamo_host = dynamo_url.trim_start_matches("http://");
        writeln!(f, "Scans from Pub/Sub into DynamoDB: the newest scan of each key wins\n")?;
        writeln!(
            f,
            "  Pub/Sub   {pubsub_host:<18}topic {topic}, subscription {subscription}, \
             dead letters to {dead_letter_topic}"
        )?;
        writeln!(f, "  DynamoDB  {dynamo_host:<18}table {table}")
    }
}
