//! Flags of `mini-scan demo`.

use std::num::NonZeroU32;

use super::help::{heading, more};
use crate::local::demo::Settings;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan demo\n",
    "  mini-scan demo --count 100000 --keep\n\n",
    heading!("Exit codes"),
    "  0 every check passed, 1 a check failed, 2 wrong usage\n\n",
    more!()
);

/// Run servers, a scanner and a consumer in one process, and check the result
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, next_help_heading = "Options")]
pub struct DemoArgs {
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

impl DemoArgs {
    pub fn settings(&self) -> Settings {
        Settings { count: self.count, seed: self.seed, keep: self.keep }
    }
}

/// The demo keeps all of them in memory.
fn count(text: &str) -> Result<NonZeroU32, String> {
    let count = text.parse().ok().filter(|count: &NonZeroU32| count.get() <= 1_000_000);
    count.ok_or_else(|| "it must be a whole number from 1 to 1000000".to_owned())
}
