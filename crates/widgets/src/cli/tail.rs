//! Flags of `widget-registry tail`.

use super::help::{exit_codes, heading, more};
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use crate::tools::tail::Tail;

const HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry tail\n",
    "  widget-registry tail --since-start --json | jq 'select(.change == \"connected\")'\n\n",
    "  It begins with the changes of the last minute or two, because the stream has rounded times.\n",
    "  Both sides of a connection are lines of their own, in any order.\n\n",
    exit_codes!(),
    more!()
);

/// Print changes of widgets as they happen, until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct TailArgs {
    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,

    /// Begin with the oldest change in the stream, which is up to a day old
    #[arg(long, help_heading = "Settings")]
    since_start: bool,

    /// Print one JSON object per change
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl TailArgs {
    pub fn task(&self) -> Tail {
        Tail {
            endpoint: self.servers.dynamo(),
            tables: self.tables.tables(),
            since_start: self.since_start,
            json: self.json,
        }
    }
}
