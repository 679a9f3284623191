//! Flags of `widget-registry serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytesize::ByteSize;
use clap::error::ErrorKind;
use http_api::{Access, Limits, Origin, TokenFile};
use ops::flags::duration;
use ops::http::Listen;
use ops::logs::LogFormat;
use tracing_subscriber::filter::Targets;

use super::help::{exit_codes, heading, more};
use super::observability::ObservabilityArgs;
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use crate::names::Tables;
use crate::registry::Settings;

/// How long a call of DynamoDB may take. A transaction takes 20 ms, and one without an answer is repeated safely.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

const HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry serve\n",
    "  widget-registry serve --listen 0.0.0.0:8080 --tokens-file tokens\n",
    "  widget-registry serve --dynamo-endpoint http://localhost:8000\n\n",
    exit_codes!(),
    more!()
);

/// Serve the REST API of the registry, until SIGTERM
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct ServeArgs {
    #[command(flatten)]
    tables: TablesArgs,
    #[command(flatten)]
    servers: ServersArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    writes: WriteArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    observability: ObservabilityArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Access")]
struct AccessArgs {
    /// Address of the API. Without tokens it must be a loopback address
    #[arg(
        long,
        env = "WIDGET_REGISTRY_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        next_line_help = true
    )]
    listen: SocketAddr,

    /// File with the digests of the tokens that clients may use. A change takes effect at once
    #[arg(long, env = "WIDGET_REGISTRY_TOKENS_FILE", value_name = "FILE")]
    tokens_file: Option<PathBuf>,

    /// Serve without tokens on any address: everyone who can reach it can read and change everything
    #[arg(long, env = "WIDGET_REGISTRY_INSECURE_NO_AUTH", conflicts_with = "tokens_file")]
    insecure_no_auth: bool,

    /// Let the pages of another site use the API, e.g. https://example.com; repeat the flag for several
    #[arg(
        long = "cors-origin",
        env = "WIDGET_REGISTRY_CORS_ORIGINS",
        value_name = "ORIGIN",
        value_delimiter = ',',
        next_line_help = true
    )]
    cors_origins: Vec<Origin>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Writes")]
struct WriteArgs {
    /// How long an operation may be repeated while DynamoDB fails or others write; at most 3/4 of --request-timeout
    #[arg(long, env = "WIDGET_REGISTRY_DEADLINE", default_value = "5s", value_parser = positive, value_name = "TIME",
          next_line_help = true)]
    deadline: Duration,

    /// How long a request with an Idempotency-Key is remembered
    #[arg(long, env = "WIDGET_REGISTRY_REMEMBER_REQUESTS", default_value = "24h", value_parser = positive,
          value_name = "TIME")]
    remember_requests: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Requests in progress at a time, from 1 to 10000; further ones are refused
    #[arg(long, env = "WIDGET_REGISTRY_MAX_REQUESTS", default_value = "256", value_name = "NUMBER",
          value_parser = clap::value_parser!(u16).range(1..=10_000), next_line_help = true)]
    max_requests: u16,

    /// How long a request may take, at least 1s
    #[arg(long, env = "WIDGET_REGISTRY_REQUEST_TIMEOUT", default_value = "10s", value_parser = positive,
          value_name = "TIME")]
    request_timeout: Duration,

    /// The largest body of a request, at least 1KiB
    #[arg(long, env = "WIDGET_REGISTRY_MAX_BODY_BYTES", default_value = "256KiB", value_name = "BYTES", value_parser = body_bytes)]
    max_body_bytes: ByteSize,

    /// How long requests in progress may take after SIGTERM
    #[arg(long, env = "WIDGET_REGISTRY_SHUTDOWN_GRACE", default_value = "20s", value_parser = duration,
          value_name = "TIME")]
    shutdown_grace: Duration,
}

/// Smaller bodies could not carry a widget.
const MIN_BODY: ByteSize = ByteSize::kib(1);

fn body_bytes(text: &str) -> Result<ByteSize, String> {
    let bytes: ByteSize = text.parse()?;
    if bytes < MIN_BODY { Err(format!("it must be at least {MIN_BODY}")) } else { Ok(bytes) }
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
                    "--listen {listen}: {error}\n\nCreate a token with `widget-registry token NAME --scope read --scope write \
                     --tokens-file FILE`, and set --tokens-file FILE.\nOr listen on 127.0.0.1, or set --insecure-no-auth.\n"
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

    pub fn tables(&self) -> Tables {
        self.tables.tables()
    }

    /// Returns the URL of a DynamoDB server to use instead of Amazon's.
    pub fn dynamo(&self) -> Option<String> {
        self.servers.dynamo()
    }

    /// Returns the settings of the write path. An operation ends before its request does, so that its answer is sent.
    pub fn settings(&self) -> Result<Settings, clap::Error> {
        let WriteArgs { deadline, remember_requests } = self.writes;
        let longest = self.limits.request_timeout * 3 / 4;
        if deadline > longest {
            let text = format!("--deadline must be at most {longest:?}, which is 3/4 of --request-timeout\n");
            return Err(clap::Error::raw(ErrorKind::ValueValidation, text));
        }
        Ok(Settings { deadline, attempt_timeout: ATTEMPT_TIMEOUT.min(deadline), remember_for: remember_requests })
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

fn positive(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration >= Duration::from_secs(1) { Ok(duration) } else { Err("it must be at least 1s".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn parse(line: &str) -> ServeArgs {
        Command::try_parse_from(line.split(' ')).unwrap().serve
    }

    #[test]
    fn an_address_that_others_reach_needs_tokens() {
        assert!(matches!(parse("serve").access(), Ok(Access::Loopback)));
        let error = parse("serve --listen 0.0.0.0:8080").access().unwrap_err().to_string();
        assert!(["0.0.0.0:8080", "widget-registry token", "--insecure-no-auth"].iter().all(|it| error.contains(it)));
        assert!(matches!(parse("serve --listen 0.0.0.0:8080 --insecure-no-auth").access(), Ok(Access::Everyone)));
        assert!(parse("serve --tokens-file missing").access().is_err());
    }

    #[test]
    fn an_operation_ends_before_its_request() {
        assert_eq!(parse("serve").settings().unwrap().deadline, Duration::from_secs(5));
        let error = parse("serve --request-timeout 4s").settings().unwrap_err().to_string();
        assert!(error.contains("at most 3s"), "{error}");
        assert!(parse("serve --request-timeout 4s --deadline 3s").settings().is_ok());
    }
}
