//! Flags of `mini-scan export`.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use super::help::{heading, more};
use super::table::{TableArgs, table_is_the_source};
use crate::export::{Export, Filter, Format, is_overwritten, unix_seconds};
use crate::hosts::Network;
use crate::service::Endpoints;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan export --output scans.jsonl --resume scans.resume\n",
    "  mini-scan export --format csv --port 3389 --since 2026-11-01 > rdp.csv\n",
    "  mini-scan export --network 1.1.0.0/16 --max-read-units 100 | jq .service\n\n",
    "  It reads the whole table, whatever the filters are. docs/export.md has the costs,\n",
    "  and DynamoDB's own export to S3 for large tables.\n\n",
    heading!("Exit codes"),
    "  0 success, 1 failure, 2 wrong usage, 3 stopped before the end,\n",
    "  141 the reader of stdout closed it\n\n",
    more!()
);

/// Write every record to a file as JSON lines or CSV
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, mut_args(table_is_the_source))]
pub struct ExportArgs {
    #[command(flatten)]
    table: TableArgs,

    /// Segments that are read at the same time, from 1 to 256. A resumed export keeps its number
    #[arg(long, env = "MINI_SCAN_SEGMENTS", value_name = "NUMBER", default_value = "8", value_parser = segments, help_heading = "Source")]
    segments: NonZeroU32,

    /// Read at most this many read units per second; without it as fast as DynamoDB allows
    #[arg(
        long,
        env = "MINI_SCAN_MAX_READ_UNITS",
        value_name = "NUMBER",
        help_heading = "Source",
        next_line_help = true
    )]
    max_read_units: Option<NonZeroU32>,

    /// Only records with a timestamp from here on: 2026-11-01, 2026-11-01T10:00:00Z or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = unix_seconds, help_heading = "Filters")]
    since: Option<u64>,

    /// Only addresses in this network, e.g. 1.1.0.0/16; may be repeated
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = "Filters")]
    network: Vec<Network>,

    /// Only this port; may be repeated, up to 100 times
    #[arg(long, value_delimiter = ',', help_heading = "Filters")]
    port: Vec<u16>,

    /// New file for the records; without it, or with -, stdout
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,

    /// File that remembers the progress. The same command with it continues an interrupted export
    #[arg(long, value_name = "FILE", requires = "output", help_heading = "Output")]
    resume: Option<PathBuf>,

    /// Format of the records
    #[arg(long, default_value = "jsonl", help_heading = "Output")]
    format: FormatName,

    /// Keep CSV cells that a spreadsheet would run as a formula; by default they get a leading apostrophe
    #[arg(long, help_heading = "Output")]
    raw_csv: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatName {
    Jsonl,
    Csv,
}

impl ExportArgs {
    /// Returns what to export, or the flags that contradict each other.
    pub fn task(&self) -> Result<Export, clap::Error> {
        let conflict = |text: &str| Err(clap::Error::raw(ErrorKind::ArgumentConflict, format!("{text}\n")));
        let output = self.output.as_deref().filter(|path| *path != Path::new("-"));
        let to_terminal = output.is_none() && std::io::stdout().is_terminal();
        let format = match (self.format, self.raw_csv) {
            (FormatName::Jsonl, true) => return conflict("--raw-csv needs --format csv"),
            (FormatName::Jsonl, false) if to_terminal => Format::AsciiJsonLines,
            (FormatName::Jsonl, false) => Format::JsonLines,
            (FormatName::Csv, _) if to_terminal => {
                return conflict(
                    "CSV may contain characters that control the terminal: choose a file with --output, or a pipe",
                );
            }
            (FormatName::Csv, false) => Format::Csv,
            (FormatName::Csv, true) => Format::RawCsv,
        };
        if self.port.len() > 100 {
            return conflict("--port can be repeated up to 100 times");
        }
        match (output, &self.resume) {
            (None, Some(_)) => {
                return conflict("--resume needs a file as --output, because stdout cannot be continued");
            }
            (Some(output), Some(resume)) if is_overwritten(output, resume) => {
                return conflict("--output and --resume need different files");
            }
            _ => {}
        }
        Ok(Export {
            endpoints: Endpoints { pubsub: None, dynamo: self.table.endpoint() },
            table: self.table.table.clone(),
            filter: Filter { since: self.since, ports: self.port.clone(), networks: self.network.clone() },
            format,
            output: output.map(Path::to_owned),
            resume: self.resume.clone(),
            segments: self.segments,
            max_read_units: self.max_read_units,
        })
    }
}

pub(super) fn segments(text: &str) -> Result<NonZeroU32, String> {
    let segments = text.parse().ok().filter(|segments: &NonZeroU32| segments.get() <= 256);
    segments.ok_or_else(|| "it must be a whole number from 1 to 256".to_owned())
}
