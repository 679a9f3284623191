//! Flags of `widget-registry load`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ops::flags::duration;

use super::help::{heading, more};
use crate::tools::load::{Load, Widgets};

const HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry load --count 10000 --rate 500 --for 1m\n",
    "  widget-registry load --url https://widgets.example.com --token-file token --count 1000000 --for 0s\n\n",
    heading!("Exit codes"),
    "  0    every request got an answer that a correct API may give, including refusals and 503\n",
    "  1    an answer was wrong or missing, or the widgets could not be created\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    stopped before the end\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// Create widgets, and connect and disconnect them at a rate
///
/// The widgets stay. Another run with the same prefix uses those that exist. Ports that an earlier run connected answer 409.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP, next_help_heading = "Load")]
pub struct LoadArgs {
    /// URL of the API
    #[arg(long, env = "WIDGET_REGISTRY_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,

    /// File with a token of the API that allows to read and write
    #[arg(long, env = "WIDGET_REGISTRY_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Widgets to create
    #[arg(long, value_name = "NUMBER", default_value = "10000", value_parser = clap::value_parser!(u32).range(2..))]
    count: u32,

    /// Operations per second: half of them connect two widgets, the others disconnect or replace
    #[arg(long, value_name = "NUMBER", default_value = "500")]
    rate: NonZeroU32,

    /// How long the operations last, e.g. 1m; with 0s, only widgets are created
    #[arg(long = "for", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    lasts: Duration,

    /// Requests at the same time, at most. Operations that wait for a client count as slow
    #[arg(long, value_name = "NUMBER", default_value = "64")]
    clients: NonZeroUsize,

    /// Start of the serial numbers
    #[arg(long, value_name = "TEXT", default_value = "load-")]
    prefix: String,

    /// Chooses the operations. The same seed gives the same operations
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

impl LoadArgs {
    pub fn task(&self) -> Load {
        Load {
            url: self.url.clone(),
            token_file: self.token_file.clone(),
            widgets: Widgets { prefix: self.prefix.clone(), count: self.count },
            rate: self.rate.get().into(),
            lasts: self.lasts,
            clients: self.clients,
            seed: self.seed,
            json: self.json,
        }
    }
}
