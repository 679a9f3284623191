//! Flags that decide what is a change, and what the history keeps of it.

use std::time::Duration;

use ops::flags::duration;

use super::masks::MaskArgs;
use crate::changes::{Responses, Rules};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct RulesArgs {
    #[command(flatten)]
    history: HistoryArgs,
    #[command(flatten)]
    masks: MaskArgs,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "History")]
struct HistoryArgs {
    /// Delete an entry of the history this long after its change, at least 2days. Summaries stay
    #[arg(long, env = "MINI_SCAN_HISTORY_TTL", default_value = "365days", value_parser = history_ttl, value_name = "TIME",
          next_line_help = true)]
    history_ttl: Duration,

    /// Keep responses and their differences (full), or only their sizes and hashes (hash)
    #[arg(long, env = "MINI_SCAN_RESPONSES", default_value = "full", value_enum, value_name = "PARTS")]
    responses: ResponsesName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ResponsesName {
    Full,
    Hash,
}

impl RulesArgs {
    /// Returns the rules, or why they are refused.
    pub(super) fn rules(&self) -> Result<Rules, clap::Error> {
        let responses = match self.history.responses {
            ResponsesName::Full => Responses::Full,
            ResponsesName::Hash => Responses::Hash,
        };
        Ok(Rules { masks: self.masks.masks()?, responses, ttl: self.history.history_ttl.as_secs() })
    }
}

/// A record may be repeated for a day, and an entry that expired before would come again.
fn history_ttl(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        ttl if ttl >= Duration::from_secs(2 * 24 * 60 * 60) => Ok(ttl),
        _ => Err("it must be at least 2days, because records may be repeated for a day".to_owned()),
    }
}
