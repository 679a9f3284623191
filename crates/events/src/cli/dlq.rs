//! Flags of `event-pipeline dlq`.

use std::io::{IsTerminal, stdin};

use clap::ArgGroup;
use clap::error::ErrorKind;

use super::help::{exit_codes, heading, more};
use super::numbers::count;
use super::queues::QueuesArgs;
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use crate::dead_letter::RECEIVED_TOO_OFTEN;
use crate::deliver::DELIVERY_REASONS;
use crate::event::Reason;
use crate::names::Tables;
use crate::tools::dlq::{DeadLetters, Selection};
use crate::tools::queue::Which;

const MOST_LISTED: usize = 10_000;
const MOST_SETTLED: usize = 1_000_000;

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline dlq list events\n",
    "  event-pipeline dlq redrive deliver --reason no_route\n\n",
    more!()
);

const LIST_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline dlq list events --reason schema_violation\n",
    "  event-pipeline dlq list deliver --json | jq -r .reason | sort | uniq -c\n\n",
    "  Until it ends, other readers do not get what it reads. If it is killed, they get\n",
    "  it 2 minutes later.\n\n",
    exit_codes!(),
    more!()
);

const REDRIVE_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline dlq redrive events --reason received_too_often\n",
    "  event-pipeline dlq redrive deliver --reason no_route --limit 100\n\n",
    "  An event goes back to the queue of events with its id and its time. A delivery\n",
    "  becomes due now, with the route that its client has now; without a route it stays.\n",
    "  A dead letter is deleted after that, so a run that is killed repeats some.\n",
    "  One that comes back while it runs counts as failed.\n\n",
    heading!("Exit codes"),
    "  0    it redrove every selected dead letter, up to --limit\n",
    "  1    failure, e.g. the queue is missing\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    partly done: it left selected dead letters, or was stopped\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

const PURGE_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline dlq purge events --reason malformed_json\n",
    "  event-pipeline dlq purge deliver --all --yes\n\n",
    "  It asks before it deletes. Without a terminal it needs --yes.\n\n",
    heading!("Exit codes"),
    "  0    it deleted every selected dead letter, up to --limit\n",
    "  1    failure, e.g. the queue is missing; or the answer was no\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    partly done: it left selected dead letters, or was stopped\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// List dead letters, redrive them, or delete them
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct DlqArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Print dead letters, and leave them where they are
    List(ListArgs),
    /// Process events or deliver deliveries again, and then remove the dead letters
    Redrive(RedriveArgs),
    /// Delete dead letters for good
    Purge(PurgeArgs),
}

/// A dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Queue {
    /// Events that are invalid or were received too often
    Events,
    /// Deliveries without a route, and those that were given up
    Deliver,
}

#[derive(Debug, clap::Args)]
struct SourceArgs {
    /// Dead-letter queue
    #[arg(value_enum, value_name = "QUEUE")]
    of: Queue,

    /// Select only dead letters of this reason; may be repeated, or be a list with commas
    #[arg(
        long = "reason",
        value_name = "REASON",
        value_delimiter = ',',
        value_parser = reason,
        help_heading = "Selection",
        next_line_help = true
    )]
    reasons: Vec<String>,

    #[command(flatten)]
    queues: QueuesArgs,

    #[command(flatten)]
    servers: ServersArgs,

    /// Print JSON objects, one per line, in place of text
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
struct ListArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Show at most this many, from 1 to 10000
    #[arg(long, value_name = "NUMBER", default_value = "100", help_heading = "Selection", next_line_help = true,
          value_parser = |text: &str| count(text, MOST_LISTED))]
    limit: usize,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REDRIVE_HELP)]
struct RedriveArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Redrive at most this many, from 1 to 1000000
    #[arg(long, value_name = "NUMBER", default_value = "100000", help_heading = "Selection", next_line_help = true,
          value_parser = |text: &str| count(text, MOST_SETTLED))]
    limit: usize,

    #[command(flatten)]
    tables: TablesArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = PURGE_HELP)]
#[command(group(ArgGroup::new("what").args(["reasons", "all"]).required(true)))]
struct PurgeArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Select all dead letters
    #[arg(long, help_heading = "Selection")]
    all: bool,

    /// Delete at most this many, from 1 to 1000000
    #[arg(long, value_name = "NUMBER", default_value = "100000", help_heading = "Selection", next_line_help = true,
          value_parser = |text: &str| count(text, MOST_SETTLED))]
    limit: usize,

    /// Delete without a question; required if stdin is not a terminal
    #[arg(short, long, help_heading = "Selection")]
    yes: bool,
}

/// What `event-pipeline dlq` does.
#[derive(Debug)]
pub enum DlqTask {
    List(DeadLetters),
    RedriveEvents(DeadLetters),
    RedriveDeliveries(DeadLetters, Tables),
    Purge { dead_letters: DeadLetters, is_confirmed: bool },
}

impl SourceArgs {
    fn dead_letters(&self, limit: usize) -> DeadLetters {
        let which = match self.of {
            Queue::Events => Which::EventsDlq,
            Queue::Deliver => Which::DeliverDlq,
        };
        DeadLetters {
            endpoints: self.servers.endpoints(),
            queues: self.queues.queues(),
            which,
            select: Selection { reasons: self.reasons.clone() },
            limit,
            json: self.json,
        }
    }
}

impl DlqArgs {
    /// Returns what to do, or why it is refused.
    pub fn task(&self) -> Result<DlqTask, clap::Error> {
        Ok(match &self.task {
            Task::List(args) => DlqTask::List(args.source.dead_letters(args.limit)),
            Task::Redrive(args) => {
                let dead_letters = args.source.dead_letters(args.limit);
                match args.source.of {
                    Queue::Events => DlqTask::RedriveEvents(dead_letters),
                    Queue::Deliver => DlqTask::RedriveDeliveries(dead_letters, args.tables.tables()),
                }
            }
            Task::Purge(args) => {
                if !args.yes && !stdin().is_terminal() {
                    let text = "a purge asks before it deletes, but stdin is not a terminal: add --yes\n";
                    return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, text));
                }
                DlqTask::Purge { dead_letters: args.source.dead_letters(args.limit), is_confirmed: args.yes }
            }
        })
    }
}

/// Accepts the reasons that dead letters have.
fn reason(text: &str) -> Result<String, String> {
    let of_events = Reason::ALL.into_iter().map(Reason::name).chain([RECEIVED_TOO_OFTEN]);
    let known: Vec<_> = of_events.chain(DELIVERY_REASONS).collect();
    if known.contains(&text) { Ok(text.to_owned()) } else { Err(format!("expected one of {}", known.join(", "))) }
}
