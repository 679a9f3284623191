//! Flags of `mini-scan changes`.

mod backfill;
mod dead;
mod masks;
mod rules;
mod run;

use super::help::{exit_codes, heading, more};
use super::table::table_is_the_source;
pub use backfill::BackfillArgs;
pub use dead::{DeadArgs, DeadTask};
pub use masks::MasksArgs;
use ops::logs::LogFormat;
pub use run::RunArgs;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan changes\n",
    "  mini-scan changes --history-ttl 90days --responses hash\n",
    "  mini-scan changes masks --on response.txt\n",
    "  mini-scan changes backfill --resume backfill.resume\n\n",
    "  docs/history.md describes what is stored, and how to read it.\n\n",
    exit_codes!(),
    more!()
);

/// Read the stream of the table and keep a history of what opened, changed and closed, until stopped
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = HELP, mut_args(table_is_the_source))]
pub struct ChangesArgs {
    #[command(subcommand)]
    part: Option<Part>,

    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Masks(MasksArgs),
    Backfill(BackfillArgs),
    Dead(DeadArgs),
}

/// What `mini-scan changes` does.
#[derive(Debug)]
pub enum ChangesTask<'a> {
    Run(&'a RunArgs),
    Masks(&'a MasksArgs),
    Backfill(&'a BackfillArgs),
    Dead(&'a DeadArgs),
}

impl ChangesArgs {
    pub fn task(&self) -> ChangesTask<'_> {
        match &self.part {
            None => ChangesTask::Run(&self.run),
            Some(Part::Masks(args)) => ChangesTask::Masks(args),
            Some(Part::Backfill(args)) => ChangesTask::Backfill(args),
            Some(Part::Dead(args)) => ChangesTask::Dead(args),
        }
    }

    pub fn log_format(&self) -> LogFormat {
        self.run.log_format()
    }
}
