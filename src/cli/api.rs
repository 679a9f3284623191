//! Flags of `mini-scan api`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytesize::ByteSize;
use clap::error::ErrorKind;
use http_api::{Access, Limits, Origin, Scope, TokenFile, append, line, new_token};
use ops::flags::duration;
use ops::http::Listen;
use ops::logs::LogFormat;
use tracing_subscriber::filter::Targets;
use webhooks::SenderSettings;

use super::consumer::{ObservabilityArgs, positive};
use super::help::{exit_codes, heading, more};
use super::pubsub::set;
use super::table::TableArgs;
use super::targets::{SecretKeyArgs, TargetArgs};
use super::webhooks_tables::WebhooksTablesArgs;
use crate::api::Settings;
use crate::hosts::WriteSettings;
use crate::service::sender_settings;
use crate::service::{Endpoints, WebhooksTables};
use crate::subscriptions::operations::Vault;

/// Lets people and secret scanners recognize a token of this API.
const TOKEN_PREFIX: &str = "mini_scan_";

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan api\n",
    "  mini-scan api token laptop --tokens-file tokens\n",
    "  mini-scan api --listen 0.0.0.0:8080 --tokens-file tokens\n\n",
    exit_codes!(),
    more!()
);

const TOKEN_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan api token laptop --tokens-file tokens\n",
    "  mini-scan api token ci --scope read --scope write\n",
    "  mini-scan api token team --scope read --scope webhooks\n\n",
    exit_codes!(),
    more!()
);

/// Serve a REST API of the records, until stopped
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = HELP)]
pub struct ApiArgs {
    #[command(subcommand)]
    part: Option<Part>,

    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Token(TokenArgs),
}

/// Create a token for clients of the API, and print it once
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = TOKEN_HELP, next_help_heading = "Token")]
pub struct TokenArgs {
    /// Name of the token in logs: letters, digits and -_.@:
    name: String,

    /// What the token allows; repeat the flag for several
    #[arg(long = "scope", value_name = "SCOPE", default_value = "read")]
    scopes: Vec<Scope>,

    /// File to which the digest of the token is added. Without it, the line for the file is printed on stderr
    #[arg(long, env = "MINI_SCAN_TOKENS_FILE", value_name = "FILE", next_line_help = true)]
    tokens_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    table: TableArgs,
    /// Table of the history, which `mini-scan changes` writes; without it the API has no history
    #[arg(long, env = "MINI_SCAN_HISTORY_TABLE", value_name = "TABLE", help_heading = "Records")]
    history_table: Option<String>,

    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    records: RecordArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    webhooks: ServeWebhooksArgs,
    #[command(flatten)]
    observability: ObservabilityArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Webhooks")]
struct ServeWebhooksArgs {
    /// Add the endpoints of webhooks, for tokens with the scopes read and webhooks
    #[arg(long, env = "MINI_SCAN_WEBHOOKS")]
    webhooks: bool,

    #[command(flatten)]
    tables: WebhooksTablesArgs,
    #[command(flatten)]
    key: SecretKeyArgs,
    #[command(flatten)]
    targets: TargetArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Access")]
struct AccessArgs {
    /// Address of the API. Without tokens it must be a loopback address
    #[arg(
        long,
        env = "MINI_SCAN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        next_line_help = true
    )]
    listen: SocketAddr,

    /// File with the digests of the tokens that clients may use. A change takes effect at once
    #[arg(long, env = "MINI_SCAN_TOKENS_FILE", value_name = "FILE")]
    tokens_file: Option<PathBuf>,

    /// Serve without tokens on any address: everyone who can reach it can read everything
    #[arg(long, env = "MINI_SCAN_INSECURE_NO_AUTH", conflicts_with = "tokens_file")]
    insecure_no_auth: bool,

