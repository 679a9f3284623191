//! Flags of `event-pipeline setup`.

use std::num::NonZeroU16;

use super::help::{exit_codes, heading, more};
use super::queues::QueuesArgs;
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use crate::buckets::MOST_BUCKETS;
use crate::tools::setup::Setup;

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline setup\n",
    "  event-pipeline setup --max-receives 10\n",
    "  event-pipeline setup --wait --sqs-endpoint http://localhost:9324 \\\n",
    "    --dynamo-endpoint http://localhost:8000\n\n",
    "  It is safe to repeat. It warns of differences to what exists, and changes only\n",
    "  what a flag asks for. Change the number of buckets only while the queue is empty.\n\n",
    exit_codes!(),
    more!()
);

/// Create the queues and tables that are missing, and verify the others
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct SetupArgs {
    #[command(flatten)]
    queues: QueuesArgs,

    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,

    /// Move a message to the dead-letter queue after this many receives, from 1 to 1000. The default is 5
    #[arg(long, value_name = "NUMBER", help_heading = "Settings", next_line_help = true,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_receives: Option<u32>,

    /// Spread the events of each client over this many partitions, from 1 to 256. One takes about 1,000 writes per
    /// second. The default is 1
    #[arg(long, env = "EVENT_PIPELINE_CLIENT_BUCKETS", value_name = "NUMBER", help_heading = "Settings",
          next_line_help = true, value_parser = buckets)]
    client_buckets: Option<NonZeroU16>,

    /// Wait up to 60 s until the servers answer
    #[arg(long, help_heading = "Settings")]
    wait: bool,
}

impl SetupArgs {
    pub fn task(&self) -> Setup {
        Setup {
            endpoints: self.servers.endpoints(),
            queues: self.queues.queues(),
            tables: self.tables.tables(),
            max_receives: self.max_receives,
            client_buckets: self.client_buckets,
            wait: self.wait,
        }
    }
}

fn buckets(text: &str) -> Result<NonZeroU16, String> {
    let number = text.parse().ok().filter(|number: &NonZeroU16| number.get() <= MOST_BUCKETS);
    number.ok_or_else(|| format!("it must be a whole number from 1 to {MOST_BUCKETS}"))
}
