//! Flags of `event-pipeline queue`.

use super::help::{exit_codes, heading, more};
use super::numbers::count;
use super::queues::QueuesArgs;
use super::servers::ServersArgs;
use crate::names::{Endpoints, Queues};
use crate::tools::queue::{Peek, Which};

const MOST_PEEKED: usize = 1_000;

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline queue status\n",
    "  event-pipeline queue peek events-dlq --limit 3\n\n",
    exit_codes!(),
    more!()
);

const STATUS_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline queue status --json | jq .in_flight\n\n",
    "  The numbers are approximate, as SQS counts them.\n\n",
    exit_codes!(),
    more!()
);

const PEEK_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline queue peek events\n",
    "  event-pipeline queue peek deliver-dlq --json | jq -r .body\n\n",
    "  A peek counts as a receive. SQS moves an event to the dead-letter queue after 5\n",
    "  receives, so do not peek often. Until it ends, processors do not get what it\n",
    "  shows. If it is killed, they get it 30 s later.\n\n",
    exit_codes!(),
    more!()
);

/// Show what is in the queues
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct QueueArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Print how many messages each queue has
    Status(StatusArgs),
    /// Print messages, and leave them in the queue
    Peek(PeekArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = STATUS_HELP)]
struct StatusArgs {
    /// Print one JSON object per queue
    #[arg(long, help_heading = "Output")]
    json: bool,

    #[command(flatten)]
    queues: QueuesArgs,

    #[command(flatten)]
    servers: ServersArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = PEEK_HELP)]
struct PeekArgs {
    /// Queue to read
    #[arg(value_enum, default_value_t = Which::Events)]
    which: Which,

    /// Show at most this many messages, from 1 to 1000
    #[arg(long, value_name = "NUMBER", default_value = "10", help_heading = "Output", next_line_help = true,
          value_parser = |text: &str| count(text, MOST_PEEKED))]
    limit: usize,

    /// Print one JSON object per message, with its whole body
    #[arg(long, help_heading = "Output")]
    json: bool,

    #[command(flatten)]
    queues: QueuesArgs,

    #[command(flatten)]
    servers: ServersArgs,
}

/// What `event-pipeline queue` does.
#[derive(Debug)]
pub enum QueueTask {
    Status { endpoints: Endpoints, queues: Queues, json: bool },
    Peek(Peek),
}

impl QueueArgs {
    pub fn task(&self) -> QueueTask {
        match &self.task {
            Task::Status(StatusArgs { json, queues, servers }) => {
                QueueTask::Status { endpoints: servers.endpoints(), queues: queues.queues(), json: *json }
            }
            Task::Peek(PeekArgs { which, limit, json, queues, servers }) => QueueTask::Peek(Peek {
                endpoints: servers.endpoints(),
                queues: queues.queues(),
                which: *which,
                limit: *limit,
                json: *json,
            }),
        }
    }
}
