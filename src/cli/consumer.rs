//! Flags of `mini-scan consumer`.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use ops::flags::duration;
use ops::http::Listen;
use tracing_subscriber::filter::Targets;

use super::help::{heading, more};
use super::pubsub::{PubsubArgs, set};
use super::table::TableArgs;
use crate::consumer::settings::WriteMode;
use crate::observe;
use crate::service::{Config, Endpoints};
use ops::logs::LogFormat;

/// A stream with fewer bytes than a usual scan would deliver one message at a time.
const MIN_BYTES_PER_STREAM: u64 = 1024;

const STREAM_MAX_IDLE: Duration = Duration::from_secs(60);

/// Google's emulator goes on delivering to streams that were replaced. A connection to a local server does not break
/// unnoticed.
const LOCAL_STREAM_MAX_IDLE: Duration = Duration::from_secs(24 * 60 * 60);

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan consumer --project my-project --dead-letter-topic scan-dead-letter\n",
    "  mini-scan consumer --consumers 20 \\\n",
    "    --subscription projects/my-project/subscriptions/scan-sub\n\n",
    heading!("Exit codes"),
    "  0    stopped by SIGTERM or SIGINT; unfinished messages were nacked\n",
    "  1    failure, e.g. a check at the start failed\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!(),
    "\n  docs/runbook.md says what to do about alerts"
);

/// Write the newest scan of each key to the table, until stopped
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct ConsumerArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) destination: DestinationArgs,
    #[command(flatten)]
    pub(super) dead_letters: DeadLetterArgs,
    #[command(flatten)]
    throughput: ThroughputArgs,
    #[command(flatten)]
    reliability: ReliabilityArgs,
    #[command(flatten)]
    observability: ObservabilityArgs,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Source")]
pub(super) struct SourceArgs {
    #[command(flatten)]
    pub(super) pubsub: PubsubArgs,

    /// Subscription of the scans: an id or a full name
    #[arg(short, long, env = "MINI_SCAN_SUBSCRIPTION", default_value = "scan-sub")]
    subscription: String,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Destination")]
pub(super) struct DestinationArgs {
    #[command(flatten)]
    pub(super) table: TableArgs,

    /// Delete each record this long after its scan's timestamp, e.g. 90days, at least 1s; without it records stay
    #[arg(long, env = "MINI_SCAN_TTL", value_parser = positive, value_name = "TIME")]
    ttl: Option<Duration>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Dead letters")]
pub(super) struct DeadLetterArgs {
    /// Topic for messages that can never be stored: an id or a full name. Without it Pub/Sub redelivers them
    #[arg(long, env = "MINI_SCAN_DEAD_LETTER_TOPIC", value_name = "TOPIC", next_line_help = true)]
    dead_letter_topic: Option<String>,

    /// Reject a scan whose timestamp is more than this after its message was published, e.g. 24h
    #[arg(long, env = "MINI_SCAN_MAX_FUTURE_SKEW", default_value = "24h", value_parser = duration, value_name = "TIME")]
    max_future_skew: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Throughput")]
struct ThroughputArgs {
    /// Workers, each with its own stream, from 1 to 1000
    #[arg(short, long, env = "MINI_SCAN_CONSUMERS", default_value = "10", value_parser = consumers, value_name = "NUMBER")]
    consumers: NonZeroUsize,

    /// Messages that are decoded, waiting or being written at a time over all workers, from 1 to 1000000
    #[arg(short, long, env = "MINI_SCAN_MAX_OUTSTANDING", default_value = "1000", value_parser = outstanding,
          value_name = "NUMBER")]
    max_outstanding: NonZeroUsize,

    /// Bytes of unsettled messages at a time over all workers, e.g. 256MiB, at least 1KiB per worker
    #[arg(long, env = "MINI_SCAN_MAX_OUTSTANDING_BYTES", default_value = "256MiB", value_name = "BYTES")]
    max_outstanding_bytes: ByteSize,

    /// Writes in flight at a time over all workers, each on its own connection, from 1 to 1000000. The default depends on
    /// --max-outstanding, the threads and the limit of open files. Cloud NAT gives a machine 64 ports by default
    #[arg(long, env = "MINI_SCAN_MAX_WRITES", value_parser = outstanding, value_name = "NUMBER", next_line_help = true)]
    max_writes: Option<NonZeroUsize>,

    /// Threads that run the workers, at most one per worker and per write in flight; the default is one per core
    #[arg(long, env = "MINI_SCAN_THREADS", value_name = "NUMBER", next_line_help = true)]
    threads: Option<NonZeroUsize>,

    /// Write each scan by itself (put), or up to 25 per call (batch), which takes less CPU and some more write units
    #[arg(long, env = "MINI_SCAN_WRITE_MODE", default_value = "put", value_enum, value_name = "MODE")]
    write_mode: Mode,

    /// How long a scan waits for others in batch mode while a call is in flight, from 0ms to 1s
    #[arg(long, env = "MINI_SCAN_BATCH_LINGER", default_value = "2ms", value_parser = linger, value_name = "TIME")]
    batch_linger: Duration,

