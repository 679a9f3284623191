//! Flags of `mini-scan scanner`.

use std::num::NonZeroU64;

use clap::error::ErrorKind;

use super::help::{exit_codes, heading, more};
use super::pubsub::PubsubArgs;
use crate::local::generator::{ALL_KEYS, Shares};
use crate::local::scanner::Settings;

const HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan scanner --pubsub-emulator-host localhost:8085\n",
    "  mini-scan scanner --pubsub-emulator-host localhost:8085 \\\n",
    "    --rate 0 --count 100000 --broken 0.01\n\n",
    exit_codes!(),
    more!()
);

/// Publish generated scans until stopped
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct ScannerArgs {
    #[command(flatten)]
    destination: TopicArgs,

    #[command(flatten)]
    scans: ScansArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Destination")]
struct TopicArgs {
    #[command(flatten)]
    pubsub: PubsubArgs,

    /// Topic to publish to: an id or a full name
    #[arg(short, long, env = "MINI_SCAN_TOPIC", default_value = "scan-topic")]
    topic: String,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Scans")]
struct ScansArgs {
    /// Messages per second; 0 is as fast as possible
    #[arg(long, env = "MINI_SCAN_RATE", default_value_t = 1.0, value_parser = rate)]
    rate: f64,

    /// Stop after this many messages, at least 1; without it the scanner runs until it is stopped
    #[arg(long, env = "MINI_SCAN_COUNT", value_name = "NUMBER", next_line_help = true)]
    count: Option<NonZeroU64>,

    /// Seed of the messages: the same seed makes the same messages; the default is random
    #[arg(long, env = "MINI_SCAN_SEED")]
    seed: Option<u64>,

    /// Different keys to scan, from 1 to 50134275, which is the default; fewer keys come again more often
    #[arg(long, env = "MINI_SCAN_KEYS", value_name = "NUMBER", default_value_t = ALL_KEYS, hide_default_value = true,
          value_parser = clap::value_parser!(u64).range(1..=ALL_KEYS))]
    keys: u64,

    /// Share of messages that repeat an earlier one, from 0 to 1
    #[arg(long, env = "MINI_SCAN_DUPLICATES", value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    duplicates: f64,

    /// Share of messages that are up to 24 hours older than an earlier scan of their key, from 0 to 1
    #[arg(long, env = "MINI_SCAN_LATE", value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    late: f64,

    /// Share of messages with a fault that consumers must reject, from 0 to 1
    #[arg(long, env = "MINI_SCAN_BROKEN", value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    broken: f64,
}

impl ScannerArgs {
    /// Returns the full name of the topic.
    pub fn topic_name(&self) -> Result<String, clap::Error> {
        self.destination.pubsub.topic(&self.destination.topic, "--topic")
    }

    /// Returns the `host:port` of the local Pub/Sub server, if one is chosen.
    pub fn emulator_host(&self) -> Option<String> {
        self.destination.pubsub.emulator_host()
    }

    /// Returns what to publish, or the flags that contradict each other.
    pub fn settings(&self) -> Result<Settings, clap::Error> {
        let ScansArgs { rate, count, seed, keys, duplicates, late, broken } = self.scans;
        let shares = Shares { duplicates, late, broken };
        // Rounding must not refuse three shares of 0.1 and one of 0.7.
        if shares.total() > 1.0 + 1e-9 {
            let text = format!(
                "--duplicates {duplicates}, --late {late} and --broken {broken} add up to more than 1, which is all messages\n"
            );
            return Err(clap::Error::raw(ErrorKind::ValueValidation, text));
        }
        Ok(Settings {
            rate: (rate > 0.0).then_some(rate),
            count: count.map(NonZeroU64::get),
            seed: seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            shares,
            keys,
        })
    }
}

fn share(text: &str) -> Result<f64, String> {
    number(text).filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    // At a lower rate the time of the next message overflows the clock.
    const SLOWEST: f64 = 1e-6;
    let rate = number(text).filter(|&rate| rate == 0.0 || rate >= SLOWEST);
    rate.ok_or_else(|| "it must be a number of messages per second, or 0 for as fast as possible".to_owned())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        scanner: ScannerArgs,
    }

    fn parse(line: &str) -> Result<Settings, clap::Error> {
        Command::try_parse_from(line.split(' ')).and_then(|command| command.scanner.settings())
    }

    #[test]
    fn by_default_it_behaves_like_the_toy_scanner() {
        let Settings { seed, .. } = parse("scanner").unwrap();
        let toy = Settings { rate: Some(1.0), count: None, seed, shares: Shares::default(), keys: ALL_KEYS };
        assert_eq!(parse(&format!("scanner --seed {seed}")).unwrap(), toy);
    }

    #[test]
    fn shares_that_add_up_to_more_than_1_are_refused_by_name() {
        let error = parse("scanner --duplicates 0.6 --late 0.3 --broken 0.2").unwrap_err().to_string();
        for flag in ["--duplicates 0.6", "--late 0.3", "--broken 0.2"] {
            assert!(error.contains(flag), "{error}");
        }
        assert!(parse("scanner --duplicates 0.7 --late 0.2 --broken 0.1").is_ok());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for flags in ["--late 1.1", "--late=-0.1", "--late nan", "--rate=-1", "--rate inf", "--count 0", "--keys 0"] {
            assert_eq!(parse(&format!("scanner {flags}")).unwrap_err().exit_code(), 2, "{flags}");
        }
        assert_eq!(parse("scanner --rate 0").unwrap().rate, None);
    }
}
