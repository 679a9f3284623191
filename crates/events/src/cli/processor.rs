//! Flags of `event-pipeline processor`.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::FalseyValueParser;
use ops::flags::duration;
use ops::http::Listen;
use ops::logs::LogFormat;
use tracing_subscriber::filter::Targets;

use super::help::{exit_codes, heading, more};
use super::numbers::count;
use super::observability::ObservabilityArgs;
use super::queues::QueuesArgs;
use super::servers::ServersArgs;
use super::tables::TablesArgs;
use super::targets::{SecretKeyArgs, TargetArgs};
use crate::processor::{Limits, Settings};
use crate::service::deliverer::DeliveryConfig;
use crate::service::processor::{ProcessorConfig, SchemaConfig};

/// SQS ends the invisibility of a message this long after it was received.
const MAX_INVISIBLE: Duration = Duration::from_secs(12 * 3600);

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline processor\n",
    "  event-pipeline processor --schema-dir schemas --strict-types --ttl 90days\n",
    "  event-pipeline processor --direct-dispatch --secret-key-file key\n\n",
    exit_codes!(),
    more!()
);

/// Store the events of the queue, and move invalid ones to the dead-letter queue, until SIGTERM
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct ProcessorArgs {
    #[command(flatten)]
    servers: ServersArgs,
    #[command(flatten)]
    queues: QueuesArgs,
    #[command(flatten)]
    tables: TablesArgs,
    #[command(flatten)]
    events: EventArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    keys: SecretKeyArgs,
    #[command(flatten)]
    observability: ObservabilityArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Events")]
struct EventArgs {
    /// Directory with a JSON Schema for each event type: order.json, or order@2.json for events with this event_version.
    /// It is read again within 10 s after a change; while a file is wrong, the earlier schemas count
    #[arg(long, env = "EVENT_PIPELINE_SCHEMA_DIR", value_name = "DIRECTORY", next_line_help = true)]
    schema_dir: Option<PathBuf>,

    /// Reject an event whose type has no schema of its own in --schema-dir, with reason unknown_type
    #[arg(long, env = "EVENT_PIPELINE_STRICT_TYPES", value_parser = FalseyValueParser::new())]
    strict_types: bool,

    /// Delete an event this long after it was stored, e.g. 90days; without it events stay
    #[arg(long, env = "EVENT_PIPELINE_TTL", value_parser = positive, value_name = "TIME")]
    ttl: Option<Duration>,

    /// Deliver each event right after it was stored, without the stream of the table
    #[arg(long, env = "DIRECT_DISPATCH", value_parser = FalseyValueParser::new())]
    direct_dispatch: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Messages in memory, from 10 to 100000. At this limit no more are received
    #[arg(long, env = "EVENT_PIPELINE_MAX_MESSAGES", default_value = "5000", value_parser = messages,
          value_name = "NUMBER", next_line_help = true)]
    max_messages: usize,

    /// Bytes of the messages in memory, as decoded. Each poller may exceed it by ten messages
    #[arg(long, env = "EVENT_PIPELINE_MAX_BYTES", default_value = "256MiB", value_name = "BYTES")]
    max_bytes: ByteSize,

    /// Events that are stored at the same time, from 1 to 10000
    #[arg(long, env = "EVENT_PIPELINE_MAX_WRITES", default_value = "256", value_parser = writes, value_name = "NUMBER")]
    max_writes: usize,

    /// Events of one client that are stored at the same time. Its others wait
    #[arg(long, env = "EVENT_PIPELINE_MAX_WRITES_PER_CLIENT", default_value = "64", value_parser = writes,
          value_name = "NUMBER", next_line_help = true)]
    max_writes_per_client: usize,

    /// Requests that wait for messages at the same time, from 1 to 100
    #[arg(long, env = "EVENT_PIPELINE_POLLERS", default_value = "4", value_parser = pollers, value_name = "NUMBER")]
    pollers: usize,

    /// How long messages stay invisible to other processors without an extension, from 10s to 1h. After a crash they come
    /// again after this time
    #[arg(long, env = "EVENT_PIPELINE_VISIBILITY", default_value = "30s", value_parser = visibility,
          value_name = "TIME", next_line_help = true)]
    visibility: Duration,

    /// How long messages in memory are stored after SIGTERM. The others are returned to the queue
    #[arg(long, env = "EVENT_PIPELINE_SHUTDOWN_GRACE", default_value = "20s", value_parser = duration,
          value_name = "TIME", next_line_help = true)]
    shutdown_grace: Duration,
}