    /// Keys whose newest stored timestamp stays in memory, so that older scans need no write; 0 turns it off
    #[arg(long, env = "MINI_SCAN_CACHE_ENTRIES", default_value = "100000", value_name = "NUMBER")]
    cache_entries: usize,

    /// How long a timestamp in memory is trusted, e.g. 10m: after that, a row that was changed by hand is noticed
    #[arg(long, env = "MINI_SCAN_CACHE_MAX_AGE", default_value = "10m", value_parser = duration, value_name = "TIME")]
    cache_max_age: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Reliability")]
struct ReliabilityArgs {
    /// Nack a message that was not written for this long, at least 1s
    #[arg(long, env = "MINI_SCAN_MAX_RETRY_TIME", default_value = "30m", value_parser = positive, value_name = "TIME")]
    max_retry_time: Duration,

    /// How soon Pub/Sub redelivers the messages of a killed instance, from 10s to 600s
    #[arg(long, env = "MINI_SCAN_MAX_LEASE_EXTENSION", default_value = "20s", value_parser = lease, value_name = "TIME",
          next_line_help = true)]
    max_lease_extension: Duration,

    /// Replace a stream that has delivered nothing for this long, at least 1s. While no stream delivers anything, one is
    /// replaced that often, the others after pauses of up to 10 minutes. The default is 60s; with a local Pub/Sub server
    /// it is 24h
    #[arg(long, env = "MINI_SCAN_STREAM_MAX_IDLE", value_parser = positive, value_name = "TIME")]
    stream_max_idle: Option<Duration>,

    /// How long writes in flight may take after SIGTERM; the whole stop takes at most 4 s more
    #[arg(long, env = "MINI_SCAN_SHUTDOWN_GRACE", default_value = "20s", value_parser = duration, value_name = "TIME")]
    shutdown_grace: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Observability")]
pub(super) struct ObservabilityArgs {
    /// Address of /metrics, /livez and /readyz, e.g. 0.0.0.0:9464, or off. The default is 127.0.0.1:9464 if that port
    /// is free
    #[arg(long, env = "MINI_SCAN_HTTP_LISTEN", value_name = "ADDRESS", next_line_help = true)]
    http_listen: Option<Listen>,

    /// Write logs as text, as json, or as auto: text with a status line on a terminal, JSON otherwise
    #[arg(
        long,
        env = "MINI_SCAN_LOG_FORMAT",
        default_value = "auto",
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    log_format: LogFormat,

    /// Levels of logs, e.g. debug, or warn,mini_scan=debug; the default is warn,mini_scan=info
    #[arg(long, env = "RUST_LOG", value_name = "LEVELS")]
    log_levels: Option<Targets>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    Put,
    Batch,
}

impl ConsumerArgs {
    /// Returns the settings of the consumer, or the flags that contradict each other.
    pub fn config(&self) -> Result<Config, clap::Error> {
        let ConsumerArgs { source, destination, dead_letters, throughput, reliability, .. } = self;
        throughput.check()?;
        let endpoints = self.endpoints();
        let default_idle = if endpoints.pubsub.is_some() { LOCAL_STREAM_MAX_IDLE } else { STREAM_MAX_IDLE };
        Ok(Config {
            endpoints,
            subscription: source.subscription()?,
            dead_letter_topic: dead_letters.topic(&source.pubsub)?,
            table: destination.table.table.clone(),
            consumers: throughput.consumers,
            threads: throughput.threads(),
            max_outstanding: throughput.max_outstanding,
            max_writes: throughput.max_writes,
            max_outstanding_bytes: throughput.max_outstanding_bytes.as_u64(),
            write_mode: match throughput.write_mode {
                Mode::Put => WriteMode::Put,
                Mode::Batch => WriteMode::Batch { linger: throughput.batch_linger },
            },
            max_future_skew: dead_letters.max_future_skew,
            ttl: destination.ttl,
            max_retry_time: reliability.max_retry_time,
            max_lease_extension: reliability.max_lease_extension,
            stream_max_idle: reliability.stream_max_idle.unwrap_or(default_idle),
            cache_entries: throughput.cache_entries,
            cache_max_age: throughput.cache_max_age,
            shutdown_grace: reliability.shutdown_grace,
        })
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        Endpoints { pubsub: self.source.pubsub.emulator_host(), dynamo: self.destination.table.endpoint() }
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

impl ObservabilityArgs {
    pub(super) fn http_listen(&self) -> Option<Listen> {
        self.http_listen
    }

    pub(super) fn log_format(&self) -> LogFormat {
        self.log_format
    }

    pub(super) fn log_levels(&self) -> Targets {
        self.log_levels.clone().unwrap_or_else(observe::default_levels)
    }
}

impl SourceArgs {
    /// Returns the full name of the subscription.
    pub(super) fn subscription(&self) -> Result<String, clap::Error> {
        self.pubsub.subscription(&self.subscription, "--subscription")
    }
}

impl DeadLetterArgs {
    /// Returns the topic as it is given.
    pub(super) fn given_topic(&self) -> Option<&str> {
        set(&self.dead_letter_topic)
    }

    /// Returns the full name of the topic.
    fn topic(&self, pubsub: &PubsubArgs) -> Result<Option<String>, clap::Error> {
        self.given_topic().map(|given| pubsub.topic(given, "--dead-letter-topic")).transpose()
    }
}

impl ThroughputArgs {
    /// Returns the number of threads. Each has at least one worker and one write in flight.
    fn threads(&self) -> NonZeroUsize {
        let cores = || {
            let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
            cores.min(self.consumers).min(self.max_outstanding).min(self.max_writes.unwrap_or(NonZeroUsize::MAX))
        };
        self.threads.unwrap_or_else(cores)
    }

    fn check(&self) -> Result<(), clap::Error> {
        let ThroughputArgs { threads, consumers, max_writes, max_outstanding_bytes, .. } = self;
        let conflict = |text: String| Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
        if let Some(threads) = threads
            && threads > consumers
        {
            return conflict(format!(
                "--threads {threads} is more than --consumers {consumers}: each thread runs at least one worker\n"
            ));
        }
        if let (Some(threads), Some(max_writes)) = (threads, max_writes)
            && threads > max_writes
        {
            return conflict(format!(
                "--threads {threads} is more than --max-writes {max_writes}: each thread has at least one write in flight\n"
            ));
        }
        if max_outstanding_bytes.as_u64() / (consumers.get() as u64) < MIN_BYTES_PER_STREAM {
            return conflict(format!(
                "--max-outstanding-bytes {max_outstanding_bytes} is less than {MIN_BYTES_PER_STREAM} bytes for each of \
                 --consumers {consumers}\n"
            ));
        }
        Ok(())
    }
}

fn consumers(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= 1000);
    number.ok_or_else(|| "it must be a whole number from 1 to 1000".to_owned())
}

fn outstanding(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= 1_000_000);
    number.ok_or_else(|| "it must be a whole number from 1 to 1000000".to_owned())
}

/// With less than a second every scan would be expired, or every message nacked, at once.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        duration if duration < Duration::from_secs(1) => Err("it must be at least 1s".to_owned()),
        duration => Ok(duration),
    }
}

