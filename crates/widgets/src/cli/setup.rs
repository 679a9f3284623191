//! Flags of `widget-registry setup`.

use dynamodb::WarmThroughput;

use super::help::{heading, more};
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use crate::tools::setup::Setup;

const HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry setup\n",
    "  widget-registry setup --warm-writes 40000 --warm-reads 12000\n",
    "  widget-registry setup --wait --dynamo-endpoint http://localhost:8000\n\n",
    "  It is safe to repeat. A new table takes 4,000 writes per second and throttles until\n",
    "  it has grown. Warm throughput avoids that; it costs money once, and never shrinks.\n\n",
    heading!("Exit codes"),
    "  0 success, 1 failure, 2 wrong usage, 3 the server set no warm throughput\n\n",
    more!()
);

/// Create the tables that are missing, with their stream and expiry, and complete the others
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct SetupArgs {
    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,

    /// Let each table take this many write units per second at once. A connect needs 4
    #[arg(long, value_name = "UNITS", help_heading = "Settings", next_line_help = true,
          value_parser = clap::value_parser!(u64).range(1..=MOST_UNITS))]
    warm_writes: Option<u64>,

    /// Let each table take this many read units per second at once
    #[arg(long, value_name = "UNITS", help_heading = "Settings", next_line_help = true,
          value_parser = clap::value_parser!(u64).range(1..=MOST_UNITS))]
    warm_reads: Option<u64>,

    /// Wait up to 60 s until DynamoDB answers
    #[arg(long, help_heading = "Settings")]
    wait: bool,
}

/// A typing error must not buy more than a table can use.
const MOST_UNITS: u64 = 10_000_000;

impl SetupArgs {
    pub fn task(&self) -> Setup {
        Setup {
            endpoint: self.servers.dynamo(),
            tables: self.tables.tables(),
            warm: WarmThroughput { reads: self.warm_reads, writes: self.warm_writes },
            wait: self.wait,
        }
    }
}