impl ProcessorArgs {
    /// Returns the settings, or why they are refused.
    pub fn config(&self) -> Result<ProcessorConfig, clap::Error> {
        let queues = self.queues.queues();
        let delivery = DeliveryConfig {
            endpoints: self.servers.endpoints(),
            tables: self.tables.tables(),
            dead_letters: queues.deliver_dead.clone(),
            keys: self.keys.keys()?,
            policy: self.targets.policy(),
        };
        let settings = self.limits.settings(self.events.direct_dispatch);
        Ok(ProcessorConfig { delivery, queues, schemas: self.events.schemas()?, ttl: self.events.ttl, settings })
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

impl EventArgs {
    fn schemas(&self) -> Result<Option<SchemaConfig>, clap::Error> {
        // A variable that is set to an empty string names no directory.
        match self.schema_dir.clone().filter(|path| !path.as_os_str().is_empty()) {
            Some(directory) => Ok(Some(SchemaConfig { directory, is_strict: self.strict_types })),
            // Without schemas of types, every event would be rejected.
            None if self.strict_types => Err(clap::Error::raw(
                clap::error::ErrorKind::MissingRequiredArgument,
                "--strict-types needs --schema-dir, a directory with a JSON Schema for each event type\n",
            )),
            None => Ok(None),
        }
    }
}

impl LimitArgs {
    fn settings(&self, is_direct: bool) -> Settings {
        let limits = Limits {
            messages: self.max_messages,
            bytes: usize::try_from(self.max_bytes.as_u64()).unwrap_or(usize::MAX),
            running: self.max_writes,
            running_per_client: self.max_writes_per_client.min(self.max_writes),
            visibility: self.visibility,
            max_invisible: MAX_INVISIBLE,
        };
        Settings {
            limits,
            is_direct,
            pollers: self.pollers,
            delete_delay: Duration::from_millis(20),
            max_retry_delay: Duration::from_secs(1),
            call_timeout: Duration::from_secs(3),
            shutdown_grace: self.shutdown_grace,
        }
    }
}

fn messages(text: &str) -> Result<usize, String> {
    match count(text, 100_000) {
        // A request takes ten.
        Ok(number) if number >= 10 => Ok(number),
        _ => Err("it must be a whole number from 10 to 100000".to_owned()),
    }
}

fn writes(text: &str) -> Result<usize, String> {
    count(text, 10_000)
}

fn pollers(text: &str) -> Result<usize, String> {
    count(text, 100)
}

fn positive(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("it must be longer than 0".to_owned()) } else { Ok(duration) }
}

/// SQS takes whole seconds.
fn visibility(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    let is_allowed = (10..=3600).contains(&duration.as_secs()) && duration.subsec_nanos() == 0;
    if is_allowed { Ok(duration) } else { Err("it must be from 10s to 1h, in whole seconds".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        processor: ProcessorArgs,
    }

    fn parse(flags: &str) -> Result<ProcessorConfig, clap::Error> {
        let command = Command::try_parse_from(format!("processor {flags}").split_whitespace());
        command.and_then(|command| command.processor.config())
    }

    #[test]
    fn a_client_has_at_most_all_writes() {
        let limits = parse("--max-writes 8").unwrap().settings.limits;
        assert_eq!((limits.running, limits.running_per_client), (8, 8));
        assert!(!parse("").unwrap().settings.is_direct);
        assert!(parse("--direct-dispatch").unwrap().settings.is_direct);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for flags in [
            "--max-messages 9",
            "--max-writes 0",
            "--max-writes-per-client 0",
            "--pollers 101",
            "--visibility 9s",
            "--visibility 10500ms",
            "--ttl 0s",
            "--queue events.fifo",
            "--strict-types",
        ] {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags}");
        }
    }
}
