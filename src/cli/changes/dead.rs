//! Flags of `mini-scan changes dead`.

use std::io::{IsTerminal, stdin};
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::ArgGroup;
use clap::error::ErrorKind;

use crate::cli::changes_tables::HistoryTableArgs;
use crate::cli::dead_letters::{age, limit, listed};
use crate::cli::help::{exit_codes, heading, more};
use crate::cli::table::{ServerArgs, table_is_the_source};
use crate::dead_changes::{DeadOf, List, Purge};
use crate::service::Endpoints;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan changes dead list\n",
    "  mini-scan changes dead purge --older-than 30days --dry-run\n\n",
    more!()
);

const LIST_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan changes dead list\n",
    "  mini-scan changes dead list --json | jq -r .reason | sort | uniq -c\n\n",
    exit_codes!(),
    more!()
);

const PURGE_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan changes dead purge --older-than 30days --dry-run\n",
    "  mini-scan changes dead purge --all --yes\n\n",
    "  The history lacks these changes. First fix the cause, and run\n",
    "  `mini-scan changes backfill`, which records what differs now.\n\n",
    heading!("Exit codes"),
    "  0 success, 1 failure or the answer was no, 2 wrong usage, 3 stopped before the end\n\n",
    more!()
);

/// List the changes that could not be handled, or delete them
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct DeadArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Print dead letters of the history
    List(ListArgs),
    /// Delete dead letters of the history for good
    Purge(PurgeArgs),
}

#[derive(Debug, clap::Args)]
#[command(mut_args(table_is_the_source))]
struct SourceArgs {
    #[command(flatten)]
    history: HistoryTableArgs,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
struct ListArgs {
    #[command(flatten)]
    of: SourceArgs,

    /// Show at most this many dead letters, from 1 to 10000
    #[arg(long, default_value = "100", value_parser = listed, value_name = "NUMBER", help_heading = "Output")]
    limit: NonZeroUsize,

    /// Print one JSON object per dead letter, with every field, in place of the table
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = PURGE_HELP)]
#[command(group(ArgGroup::new("what").args(["older_than", "all"]).required(true)))]
struct PurgeArgs {
    #[command(flatten)]
    of: SourceArgs,

    /// Select only changes that were made at least this long ago, e.g. 12h or 30days
    #[arg(long, value_parser = age, value_name = "TIME", help_heading = "Selection")]
    older_than: Option<Duration>,

    /// Select all dead letters
    #[arg(long, help_heading = "Selection")]
    all: bool,

    /// Delete at most this many, from 1 to 1000000
    #[arg(long, value_parser = limit, value_name = "NUMBER", next_line_help = true, help_heading = "Selection")]
    limit: Option<NonZeroUsize>,

    /// Print what would be deleted, and leave everything where it is
    #[arg(long, help_heading = "Selection")]
    dry_run: bool,

    /// Delete without a question; required if stdin is not a terminal
    #[arg(short, long, help_heading = "Selection")]
    yes: bool,
}

/// What to do with the dead letters of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadTask {
    List(List),
    Purge(Purge),
}

impl DeadArgs {
    /// Returns what to do, or why it is refused.
    pub fn task(&self) -> Result<DeadTask, clap::Error> {
        Ok(match &self.task {
            Task::List(args) => DeadTask::List(List { of: args.of.of(), limit: args.limit, json: args.json }),
            Task::Purge(args) => DeadTask::Purge(args.purge()?),
        })
    }
}

impl SourceArgs {
    fn of(&self) -> DeadOf {
        DeadOf {
            endpoints: Endpoints { pubsub: None, dynamo: self.server.endpoint() },
            history: self.history.history_table.clone(),
        }
    }
}

impl PurgeArgs {
    fn purge(&self) -> Result<Purge, clap::Error> {
        if !self.yes && !self.dry_run && !stdin().is_terminal() {
            let text = "a purge asks before it deletes, but stdin is not a terminal: add --yes, or --dry-run\n";
            return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, text));
        }
        Ok(Purge {
            of: self.of.of(),
            older_than: self.older_than,
            limit: self.limit,
            dry_run: self.dry_run,
            is_confirmed: self.yes,
        })
    }
}
