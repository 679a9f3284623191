//! Flags of `mini-scan scanner`.

use std::num::NonZeroU64;

use clap::error::ErrorKind;

use super::endpoints::{PubsubEndpoint, endpoints};
use super::names;
use crate::local::generator::{ALL_KEYS, Shares};
use crate::local::scanner::Settings;
use crate::service::Endpoints;

/// Publish scans as the toy scanner does: one a second, in both data versions, until stopped
#[derive(Debug, clap::Args)]
pub struct ScannerArgs {
    /// Project of the topic
    #[arg(short, long, env = "MINI_SCAN_PROJECT", default_value = "test-project")]
    pub project: String,

    /// Topic to publish to: an id, or a full name
    #[arg(short, long, env = "MINI_SCAN_TOPIC", default_value = "scan-topic")]
    pub topic: String,

    #[command(flatten)]
    place: PubsubEndpoint,

    /// Messages a second; 0 is as fast as possible
    #[arg(long, env = "MINI_SCAN_RATE", default_value_t = 1.0, value_parser = rate)]
    pub rate: f64,

    /// Messages to publish; until stopped when not given
    #[arg(long, env = "MINI_SCAN_COUNT")]
    pub count: Option<NonZeroU64>,

    /// Seed of the messages, so that a run can be repeated; a random one when not given
    #[arg(long, env = "MINI_SCAN_SEED")]
    pub seed: Option<u64>,

    /// Different keys to scan, at most and by default 50,134,275: the fewer, the more often each comes again
    #[arg(long, env = "MINI_SCAN_KEYS", default_value_t = ALL_KEYS, hide_default_value = true,
          value_parser = clap::value_parser!(u64).range(1..=ALL_KEYS))]
    pub keys: u64,

    /// Share of messages that are an earlier one again, 0 to 1
    #[arg(long, env = "MINI_SCAN_DUPLICATES", default_value_t = 0.0, value_parser = share)]
    pub duplicates: f64,

    /// Share of messages that are older than a scan of their key that went before, by up to 24 hours, 0 to 1
    #[arg(long, env = "MINI_SCAN_LATE", default_value_t = 0.0, value_parser = share)]
    pub late: f64,

    /// Share of messages with a fault, for which they must be rejected, 0 to 1
    #[arg(long, env = "MINI_SCAN_BROKEN", default_value_t = 0.0, value_parser = share)]
    pub broken: f64,
}

impl ScannerArgs {
    /// Full name of the topic.
    pub fn topic_name(&self) -> Result<String, clap::Error> {
        names::topic(&self.project, &self.topic, "--topic")
    }

    pub fn endpoints(&self) -> Endpoints {
        endpoints(Some(&self.place), None)
    }

    /// What to publish, if the flags agree.
    pub fn settings(&self) -> Result<Settings, clap::Error> {
        let shares = Shares { duplicates: self.duplicates, late: self.late, broken: self.broken };
        // Three shares of a tenth and one of seven must not fail for the last bit.
        if shares.total() > 1.0 + 1e-9 {
            let Shares { duplicates, late, broken } = shares;
            let text = format!(
                "--duplicates {duplicates}, --late {late} and --broken {broken} are more than all messages: \
                 together they must not be above 1\n"
            );
            return Err(clap::Error::raw(ErrorKind::ValueValidation, text));
        }
        Ok(Settings {
            rate: (self.rate > 0.0).then_some(self.rate),
            count: self.count.map(NonZeroU64::get),
            seed: self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            shares,
            keys: self.keys,
        })
    }
}

fn share(text: &str) -> Result<f64, String> {
    number(text).filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    // Below that, the turn of the next message would be beyond what a clock can count to.
    const SLOWEST: f64 = 1e-6;
    let rate = number(text).filter(|&rate| rate == 0.0 || rate >= SLOWEST);
    rate.ok_or_else(|| "a rate is a number of messages a second, or 0 for as fast as possible".to_owned())
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
    fn without_flags_it_is_the_toy_scanner() {
        let Settings { seed, .. } = parse("scanner").unwrap();
        let toy = Settings { rate: Some(1.0), count: None, seed, shares: Shares::default(), keys: ALL_KEYS };
        assert_eq!(parse(&format!("scanner --seed {seed}")).unwrap(), toy);
    }

    #[test]
    fn shares_beyond_the_whole_are_refused_by_name() {
        let error = parse("scanner --duplicates 0.6 --late 0.3 --broken 0.2").unwrap_err().to_string();
        for flag in ["--duplicates 0.6", "--late 0.3", "--broken 0.2"] {
            assert!(error.contains(flag), "{error}");
        }
        assert!(parse("scanner --duplicates 0.7 --late 0.2 --broken 0.1").is_ok());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for flags in ["--late 1.1", "--late=-0.1", "--late nan", "--rate=-1", "--rate inf", "--count 0", "--keys 0"] {
            assert_eq!(parse(&format!("scanner {flags}")).unwrap_err().exit_code(), 2, "{flags}");
        }
        assert_eq!(parse("scanner --rate 0").unwrap().rate, None);
    }
}
