//! Flags of `mini-scan consumer`.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use ops::http::Listen;
use tracing_subscriber::filter::Targets;

use super::endpoints::{DynamoEndpoint, PubsubEndpoint, endpoints};
use super::names;
use crate::consumer::settings::WriteMode;
use crate::observe;
use crate::service::Config;
use ops::logs::LogFormat;

/// A stream that may hold less than a usual scan would be given one at a time.
const LEAST_BYTES_A_STREAM: u64 = 1024;

/// Write the scans of a subscription to a table, the newest of each key, until stopped
#[derive(Debug, clap::Args)]
pub struct ConsumerArgs {
    /// Google Cloud project of the subscription and the dead-letter topic
    #[arg(short, long, env = "MINI_SCAN_PROJECT", default_value = "test-project")]
    project: String,

    /// Subscription to read: an id, or a full name
    #[arg(short, long, env = "MINI_SCAN_SUBSCRIPTION", default_value = "scan-sub")]
    subscription: String,

    /// Workers, each with one stream
    #[arg(short, long, env = "MINI_SCAN_CONSUMERS", default_value = "10", value_parser = consumers)]
    consumers: NonZeroUsize,

    /// Messages that are decoded, waiting or being written at a time, over all workers
    #[arg(short, long, env = "MINI_SCAN_MAX_OUTSTANDING", default_value = "1000", value_parser = outstanding)]
    max_outstanding: NonZeroUsize,

    /// Bytes of messages that are read and unsettled at a time, over all workers
    #[arg(long, env = "MINI_SCAN_MAX_OUTSTANDING_BYTES", default_value = "256MiB", value_name = "BYTES")]
    max_outstanding_bytes: ByteSize,

    /// Threads that share the workers; by default one a core
    #[arg(long, env = "MINI_SCAN_THREADS")]
    threads: Option<NonZeroUsize>,

    /// Table to write to
    #[arg(long, env = "MINI_SCAN_TABLE", default_value = "scan-results")]
    table: String,

    /// How scans are written: put, each by itself, or batch, up to 25 in a call: cheaper here, and some more write units
    #[arg(long, env = "MINI_SCAN_WRITE_MODE", default_value = "put", value_enum, value_name = "MODE")]
    write_mode: Mode,

    /// With --write-mode batch, how long a scan waits for others while a call is in flight, as 2ms
    #[arg(long, env = "MINI_SCAN_BATCH_LINGER", default_value = "2ms", value_parser = linger, value_name = "TIME")]
    batch_linger: Duration,

    /// Topic for messages that can never be stored: an id, or a full name; without it they come again and again
    #[arg(long, env = "MINI_SCAN_DEAD_LETTER_TOPIC", value_name = "TOPIC")]
    dead_letter_topic: Option<String>,

    /// How far a scan's timestamp may lie after its message was published, as 24h or 90m
    #[arg(long, env = "MINI_SCAN_MAX_FUTURE_SKEW", default_value = "24h", value_parser = duration, value_name = "TIME")]
    max_future_skew: Duration,

    /// How long a record lives after its scan's timestamp, as 90days; for ever when not given
    #[arg(long, env = "MINI_SCAN_TTL", value_parser = positive, value_name = "TIME")]
    ttl: Option<Duration>,

    /// How long a message is held and tried before it is given back, as 30m
    #[arg(long, env = "MINI_SCAN_MAX_RETRY_TIME", default_value = "30m", value_parser = positive, value_name = "TIME")]
    max_retry_time: Duration,

    /// How soon the messages of a killed instance come back, 10s to 600s
    #[arg(long, env = "MINI_SCAN_MAX_LEASE_EXTENSION", default_value = "20s", value_parser = lease, value_name = "TIME")]
    max_lease_extension: Duration,

    /// How long a stream may give nothing before another is opened in its place, as 60s
    #[arg(long, env = "MINI_SCAN_STREAM_MAX_IDLE", default_value = "60s", value_parser = positive, value_name = "TIME")]
    stream_max_idle: Duration,

    /// Keys whose newest stored timestamp is remembered, so that an older scan needs no write; 0 turns it off
    #[arg(long, env = "MINI_SCAN_CACHE_ENTRIES", default_value = "100000", value_name = "KEYS")]
    cache_entries: usize,

    /// How long a remembered timestamp is believed, as 10m: rows can be mended by hand
    #[arg(long, env = "MINI_SCAN_CACHE_MAX_AGE", default_value = "10m", value_parser = duration, value_name = "TIME")]
    cache_max_age: Duration,

    /// How long writes in hand may take after SIGTERM, as 30s
    #[arg(long, env = "MINI_SCAN_SHUTDOWN_GRACE", default_value = "30s", value_parser = duration, value_name = "TIME")]
    shutdown_grace: Duration,

