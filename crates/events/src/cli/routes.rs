//! Flags of `event-pipeline routes`.

use clap::error::ErrorKind;
use webhooks::RefusedTarget;

use super::help::{exit_codes, heading, more};
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use super::targets::{SecretKeyArgs, TargetArgs};
use super::values::{client_id, target};
use crate::routes::MAIN;
use crate::tools::routes::{Added, RoutesAt};

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline routes add acme https://hooks.example.com/events \\\n",
    "    --secret-key-file key\n",
    "  event-pipeline routes list\n\n",
    exit_codes!(),
    more!()
);

const ADD_HELP: &str = concat!(
    heading!("Examples"),
    "  openssl rand -base64 32 > key\n",
    "  event-pipeline routes add acme https://hooks.example.com/events \\\n",
    "    --secret-key-file key\n",
    "  event-pipeline routes add acme https://audit.example.com/ --name audit \\\n",
    "    --event-type order.paid --event-type order.cancelled\n",
    "  event-pipeline routes add acme http://mock-sink:8080/ --allow-http \\\n",
    "    --allow-target mock-sink:8080\n\n",
    "  With --secret-key-file it prints a new signing secret once. `event-pipeline deliver`\n",
    "  needs the same --allow flags and the same key, and uses the route within 5 s.\n",
    "  A target that exists is replaced, and is active again.\n\n",
    exit_codes!(),
    more!()
);

const LIST_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline routes list\n",
    "  event-pipeline routes list acme --json | jq -r .target\n\n",
    "  It shows no path of a URL, because it may contain a secret.\n\n",
    heading!("Exit codes"),
    "  0 success, 1 failure, 2 wrong usage, 3 some routes cannot be read\n\n",
    more!()
);

const REMOVE_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline routes remove acme\n",
    "  event-pipeline routes remove acme --name audit\n\n",
    "  Deliveries that wait for the target become dead letters.\n\n",
    heading!("Exit codes"),
    "  0 success, 1 failure, e.g. there is no such target, 2 wrong usage\n\n",
    more!()
);

/// Choose where the events of a client are delivered
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct RoutesArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Add a target of a client, or replace it
    Add(AddArgs),
    /// Print the targets of all clients, or of one
    List(ListArgs),
    /// Remove a target of a client
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct SharedArgs {
    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,

    /// Print JSON objects, one per line, in place of text
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = ADD_HELP)]
struct AddArgs {
    /// Client whose events are delivered
    #[arg(value_parser = client_id)]
    client: String,

    /// URL that gets the events
    url: String,

    /// Name of the target. A client can have several
    #[arg(long, value_name = "NAME", default_value = MAIN, value_parser = target, help_heading = "Target")]
    name: String,

    /// Deliver only events of this type; may be repeated. Without it all are delivered
    #[arg(long = "event-type", value_name = "TYPE", help_heading = "Target", next_line_help = true)]
    event_types: Vec<String>,

    #[command(flatten)]
    targets: TargetArgs,

    #[command(flatten)]
    key: SecretKeyArgs,

    #[command(flatten)]
    shared: SharedArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
struct ListArgs {
    /// Client; without it all are listed
    #[arg(value_parser = client_id)]
    client: Option<String>,

    #[command(flatten)]
    shared: SharedArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REMOVE_HELP)]
struct RemoveArgs {
    /// Client that has the target
    #[arg(value_parser = client_id)]
    client: String,

    /// Name of the target
    #[arg(long, value_name = "NAME", default_value = MAIN, value_parser = target, help_heading = "Target")]
    name: String,

    #[command(flatten)]
    shared: SharedArgs,
}

/// What `event-pipeline routes` does.
#[derive(Debug)]
pub enum RoutesTask {
    Add(RoutesAt, Added),
    List(RoutesAt, Option<String>),
    Remove { table: RoutesAt, client_id: String, target: String },
}

impl SharedArgs {
    fn table(&self) -> RoutesAt {
        RoutesAt { endpoints: self.servers.endpoints(), tables: self.tables.tables(), json: self.json }
    }
}

impl RoutesArgs {
    /// Returns what to do, or why it is refused. Reads the keys of secrets.
    pub fn task(&self) -> Result<RoutesTask, clap::Error> {
        Ok(match &self.task {
            Task::Add(args) => RoutesTask::Add(args.shared.table(), args.added()?),
            Task::List(args) => RoutesTask::List(args.shared.table(), args.client.clone()),
            Task::Remove(args) => RoutesTask::Remove {
                table: args.shared.table(),
                client_id: args.client.clone(),
                target: args.name.clone(),
            },
        })
    }
}

impl AddArgs {
    fn added(&self) -> Result<Added, clap::Error> {
        let target = self.targets.policy().check_url(&self.url).map_err(|error| refused(&error))?;
        Ok(Added {
            client_id: self.client.clone(),
            target: self.name.clone(),
            url: target.as_str().to_owned(),
            event_types: self.event_types.clone(),
            keys: self.key.keys()?,
        })
    }
}

/// Returns what is wrong, with the flag that allows it.
fn refused(error: &RefusedTarget) -> clap::Error {
    let advice = match error {
        RefusedTarget::NotHttps => "\nFor a receiver without TLS, set --allow-http.",
        RefusedTarget::Port(_) => "\nAllow it with --target-ports.",
        RefusedTarget::InternalAddress(_) => {
            "\nFor a private receiver, set --allow-target HOST:PORT or --allow-networks CIDR."
        }
        RefusedTarget::UserInfo => {
            "\nPut a secret into the path or the query, or let the receiver verify the signature."
        }
        _ => "",
    };
    clap::Error::raw(ErrorKind::ValueValidation, format!("{error}{advice}\n"))
}
