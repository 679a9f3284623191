//! Flags of `event-pipeline check`.

use super::help::{heading, more};
use super::queues::QueuesArgs;
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use crate::tools::Role;
use crate::tools::check::Check;

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline check\n",
    "  event-pipeline check --role processor\n",
    "  event-pipeline check --json | jq 'select(.result == \"failed\")'\n\n",
    "  It changes nothing; each check of a permission to write costs one write unit.\n\n",
    heading!("Exit codes"),
    "  0 nothing failed, 1 a check failed, 2 wrong usage\n\n",
    more!()
);

/// Check queues, tables, the stream and permissions, and exit
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct CheckArgs {
    #[command(flatten)]
    queues: QueuesArgs,

    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,

    /// Check only what this role needs, e.g. with its credentials; repeat it for several. Without it, all are checked
    #[arg(long = "role", value_enum, value_delimiter = ',', value_name = "ROLE", next_line_help = true)]
    roles: Vec<Role>,

    /// Print one JSON object per check
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl CheckArgs {
    pub fn task(&self) -> Check {
        Check {
            endpoints: self.servers.endpoints(),
            queues: self.queues.queues(),
            tables: self.tables.tables(),
            roles: if self.roles.is_empty() { Role::ALL.to_vec() } else { self.roles.clone() },
            json: self.json,
        }
    }
}