    /// Let the pages of another site use the API, e.g. https://example.com; repeat the flag for several
    #[arg(
        long = "cors-origin",
        env = "MINI_SCAN_CORS_ORIGINS",
        value_name = "ORIGIN",
        value_delimiter = ',',
        next_line_help = true
    )]
    cors_origins: Vec<Origin>,

    /// Add the endpoints that store scans and delete records
    #[arg(long, env = "MINI_SCAN_ALLOW_WRITES")]
    allow_writes: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Records")]
struct RecordArgs {
    /// Mark a record as stale if its scan is older than this, e.g. 30days
    #[arg(long, env = "MINI_SCAN_STALE_AFTER", default_value = "30days", value_parser = duration, value_name = "TIME",
          next_line_help = true)]
    stale_after: Duration,

    /// Delete a stored scan this long after its timestamp, as the consumer does; without it records stay
    #[arg(long, env = "MINI_SCAN_TTL", value_parser = positive, value_name = "TIME")]
    ttl: Option<Duration>,

    /// Reject a scan whose timestamp is more than this in the future, as the consumer does
    #[arg(long, env = "MINI_SCAN_MAX_FUTURE_SKEW", default_value = "24h", value_parser = duration, value_name = "TIME")]
    max_future_skew: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Requests in progress at a time, from 1 to 10000; further ones are refused
    #[arg(long, env = "MINI_SCAN_MAX_REQUESTS", default_value = "64", value_name = "NUMBER",
          value_parser = clap::value_parser!(u16).range(1..=10_000), next_line_help = true)]
    max_requests: u16,

    /// How long a request may take, at least 1s
    #[arg(long, env = "MINI_SCAN_REQUEST_TIMEOUT", default_value = "10s", value_parser = positive, value_name = "TIME")]
    request_timeout: Duration,

    /// The largest body of a request
    #[arg(long, env = "MINI_SCAN_MAX_BODY_BYTES", default_value = "2MiB", value_name = "BYTES")]
    max_body_bytes: ByteSize,

    /// How long requests in progress may take after SIGTERM
    #[arg(long, env = "MINI_SCAN_SHUTDOWN_GRACE", default_value = "20s", value_parser = duration, value_name = "TIME")]
    shutdown_grace: Duration,
}

/// What `mini-scan api` does.
#[derive(Debug)]
pub enum ApiTask<'a> {
    Serve(&'a ServeArgs),
    CreateToken(&'a TokenArgs),
}

impl ApiArgs {
    pub fn task(&self) -> ApiTask<'_> {
        match &self.part {
            None => ApiTask::Serve(&self.serve),
            Some(Part::Token(args)) => ApiTask::CreateToken(args),
        }
    }

    pub fn log_format(&self) -> LogFormat {
        self.serve.log_format()
    }
}

impl ServeArgs {
    /// Returns who may use the API. Reads the tokens.
    pub fn access(&self) -> anyhow::Result<Access> {
        let AccessArgs { listen, tokens_file, insecure_no_auth, .. } = &self.access;
        let file = tokens_file.clone().filter(|path| !path.as_os_str().is_empty());
        let tokens = file.map(TokenFile::open).transpose().context("cannot use --tokens-file")?;
        let access = Access::choose(*listen, tokens, *insecure_no_auth).map_err(|error| {
            clap::Error::raw(
                ErrorKind::ArgumentConflict,
                format!(
                    "--listen {listen}: {error}\n\nCreate a token with `mini-scan api token NAME --tokens-file FILE`, and \
                     set --tokens-file FILE.\nOr listen on 127.0.0.1, or set --insecure-no-auth.\n"
                ),
            )
        });
        Ok(access?)
    }

    pub fn origins(&self) -> Vec<Origin> {
        self.access.cors_origins.clone()
    }

    pub fn listen(&self) -> SocketAddr {
        self.access.listen
    }

    pub fn endpoints(&self) -> Endpoints {
        Endpoints { pubsub: None, dynamo: self.table.endpoint() }
    }

    pub fn table(&self) -> &str {
        &self.table.table
    }

    pub fn history_table(&self) -> Option<&str> {
        set(&self.history_table)
    }

