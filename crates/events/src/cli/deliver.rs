//! Flags of `event-pipeline deliver`.

use std::time::Duration;

use ops::flags::duration;
use ops::http::Listen;
use ops::logs::LogFormat;
use tracing_subscriber::filter::Targets;

use super::help::{exit_codes, heading, more};
use super::observability::ObservabilityArgs;
use super::queues::QueuesArgs;
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use super::targets::{SecretKeyArgs, TargetArgs};
use crate::service::deliverer::{DelivererConfig, DeliveryConfig};

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline deliver\n",
    "  event-pipeline deliver --secret-key-file key --poll-interval 100ms\n",
    "  event-pipeline deliver --allow-http --allow-target mock-sink:8080\n\n",
    exit_codes!(),
    more!()
);

/// Deliver stored events to the targets of their clients, until SIGTERM
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct DeliverArgs {
    #[command(flatten)]
    servers: ServersArgs,
    #[command(flatten)]
    tables: TablesArgs,
    #[command(flatten)]
    queues: QueuesArgs,
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    keys: SecretKeyArgs,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    observability: ObservabilityArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reading")]
struct ReadingArgs {
    /// Time between two reads of a shard of the stream, from 50ms to 10s. Each read costs a request
    #[arg(long, env = "EVENT_PIPELINE_POLL_INTERVAL", default_value = "250ms", value_parser = poll_interval,
          value_name = "TIME", next_line_help = true)]
    poll_interval: Duration,

    /// Name of this instance in the lease table; names may be equal
    #[arg(long, env = "HOSTNAME", default_value = "event-pipeline", value_name = "NAME")]
    instance_name: String,

    /// How often the progress of a shard is stored, from 100ms to 1m. Each time is a write
    #[arg(long, env = "EVENT_PIPELINE_CHECKPOINT_INTERVAL", default_value = "1s", value_parser = checkpoint_interval,
          value_name = "TIME", next_line_help = true)]
    checkpoint_interval: Duration,

    /// How long an instance may be silent until others take its shards, from 2s to 5m
    #[arg(long, env = "EVENT_PIPELINE_FAILOVER", default_value = "10s", value_parser = failover, value_name = "TIME")]
    failover: Duration,

    /// How long deliveries in progress may take after SIGTERM
    #[arg(long, env = "EVENT_PIPELINE_SHUTDOWN_GRACE", default_value = "15s", value_parser = duration,
          value_name = "TIME")]
    shutdown_grace: Duration,
}

impl DeliverArgs {
    /// Returns the settings, or why they are refused.
    pub fn config(&self) -> Result<DelivererConfig, clap::Error> {
        let ReadingArgs { poll_interval, instance_name, checkpoint_interval, failover, shutdown_grace } = &self.reading;
        let delivery = DeliveryConfig {
            endpoints: self.servers.endpoints(),
            tables: self.tables.tables(),
            dead_letters: self.queues.queues().deliver_dead,
            keys: self.keys.keys()?,
            policy: self.targets.policy(),
        };
        Ok(DelivererConfig {
            delivery,
            instance: instance_name.clone(),
            poll_interval: *poll_interval,
            checkpoint_interval: *checkpoint_interval,
            failover: *failover,
            shutdown_grace: *shutdown_grace,
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

fn poll_interval(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(50), Duration::from_secs(10), "it must be from 50ms to 10s")
}

fn checkpoint_interval(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), Duration::from_secs(60), "it must be from 100ms to 1m")
}

fn failover(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(2), Duration::from_secs(300), "it must be from 2s to 5m")
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
        deliver: DeliverArgs,
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let parse = |flags: &str| {
            let command = Command::try_parse_from(format!("deliver {flags}").split_whitespace());
            command.and_then(|command| command.deliver.config())
        };
        assert_eq!(parse("").unwrap().poll_interval, Duration::from_millis(250));
        for flags in [
            "--poll-interval 10ms",
            "--checkpoint-interval 0s",
            "--failover 1s",
            "--secret-key-file /nowhere",
            "--allow-networks 10.0.0.0/99",
        ] {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags}");
        }
    }
}
