//! Flags of `event-pipeline events`.

use std::io::{IsTerminal, stdin};

use clap::error::ErrorKind;
use webhooks::{Clock, SystemClock};

use super::help::{exit_codes, heading, more};
use super::numbers::{count, rate};
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use super::values::{When, client_id, range};
use crate::tools::events::{Erase, Replay, Show, Which};

const MOST_SHOWN: usize = 1_000_000;

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline events get acme --since 2h\n",
    "  event-pipeline events replay acme --since 2026-11-22T10:00:00Z --until 30m\n\n",
    more!()
);

const GET_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline events get acme --since 2h\n",
    "  event-pipeline events get acme --limit 100000 --json > acme.jsonl\n\n",
    exit_codes!(),
    more!()
);

const REPLAY_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline events replay acme --since 2026-11-22T10:00:00Z --until 30m\n",
    "  event-pipeline events replay --all --stored-since 3h --stored-until 1h\n\n",
    "  It makes deliveries due now, to the targets that the clients have now. Receivers\n",
    "  recognise an event by its webhook-id, which is the same as before.\n",
    "  `event-pipeline deliver` must run.\n\n",
    heading!("Exit codes"),
    "  0    success; some events may have no target\n",
    "  1    failure, e.g. the table is missing\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    stopped before the end\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

const ERASE_HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline events erase acme\n",
    "  event-pipeline events erase acme --rate 1000 --yes\n\n",
    "  It also erases the deliveries that wait for targets of the client. It does not\n",
    "  reach messages in queues, records of the stream for 24 hours, and backups.\n",
    "  If it is stopped, the same command goes on.\n\n",
    heading!("Exit codes"),
    "  0    it erased all events of the client\n",
    "  1    failure, or the answer was no\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    stopped before the end\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// Show the events of a client, deliver them again, or erase them
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct EventsArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Print the events of a client in the order of their times
    Get(GetArgs),
    /// Deliver stored events again
    Replay(ReplayArgs),
    /// Delete all events of a client for good
    Erase(EraseArgs),
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Selection")]
struct TimesArgs {
    /// First time of an event, e.g. 2026-11-22T10:00:00Z, or how long ago, e.g. 90m
    #[arg(long, value_name = "TIME", value_parser = When::parse, next_line_help = true)]
    since: Option<When>,

    /// Only events before this time
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    until: Option<When>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = GET_HELP)]
struct GetArgs {
    /// Client whose events are shown
    #[arg(value_parser = client_id)]
    client: String,

    #[command(flatten)]
    times: TimesArgs,

    /// Show at most this many, from 1 to 1000000
    #[arg(long, value_name = "NUMBER", default_value = "100", help_heading = "Selection",
          value_parser = |text: &str| count(text, MOST_SHOWN))]
    limit: usize,

    /// Print one JSON object per event, with its whole data
    #[arg(long, help_heading = "Output")]
    json: bool,

    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = REPLAY_HELP)]
struct ReplayArgs {
    /// Client whose events are delivered
    #[arg(value_parser = client_id, required_unless_present = "all", requires = "since", requires = "until")]
    client: Option<String>,

    #[command(flatten)]
    times: TimesArgs,

    /// Deliver events of all clients. It reads the whole table
    #[arg(long, help_heading = "Selection", conflicts_with_all = ["client", "since", "until"],
          requires = "stored_since", requires = "stored_until")]
    all: bool,

    /// First time at which an event was stored
    #[arg(long, value_name = "TIME", value_parser = When::parse, requires = "all", help_heading = "Selection",
          next_line_help = true)]
    stored_since: Option<When>,

    /// Only events that were stored before this time
    #[arg(long, value_name = "TIME", value_parser = When::parse, requires = "all", help_heading = "Selection",
          next_line_help = true)]
    stored_until: Option<When>,

    /// Deliver at most this many events per second
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = rate, help_heading = "Load")]
    rate: f64,

    /// Print the result as one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,

    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = ERASE_HELP)]
struct EraseArgs {
    /// Client to erase
    #[arg(value_parser = client_id)]
    client: String,

    /// Delete at most this many events per second
    #[arg(long, value_name = "NUMBER", default_value = "500", value_parser = rate, help_heading = "Load")]
    rate: f64,

    /// Delete without a question; required if stdin is not a terminal
    #[arg(short, long, help_heading = "Selection")]
    yes: bool,

    /// Print the result as one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,

    #[command(flatten)]
    tables: TablesArgs,

    #[command(flatten)]
    servers: ServersArgs,
}

/// What `event-pipeline events` does.
#[derive(Debug)]
pub enum EventsTask {
    Get(Show),
    Replay(Replay),
    Erase(Erase),
}

impl EventsArgs {
    /// Returns what to do, or why it is refused.
    pub fn task(&self) -> Result<EventsTask, clap::Error> {
        let now = SystemClock.now();
        Ok(match &self.task {
            Task::Get(args) => EventsTask::Get(Show {
                endpoints: args.servers.endpoints(),
                tables: args.tables.tables(),
                client_id: args.client.clone(),
                range: range(args.times.since, args.times.until, now),
                limit: args.limit,
                json: args.json,
            }),
            Task::Replay(args) => {
                let which = match &args.client {
                    Some(client_id) => {
                        let range = range(args.times.since, args.times.until, now);
                        Which::Client { client_id: client_id.clone(), range }
                    }
                    None => Which::All { stored: range(args.stored_since, args.stored_until, now) },
                };
                EventsTask::Replay(Replay {
                    endpoints: args.servers.endpoints(),
                    tables: args.tables.tables(),
                    which,
                    rate: args.rate,
                    json: args.json,
                })
            }
            Task::Erase(args) => {
                if !args.yes && !stdin().is_terminal() {
                    let text = "it asks before it deletes, but stdin is not a terminal: add --yes\n";
                    return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, text));
                }
                EventsTask::Erase(Erase {
                    endpoints: args.servers.endpoints(),
                    tables: args.tables.tables(),
                    client_id: args.client.clone(),
                    rate: args.rate,
                    is_confirmed: args.yes,
                    json: args.json,
                })
            }
        })
    }
}