/// A longer linger would look like an attempt that hangs.
fn linger(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        linger if linger <= Duration::from_secs(1) => Ok(linger),
        _ => Err("it must be at most 1s".to_owned()),
    }
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    match (10..=600).contains(&lease.as_secs()) {
        true => Ok(lease),
        false => Err("it must be from 10s to 600s, which are Pub/Sub's limits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        consumer: ConsumerArgs,
    }

    fn parse(flags: &str) -> Result<Config, clap::Error> {
        Command::try_parse_from(format!("consumer --project p {flags}").split_whitespace())
            .and_then(|command| command.consumer.config())
    }

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        let config = parse("").unwrap();
        assert_eq!(config.subscription, "projects/p/subscriptions/scan-sub");
        assert_eq!((config.consumers.get(), config.max_outstanding.get()), (10, 1000));
        assert_eq!(config.max_outstanding_bytes, 256 << 20);
        assert_eq!(config.dead_letter_topic, None);
    }

    #[test]
    fn streams_of_a_local_server_are_kept_unless_the_flag_is_given() {
        let max_idle = |flags: &str| parse(flags).unwrap().stream_max_idle;
        assert_eq!(max_idle("--pubsub-emulator-host="), STREAM_MAX_IDLE);
        assert_eq!(max_idle("--pubsub-emulator-host=localhost:8085"), LOCAL_STREAM_MAX_IDLE);
        let given = "--pubsub-emulator-host=localhost:8085 --stream-max-idle 5s";
        assert_eq!(max_idle(given), Duration::from_secs(5));
    }

    #[test]
    fn there_are_at_most_as_many_threads_as_writes_in_flight() {
        assert_eq!(parse("--max-writes 1").unwrap().threads.get(), 1);
        assert_eq!(parse("--max-writes 8 --threads 8").unwrap().threads.get(), 8);
        assert_eq!(parse("--max-outstanding 1").unwrap().threads.get(), 1);
    }

    #[test]
    fn an_error_names_both_of_two_contradictory_flags() {
        for (flags, named) in [
            ("--threads 3 --consumers 2", ["--threads 3", "--consumers 2"]),
            ("--threads 8 --max-writes 4", ["--threads 8", "--max-writes 4"]),
            ("--max-outstanding-bytes 1KiB", ["--max-outstanding-bytes 1", "--consumers 10"]),
        ] {
            let error = parse(flags).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(named.iter().all(|flag| error.to_string().contains(flag)), "{error}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for flags in [
            "-m 0",
            "-c 0",
            "-c 1001",
            "--max-lease-extension 5s",
            "--max-retry-time soon",
            "--threads 0",
            "--max-writes 0",
            "--max-writes 1000001",
            "--ttl 0s",
            "--max-retry-time 0s",
            "--stream-max-idle 0s",
            "-m 1000001",
            "--http-listen 9464",
            "--write-mode both",
            "--batch-linger 2s",
        ] {
            assert_eq!(parse(flags).unwrap_err().exit_code(), 2, "{flags}");
        }
    }
}
