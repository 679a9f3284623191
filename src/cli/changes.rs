//! Flags of `mini-scan changes`.

mod backfill;
mod masks;
mod rules;

use super::help::{exit_codes, heading, more};
pub use backfill::BackfillArgs;
pub use masks::MasksArgs;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan changes masks\n",
    "  mini-scan changes masks --on response.txt\n",
    "  mini-scan changes backfill --resume backfill.resume\n\n",
    exit_codes!(),
    more!()
);

/// Find out what changed between two scans of a service
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct ChangesArgs {
    #[command(subcommand)]
    pub task: ChangesTask,
}

#[derive(Debug, clap::Subcommand)]
pub enum ChangesTask {
    Masks(MasksArgs),
    Backfill(BackfillArgs),
}
