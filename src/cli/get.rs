//! Flags of `mini-scan get`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::error::ErrorKind;

use super::changes_tables::HistoryTableArgs;
use super::help::{exit_codes, heading, more};
use super::pubsub::set;
use super::table::{TableArgs, table_is_the_source};
use crate::get::{Api, From, Get};
use crate::hosts::{InvalidTarget, Target};
use crate::service::Endpoints;
use ops::terminal::sanitize;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan get 1.1.1.7\n",
    "  mini-scan get 1.1.1.7:443 [2001:db8::7]:443 1.1.1.0/24\n",
    "  mini-scan get --json - < addresses.txt | jq .service\n",
    "  mini-scan get --api http://127.0.0.1:8080 1.1.1.7\n",
    "  mini-scan get --history 1.1.1.7    what opened, changed and closed\n\n",
    "  It needs index by-ip (`mini-scan setup table` adds it). For larger networks than\n",
    "  a /24 use `mini-scan export`.\n\n",
    exit_codes!(),
    more!()
);

const MAX_CHARS: usize = 60;

/// Show what was found on addresses and networks
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, mut_args(table_is_the_source))]
pub struct GetArgs {
    /// Addresses (1.1.1.7), addresses with a port (1.1.1.7:443) or networks (1.1.1.0/24); - reads them from stdin
    #[arg(required = true, value_name = "TARGET", help_heading = "Targets")]
    targets: Vec<String>,

    #[command(flatten)]
    table: TableArgs,

    #[command(flatten)]
    history_table: HistoryTableArgs,

    /// URL of a `mini-scan api` to ask instead of the table, e.g. http://127.0.0.1:8080
    #[arg(long, env = "MINI_SCAN_API", value_name = "URL", help_heading = "Source")]
    api: Option<String>,

    /// File with the token for the API; without it the token is in MINI_SCAN_API_TOKEN
    #[arg(long, env = "MINI_SCAN_API_TOKEN_FILE", value_name = "FILE", help_heading = "Source")]
    api_token_file: Option<PathBuf>,

    /// Only for its variable, because other users of the machine can see the flags of a process.
    #[arg(long, env = "MINI_SCAN_API_TOKEN", hide = true, hide_env_values = true)]
    api_token: Option<String>,

    /// Print what opened, changed and closed, the newest first, in place of the records
    #[arg(long, help_heading = "Output")]
    history: bool,

    /// Print one JSON object per record or event, with the whole response, in place of the table
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl GetArgs {
    /// Returns what to look up. Reads targets from `stdin` if `-` is one of them: one per line, with empty lines and
    /// comments after `#` left out.
    pub fn task(&self, stdin: impl Read) -> Result<Get, clap::Error> {
        let mut targets = Vec::with_capacity(self.targets.len());
        let mut lines = BufReader::new(stdin).lines();
        for text in &self.targets {
            if text != "-" {
                targets.push(target(text).map_err(|why| invalid(&why))?);
                continue;
            }
            for (number, line) in (1..).zip(&mut lines) {
                let line = line.map_err(|error| invalid(&format!("cannot read stdin: {error}")))?;
                let text = line.split('#').next().unwrap_or_default().trim();
                if !text.is_empty() {
                    let found = target(text).map_err(|why| invalid(&format!("line {number} of stdin: {why}")));
                    targets.push(found?);
                }
            }
        }
        Ok(Get { targets, from: self.from()?, history: self.history, json: self.json })
    }

    fn from(&self) -> Result<From, clap::Error> {
        let Some(url) = set(&self.api) else {
            return Ok(From::Table {
                endpoints: Endpoints { pubsub: None, dynamo: self.table.endpoint() },
                name: self.table.table.clone(),
                history: self.history_table.history_table.clone(),
            });
        };
        let token = match self.api_token_file.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None => set(&self.api_token).map(str::to_owned),
            Some(path) => {
                let text = fs::read_to_string(path);
                Some(text.map_err(|error| invalid(&format!("--api-token-file {}: {error}", path.display())))?)
            }
        };
        // No value parser checks the URL, because clap would repeat it in the error.
        let api = Api::new(url, token.map(|token| token.trim().to_owned()));
        Ok(From::Api(api.map_err(|why| invalid(&format!("the URL of --api (MINI_SCAN_API) is invalid: {why}")))?))
    }
}

/// Parses a target, or returns what is wrong with it.
fn target(text: &str) -> Result<Target, String> {
    let target = text.parse().map_err(|error: InvalidTarget| format!("`{}`: {error}", sanitize(text, MAX_CHARS)))?;
    if let Target::Network(network) = target {
        network.addresses().map_err(|error| error.to_string())?;
    }
    Ok(target)
}

fn invalid(text: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{text}\n"))
}
