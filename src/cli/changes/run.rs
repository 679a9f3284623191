//! Flags of `mini-scan changes` as the reader of the stream.

use std::sync::Arc;
use std::time::Duration;

use ops::flags::duration;
use ops::http::Listen;
use ops::logs::LogFormat;
use tracing_subscriber::filter::Targets;

use super::rules::RulesArgs;
use crate::cli::changes_tables::ChangesTablesArgs;
use crate::cli::consumer::ObservabilityArgs;
use crate::cli::targets::{SecretKeyArgs, TargetArgs};
use crate::cli::webhooks_tables::WebhooksTablesArgs;
use crate::export::unix_seconds;
use crate::service::{ChangesConfig, ReadFrom, WebhooksConfig};

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    tables: ChangesTablesArgs,
    #[command(flatten)]
    rules: RulesArgs,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    webhooks: WebhooksArgs,
    #[command(flatten)]
    observability: ObservabilityArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reading")]
struct ReadingArgs {
    /// Where the first instance starts: trim-horizon (a day ago), latest, or a time such as 2026-11-01T10:00:00Z. Later
    /// instances continue
    #[arg(long, env = "MINI_SCAN_START", default_value = "trim-horizon", value_parser = start, value_name = "POSITION",
          next_line_help = true)]
    start: ReadFrom,

    /// Name of this instance in the lease table; names may be equal
    #[arg(long, env = "HOSTNAME", default_value = "mini-scan", value_name = "NAME")]
    instance_name: String,

    /// How often the progress of a shard is stored, from 100ms to 1m. Each time is a write
    #[arg(long, env = "MINI_SCAN_CHECKPOINT_INTERVAL", default_value = "1s", value_parser = checkpoint_interval,
          value_name = "TIME", next_line_help = true)]
    checkpoint_interval: Duration,

    /// How long an instance may be silent until others take its shards, from 2s to 5m
    #[arg(long, env = "MINI_SCAN_FAILOVER", default_value = "10s", value_parser = failover, value_name = "TIME")]
    failover: Duration,

    /// How long records in progress may take after SIGTERM
    #[arg(long, env = "MINI_SCAN_SHUTDOWN_GRACE", default_value = "15s", value_parser = duration, value_name = "TIME")]
    shutdown_grace: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Webhooks")]
struct WebhooksArgs {
    /// Tell the endpoints of the webhooks table of each change. All instances must have this flag
    #[arg(long, env = "MINI_SCAN_WEBHOOKS")]
    webhooks: bool,

    #[command(flatten)]
    tables: WebhooksTablesArgs,

    #[command(flatten)]
    keys: SecretKeyArgs,

    #[command(flatten)]
    targets: TargetArgs,

    /// Address of the API, for links in webhooks, e.g. https://scans.example.com
    #[arg(long, env = "MINI_SCAN_API_URL", value_name = "URL", next_line_help = true)]
    api_url: Option<String>,

    /// Log each successful delivery in the deliveries table, which is a write per delivery
    #[arg(long, env = "MINI_SCAN_LOG_DELIVERIES")]
    log_deliveries: bool,

    /// How long the log of deliveries is kept
    #[arg(long, env = "MINI_SCAN_DELIVERY_LOG_TTL", default_value = "7days", value_parser = kept, value_name = "TIME")]
    delivery_log_ttl: Duration,

    /// How long dead deliveries are kept
    #[arg(long, env = "MINI_SCAN_DEAD_TTL", default_value = "30days", value_parser = kept, value_name = "TIME")]
    dead_ttl: Duration,
}

impl WebhooksArgs {
    fn config(&self) -> Result<Option<WebhooksConfig>, clap::Error> {
        if !self.webhooks {
            return Ok(None);
        }
        Ok(Some(WebhooksConfig {
            tables: self.tables.tables(),
            keys: Arc::new(self.keys.keys()?),
            policy: self.targets.policy(),
            api_url: self.api_url.clone(),
            log_ttl: self.log_deliveries.then_some(self.delivery_log_ttl),
            dead_ttl: self.dead_ttl,
        }))
    }
}

impl RunArgs {
    /// Returns the settings, or why they are refused.
    pub fn config(&self) -> Result<ChangesConfig, clap::Error> {
        Ok(ChangesConfig {
            endpoints: self.tables.endpoints(),
            tables: self.tables.tables(),
            rules: Arc::new(self.rules.rules()?),
            start: self.reading.start,
            instance: self.reading.instance_name.clone(),
            checkpoint_interval: self.reading.checkpoint_interval,
            failover: self.reading.failover,
            shutdown_grace: self.reading.shutdown_grace,
            webhooks: self.webhooks.config()?,
        })
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

fn start(text: &str) -> Result<ReadFrom, String> {
    match text {
        "trim-horizon" => Ok(ReadFrom::TrimHorizon),
        "latest" => Ok(ReadFrom::Latest),
        time => unix_seconds(time).map(ReadFrom::Time).map_err(|_| {
            "write trim-horizon, latest, or a time such as 2026-11-01T10:00:00Z or Unix seconds".to_owned()
        }),
    }
}

fn checkpoint_interval(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), Duration::from_secs(60), "it must be from 100ms to 1m")
}

fn failover(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(2), Duration::from_secs(300), "it must be from 2s to 5m")
}

fn kept(text: &str) -> Result<Duration, String> {
    let day = Duration::from_secs(24 * 3600);
    within(text, day, 365 * day, "it must be from 1day to 365days")
}

fn within(text: &str, shortest: Duration, longest: Duration, expected: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if (shortest..=longest).contains(&duration) { Ok(duration) } else { Err(expected.to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        run: RunArgs,
    }

    fn parse(flags: &str) -> Result<ChangesConfig, clap::Error> {
        Command::try_parse_from(format!("changes {flags}").split_whitespace()).and_then(|command| command.run.config())
    }

    #[test]
    fn the_start_is_a_word_or_a_time() {
        assert_eq!(parse("").unwrap().start, ReadFrom::TrimHorizon);
        assert_eq!(parse("--start latest").unwrap().start, ReadFrom::Latest);
        assert_eq!(parse("--start 1970-01-02").unwrap().start, ReadFrom::Time(86_400));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for flags in [
            "--start yesterday",
            "--history-ttl 47h",
            "--checkpoint-interval 0s",
            "--failover 1s",
            "--responses none",
            "--mask a=a*",
            "--no-mask none",
            "--webhooks",
            "--webhooks --secret-key-file /nowhere",
            "--dead-ttl 1h",
        ] {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags}");
        }
    }
}
