//! The programs of the demo, with the names of its tables.

use std::fmt;
use std::net::SocketAddr;
use std::process;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use demo::Processes;

use crate::local::demo::Error;
use crate::local::demo::program::Environment;

/// The file with the key that encrypts the signing secrets.
const KEY: &str = "key";

/// Starts this program with the settings of the demo.
pub(super) struct Children {
    pub(super) processes: Processes,
    environment: Environment,
    dynamo: String,
    pub(super) table: String,
    pub(super) history: String,
    leases: String,
    webhooks: String,
    deliveries: String,
    /// The sinks, as the guard of webhooks gets them.
    targets: String,
}

impl Children {
    /// The tables have new names, because a given DynamoDB may have those of an earlier run.
    pub(super) fn new(environment: &Environment, dynamo: String, sinks: [SocketAddr; 2]) -> Result<Children, Error> {
        let run = format!("demo-{}-{}", crate::local::scanner::unix_now(), process::id());
        let processes = Processes::new()?;
        let key = processes.write(KEY, &BASE64.encode(rand::random::<[u8; 32]>()))?;
        let mut children = Children {
            processes,
            environment: environment.clone(),
            dynamo,
            table: format!("{run}-results"),
            history: format!("{run}-history"),
            leases: format!("{run}-leases"),
            webhooks: format!("{run}-webhooks"),
            deliveries: format!("{run}-deliveries"),
            targets: sinks.map(|sink| sink.to_string()).join(","),
        };
        let variables = [
            ("PUBSUB_EMULATOR_HOST", &environment.pubsub_host),
            ("AWS_ENDPOINT_URL_DYNAMODB", &children.dynamo),
            ("MINI_SCAN_TABLE", &children.table),
            ("MINI_SCAN_HISTORY_TABLE", &children.history),
            ("MINI_SCAN_LEASE_TABLE", &children.leases),
            ("MINI_SCAN_WEBHOOKS_TABLE", &children.webhooks),
            ("MINI_SCAN_DELIVERIES_TABLE", &children.deliveries),
            ("MINI_SCAN_SECRET_KEY_FILE", &key),
            ("MINI_SCAN_ALLOW_TARGET", &children.targets),
        ];
        variables.iter().for_each(|(name, value)| children.processes.set(name, value.as_str()));
        let fixed = [
            ("MINI_SCAN_PROJECT", environment.project),
            ("MINI_SCAN_SUBSCRIPTION", environment.subscription),
            ("MINI_SCAN_ALLOW_HTTP", "true"),
            ("MINI_SCAN_HTTP_LISTEN", "off"),
            ("MINI_SCAN_LOG_FORMAT", "text"),
        ];
        fixed.iter().for_each(|(name, value)| children.processes.set(name, *value));
        Ok(children)
    }

    pub(super) fn dynamo(&self) -> &str {
        &self.dynamo
    }
}

impl fmt::Display for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "What changed between two waves of scans: history from the table's stream\n")?;
        writeln!(f, "  Pub/Sub   {:<27}subscription {}", self.environment.pubsub_host, self.environment.subscription)?;
        writeln!(f, "  DynamoDB  {:<27}tables {}, {}, {},", self.dynamo, self.table, self.history, self.leases)?;
        writeln!(f, "            {:<27}{}, {}", "", self.webhooks, self.deliveries)?;
        writeln!(f, "  Sinks     {}", self.targets.replace(',', " and "))
    }
}