    /// Returns the tables, keys and policy of webhooks, if they are served.
    pub fn webhooks(&self) -> Result<Option<(WebhooksTables, Vault)>, clap::Error> {
        let ServeWebhooksArgs { webhooks, tables, key, targets } = &self.webhooks;
        if !webhooks {
            return Ok(None);
        }
        Ok(Some((tables.tables(), Vault { policy: targets.policy(), keys: key.keys()? })))
    }

    /// Returns the settings of the sender of tests. A test ends before its request does.
    pub fn sender_settings(&self) -> SenderSettings {
        let timeout = (self.limits.request_timeout * 3 / 4).min(Duration::from_secs(8));
        SenderSettings { timeout, connect_timeout: timeout, ..sender_settings() }
    }

    pub fn ttl(&self) -> Option<Duration> {
        self.records.ttl
    }

    pub fn settings(&self) -> Settings {
        let RecordArgs { stale_after, ttl, max_future_skew } = self.records;
        let writes = self.access.allow_writes.then_some(WriteSettings { max_future_skew, ttl });
        Settings { stale_after, writes }
    }

    pub fn limits(&self) -> Limits {
        Limits {
            request_timeout: self.limits.request_timeout,
            body_bytes: usize::try_from(self.limits.max_body_bytes.as_u64()).unwrap_or(usize::MAX),
            requests: self.limits.max_requests.into(),
        }
    }

    pub fn shutdown_grace(&self) -> Duration {
        self.limits.shutdown_grace
    }

    pub fn http_listen(&self) -> Option<Listen> {
        self.observability.http_listen()
    }

    pub fn log_format(&self) -> LogFormat {
        self.observability.log_format()
    }

    pub fn log_levels(&self) -> Targets {
        self.observability.log_levels()
    }
}

impl TokenArgs {
    /// Creates a token. Adds its line to the file, or returns the line beside the token.
    pub fn create(&self) -> anyhow::Result<(String, Option<String>)> {
        let token = new_token(TOKEN_PREFIX).context("cannot create a token")?;
        let mut scopes = self.scopes.clone();
        scopes.dedup();
        let line = line(&self.name, &scopes, &token).map_err(|why| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("the name {:?} is invalid: {why}\n", self.name))
        })?;
        let Some(path) = self.tokens_file.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok((token, Some(line)));
        };
        append(path, &line).with_context(|| format!("cannot write the tokens file {}", path.display()))?;
        Ok((token, None))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        api: ApiArgs,
    }

    fn access(line: &str) -> anyhow::Result<Access> {
        let command = Command::try_parse_from(line.split(' '))?;
        command.api.serve.access()
    }

    #[test]
    fn an_address_that_others_reach_needs_tokens() {
        assert!(matches!(access("api"), Ok(Access::Loopback)));
        let error = access("api --listen 0.0.0.0:8080").unwrap_err().to_string();
        assert!(["0.0.0.0:8080", "mini-scan api token", "--insecure-no-auth"].iter().all(|part| error.contains(part)));
        assert!(matches!(access("api --listen 0.0.0.0:8080 --insecure-no-auth"), Ok(Access::Everyone)));
        assert!(access("api --tokens-file missing").is_err());
        assert!(access("api --tokens-file missing --insecure-no-auth").is_err());
    }

    #[test]
    fn a_created_token_is_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        std::fs::write(&path, "# no line break at the end").unwrap();
        let file = path.to_str().unwrap();
        for name in ["one", "two"] {
            let command = Command::try_parse_from(["api", "token", name, "--tokens-file", file]).unwrap();
            let ApiTask::CreateToken(args) = command.api.task() else { panic!("a token is created") };
            let (token, line) = args.create().unwrap();
            assert!(token.starts_with(TOKEN_PREFIX) && line.is_none());
            assert!(!std::fs::read_to_string(&path).unwrap().contains(&token));
        }
        assert!(TokenFile::open(path).is_ok());
    }
}
