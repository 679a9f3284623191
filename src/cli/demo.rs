//! Flags of `mini-scan demo`.

use std::num::NonZeroU32;

use super::help::{heading, more};
use crate::local::demo::{Settings, changes};

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan demo\n",
    "  mini-scan demo --count 100000 --keep\n",
    "  mini-scan demo changes\n\n",
    heading!("Exit codes"),
    "  0 every check passed, 1 a check failed, 2 wrong usage\n\n",
    more!()
);

const CHANGES_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan demo changes\n",
    "  mini-scan demo changes --dynamodb http://localhost:8000\n\n",
    heading!("Exit codes"),
    "  0 every check passed, 1 a check failed, 2 wrong usage\n\n",
    more!()
);

/// Run servers, a scanner and a consumer in one process, and check the result
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = HELP, next_help_heading = "Options")]
pub struct DemoArgs {
    #[command(subcommand)]
    part: Option<Part>,

    #[command(flatten)]
    scans: ScansArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Changes(ChangesArgs),
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options")]
struct ScansArgs {
    /// Messages to publish, from 1 to 1000000
    #[arg(long, env = "MINI_SCAN_COUNT", value_name = "NUMBER", default_value = "10000", value_parser = count)]
    count: NonZeroU32,

    /// Seed of the messages: the same seed makes the same messages
    #[arg(long, env = "MINI_SCAN_SEED", default_value_t = 1)]
    seed: u64,

    /// Keep the servers running after the report, until Ctrl-C
    #[arg(long, env = "MINI_SCAN_KEEP")]
    keep: bool,
}

/// Scan services twice, kill a reader of the changes, and check the history and the webhooks
#[derive(Debug, clap::Args)]
#[command(after_help = CHANGES_HELP, next_help_heading = "Options")]
struct ChangesArgs {
    /// Services to scan, from 10 to 100000
    #[arg(long, value_name = "NUMBER", default_value = "2000", value_parser = services)]
    services: NonZeroU32,

    /// Local DynamoDB in which new tables are created and left, e.g. http://localhost:8000. The default is an embedded one
    #[arg(long, value_name = "URL", next_line_help = true)]
    dynamodb: Option<String>,
}

/// A demo.
#[derive(Debug)]
pub enum DemoTask {
    Scans(Settings),
    Changes(changes::Settings),
}

impl DemoArgs {
    pub fn task(&self) -> DemoTask {
        match &self.part {
            Some(Part::Changes(changes)) => {
                DemoTask::Changes(changes::Settings { services: changes.services, dynamo: changes.dynamodb.clone() })
            }
            None => {
                let ScansArgs { count, seed, keep } = self.scans;
                DemoTask::Scans(Settings { count, seed, keep })
            }
        }
    }
}

/// The demo keeps all of them in memory.
fn count(text: &str) -> Result<NonZeroU32, String> {
    between(text, 1, 1_000_000)
}

/// Ten services have all fates.
fn services(text: &str) -> Result<NonZeroU32, String> {
    between(text, 10, 100_000)
}

fn between(text: &str, least: u32, most: u32) -> Result<NonZeroU32, String> {
    let number = text.parse().ok().filter(|number: &NonZeroU32| (least..=most).contains(&number.get()));
    number.ok_or_else(|| format!("it must be a whole number from {least} to {most}"))
}
