//! Flags of `mini-scan changes backfill`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use super::rules::RulesArgs;
use crate::backfill::Backfill;
use crate::cli::changes_tables::ChangesTablesArgs;
use crate::cli::export::segments;
use crate::cli::help::{heading, more};

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan changes backfill --resume backfill.resume --max-units 500\n",
    "  mini-scan changes backfill --rebase\n\n",
    "  Run it once after the first `mini-scan changes` has started, and again after a gap.\n",
    "  It reads both tables; docs/history.md has the costs.\n\n",
    heading!("Exit codes"),
    "  0 success, 1 failure, 2 wrong usage, 3 stopped before the end\n\n",
    more!()
);

/// Make summaries for records from before the history, and repair what a gap of the stream has left out
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct BackfillArgs {
    #[command(flatten)]
    tables: ChangesTablesArgs,

    #[command(flatten)]
    rules: RulesArgs,

    /// Take the hashes of the records behind these masks, without an entry, where other masks made those of the history
    #[arg(long, help_heading = "Comparison", next_line_help = true)]
    rebase: bool,

    /// File that remembers the progress. The same command with it continues an interrupted backfill
    #[arg(long, value_name = "FILE", help_heading = "Comparison", next_line_help = true)]
    resume: Option<PathBuf>,

    /// Segments of a table that are compared at the same time, from 1 to 256. A resumed backfill keeps its number
    #[arg(
        long,
        env = "MINI_SCAN_SEGMENTS",
        value_name = "NUMBER",
        default_value = "8",
        value_parser = segments,
        help_heading = "Comparison",
        next_line_help = true
    )]
    segments: NonZeroU32,

    /// Use at most this many capacity units per second, reads and writes together; without it as many as DynamoDB allows
    #[arg(
        long,
        env = "MINI_SCAN_MAX_UNITS",
        value_name = "NUMBER",
        help_heading = "Comparison",
        next_line_help = true
    )]
    max_units: Option<NonZeroU32>,
}

impl BackfillArgs {
    /// Returns what to compare, or why it is refused.
    pub fn task(&self) -> Result<Backfill, clap::Error> {
        Ok(Backfill {
            endpoints: self.tables.endpoints(),
            tables: self.tables.tables(),
            rules: self.rules.rules()?,
            rebases: self.rebase,
            resume: self.resume.clone(),
            segments: self.segments,
            max_units: self.max_units,
        })
    }
}
