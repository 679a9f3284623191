//! Flags of `widget-registry audit`.

use super::help::{heading, more};
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use crate::tools::audit::Audit;

const HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry audit\n",
    "  widget-registry audit --segments 16 --json | jq 'select(.violation)'\n\n",
    "  It reads the whole table: one read unit per 4 KB, and 2 for each widget that it looks at\n",
    "  again. It finds what is wrong during the whole scan, also while the API writes.\n\n",
    heading!("Exit codes"),
    "  0 no violation, 1 violations or a failure, 2 wrong usage, 3 undecided or stopped\n\n",
    more!()
);

/// Check every connection in the table, and print each violation
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct AuditArgs {
    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,

    /// Read this many parts of the table at a time, from 1 to 256
    #[arg(long, value_name = "NUMBER", default_value = "8", help_heading = "Settings",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    segments: u16,

    /// Print one JSON object per violation, and one with the counts
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl AuditArgs {
    pub fn task(&self) -> Audit {
        Audit {
            endpoint: self.servers.dynamo(),
            tables: self.tables.tables(),
            segments: self.segments,
            json: self.json,
        }
    }
}