    /// Where /metrics, /livez and /readyz are served, as 0.0.0.0:9464, or `off`; by default 127.0.0.1:9464, unless another
    /// instance is there
    #[arg(long, env = "MINI_SCAN_HTTP_LISTEN", value_name = "ADDRESS")]
    pub http_listen: Option<Listen>,

    /// How log lines look
    #[arg(long, env = "MINI_SCAN_LOG_FORMAT", default_value = "auto", value_enum)]
    pub log_format: LogFormat,

    /// What is logged, as debug, or warn,mini_scan=debug; by default warn,mini_scan=info
    #[arg(long, env = "RUST_LOG", value_name = "LEVELS")]
    log_levels: Option<Targets>,

    #[command(flatten)]
    pubsub: PubsubEndpoint,

    #[command(flatten)]
    dynamo: DynamoEndpoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    Put,
    Batch,
}

impl ConsumerArgs {
    /// How the consumer runs, if the flags agree.
    pub fn config(&self) -> Result<Config, clap::Error> {
        let conflict = |text: String| Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
        if let Some(threads) = self.threads
            && threads > self.consumers
        {
            return conflict(format!(
                "--threads {threads} is more than --consumers {}: a thread runs one worker at least\n",
                self.consumers
            ));
        }
        let share = self.max_outstanding_bytes.as_u64() / self.consumers.get() as u64;
        if share < LEAST_BYTES_A_STREAM {
            return conflict(format!(
                "--max-outstanding-bytes {} is less than {LEAST_BYTES_A_STREAM} bytes for each of --consumers {}\n",
                self.max_outstanding_bytes, self.consumers
            ));
        }
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let topic = |given: &String| names::topic(&self.project, given, "--dead-letter-topic");
        Ok(Config {
            endpoints: endpoints(Some(&self.pubsub), Some(&self.dynamo)),
            subscription: names::subscription(&self.project, &self.subscription, "--subscription")?,
            dead_letter_topic: self.dead_letter_topic.as_ref().map(topic).transpose()?,
            table: self.table.clone(),
            consumers: self.consumers,
            threads: self.threads.unwrap_or(cores).min(self.consumers),
            max_outstanding: self.max_outstanding,
            max_outstanding_bytes: self.max_outstanding_bytes.as_u64(),
            write_mode: match self.write_mode {
                Mode::Put => WriteMode::Put,
                Mode::Batch => WriteMode::Batch { linger: self.batch_linger },
            },
            max_future_skew: self.max_future_skew,
            ttl: self.ttl,
            max_retry_time: self.max_retry_time,
            max_lease_extension: self.max_lease_extension,
            stream_max_idle: self.stream_max_idle,
            cache_entries: self.cache_entries,
            cache_max_age: self.cache_max_age,
            shutdown_grace: self.shutdown_grace,
        })
    }

    pub fn log_levels(&self) -> Targets {
        self.log_levels.clone().unwrap_or_else(observe::default_levels)
    }
}

fn consumers(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= 1000);
    number.ok_or_else(|| "a whole number from 1 to 1000".to_owned())
}

fn outstanding(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= 1_000_000);
    number.ok_or_else(|| "a whole number from 1 to 1000000".to_owned())
}

/// At least a second: with less, every scan would be too old and every receipt given back at once.
fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        duration if duration < Duration::from_secs(1) => Err("it must be at least 1s".to_owned()),
        duration => Ok(duration),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}: write it as 30s, 15m or 24h"))?;
    // Far beyond any use, and far below what would overflow a clock.
    match duration <= Duration::from_secs(100 * 365 * 24 * 60 * 60) {
        true => Ok(duration),
        false => Err("it is above a hundred years".to_owned()),
    }
}

/// Longer than a second would be taken for an attempt that hangs.
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
        false => Err("Pub/Sub takes 10s to 600s".to_owned()),
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
        Command::try_parse_from(format!("consumer {flags}").split_whitespace())
            .and_then(|command| command.consumer.config())
    }

    #[test]
    fn the_defaults_agree() {
        let config = parse("").unwrap();
        assert_eq!(config.subscription, "projects/test-project/subscriptions/scan-sub");
        assert_eq!((config.consumers.get(), config.max_outstanding.get()), (10, 1000));
        assert_eq!(config.max_outstanding_bytes, 256 << 20);
        assert_eq!(config.dead_letter_topic, None);
    }

    #[test]
    fn contradictory_flags_are_named_both() {
        for (flags, named) in [
            ("--threads 3 --consumers 2", ["--threads 3", "--consumers 2"]),
            ("--max-outstanding-bytes 1KiB", ["--max-outstanding-bytes 1", "--consumers 10"]),
        ] {
            let error = parse(flags).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(named.iter().all(|flag| error.to_string().contains(flag)), "{error}");
        }
    }

    #[test]
    fn flags_out_of_range_are_refused() {
        for flags in [
            "-m 0",
            "-c 0",
            "-c 1001",
            "--max-lease-extension 5s",
            "--max-retry-time soon",
            "--threads 0",
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
