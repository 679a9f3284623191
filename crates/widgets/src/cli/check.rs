//! Flags of `widget-registry check`.

use super::help::{heading, more};
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use crate::tools::check::Check;

const HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry check\n",
    "  widget-registry check --json | jq 'select(.result == \"failed\")'\n\n",
    "  It changes nothing; each check of a permission to write costs one write unit.\n\n",
    heading!("Exit codes"),
    "  0 nothing failed, 1 a check failed, 2 wrong usage\n\n",
    more!()
);

/// Check the tables, the stream and permissions, and exit
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct CheckArgs {
    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,

    /// Print one JSON object per check
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl CheckArgs {
    pub fn task(&self) -> Check {
        Check { endpoint: self.servers.dynamo(), tables: self.tables.tables(), json: self.json }
    }
}
