//! Flags that choose the masks, and those of `mini-scan changes masks`.

use std::path::PathBuf;

use clap::error::ErrorKind;

use crate::changes::masks::{Addition, BUILT_IN, Masks};
use crate::cli::help::{exit_codes, heading, more};

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan changes masks\n",
    "  curl -si https://example.com | mini-scan changes masks --on -\n",
    "  mini-scan changes masks --on page.txt --mask duration='in (?<time>[0-9.]+) s'\n\n",
    exit_codes!(),
    more!()
);

/// List the masks, or show what they hide in a response
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub struct MasksArgs {
    #[command(flatten)]
    masks: MaskArgs,

    /// File with a response to show behind the masks; - is stdin
    #[arg(long, value_name = "FILE", help_heading = "Response", next_line_help = true)]
    on: Option<PathBuf>,
}

/// The masks of a command that compares responses.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Masks")]
pub(super) struct MaskArgs {
    /// Hide the matches of a pattern before two responses are compared. A built-in mask of this name is replaced; may be
    /// repeated, in the environment one per line (docs/history.md)
    #[arg(
        long = "mask",
        env = "MINI_SCAN_MASKS",
        value_name = "NAME=REGEX",
        value_delimiter = '\n',
        next_line_help = true
    )]
    additions: Vec<Addition>,

    /// Leave out a built-in mask; may be repeated
    #[arg(
        long = "no-mask",
        env = "MINI_SCAN_NO_MASKS",
        value_name = "NAME",
        value_delimiter = ',',
        next_line_help = true
    )]
    removals: Vec<String>,
}

impl MaskArgs {
    /// Returns the masks, or why they are refused.
    pub(super) fn masks(&self) -> Result<Masks, clap::Error> {
        Masks::new(BUILT_IN, &self.additions, &self.removals)
            .map_err(|refused| clap::Error::raw(ErrorKind::ValueValidation, format!("{refused}\n")))
    }
}

impl MasksArgs {
    pub fn masks(&self) -> Result<Masks, clap::Error> {
        self.masks.masks()
    }

    /// Returns the file with a response.
    pub fn on(&self) -> Option<&PathBuf> {
        self.on.as_ref()
    }
}
