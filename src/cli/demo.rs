//! Flags of `mini-scan demo`.

use std::num::NonZeroU32;

use crate::local::demo::Settings;

/// Show the whole in one process: servers, scans, the consumer, and a check that every key holds its newest scan
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Messages to publish, at most 1,000,000
    #[arg(long, env = "MINI_SCAN_COUNT", default_value = "10000", value_parser = count)]
    count: NonZeroU32,

    /// Seed of the messages
    #[arg(long, env = "MINI_SCAN_SEED", default_value_t = 1)]
    seed: u64,

    /// Leave the servers up after the report, until Ctrl-C
    #[arg(long, env = "MINI_SCAN_KEEP")]
    keep: bool,
}

impl DemoArgs {
    pub fn settings(&self) -> Settings {
        Settings { count: self.count, seed: self.seed, keep: self.keep }
    }
}

/// All of them are held in memory.
fn count(text: &str) -> Result<NonZeroU32, String> {
    let count = text.parse().ok().filter(|count: &NonZeroU32| count.get() <= 1_000_000);
    count.ok_or_else(|| "a count is a whole number from 1 to 1000000".to_owned())
}
